"""The inner loops of reading trips: bytes or numbers to road ids and times, every rule checked.

Compiled by numba. It knows nothing of files; `data.trip_csv` feeds it and words its findings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.trip_layout import Packed, Reach, Text
from runtime.jit import kernel

OK = 0
BAD_ROAD_FIELD = 1
UNKNOWN_ROAD = 2
BAD_TIME_FIELD = 3
COUNTS_DIFFER = 4
TIME_BACKWARDS = 5
NOT_JOINED = 6
TOO_SHORT = 7
LASTS_TOO_LONG = 8
_LONGEST_S = 2**31 - 1

_MAX_ROAD_DIGITS = 9
_LAST_SECOND = 253_402_300_799  # of the year 9999


@kernel()
def _is_blank(byte: int) -> bool:
    return byte == 32 or byte == 9


@kernel()
def _inside(text: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """Where a list's items begin and end, without blanks and brackets around them."""
    while start < end and _is_blank(text[start]):
        start += 1
    while end > start and _is_blank(text[end - 1]):
        end -= 1
    if end - start >= 2 and text[start] == 91 and text[end - 1] == 93:
        start += 1
        end -= 1
    return start, end


@kernel()
def _parse_roads(text: NDArray[np.uint8], start: int, end: int, out: NDArray[np.int32]) -> int:
    """Parses "1,2,3" or "[1, 2, 3]"; the count, or −1 − position of the first bad byte."""
    start, end = _inside(text, start, end)
    count = 0
    position = start
    while position < end:
        while position < end and _is_blank(text[position]):
            position += 1
        value = 0
        digits = 0
        while position < end and 48 <= text[position] <= 57 and digits < _MAX_ROAD_DIGITS:
            value = value * 10 + (text[position] - 48)
            digits += 1
            position += 1
        while position < end and _is_blank(text[position]):
            position += 1
        at_separator = position < end and text[position] == 44
        if digits == 0 or not (position == end or at_separator):
            return -1 - position
        out[count] = value
        count += 1
        if at_separator:
            position += 1
            if position == end:
                return -1 - position
    return count


@kernel()
def _digits(text: NDArray[np.uint8], start: int, count: int) -> int:
    value = 0
    for position in range(start, start + count):
        byte = text[position]
        if byte < 48 or byte > 57:
            return -1
        value = value * 10 + (byte - 48)
    return value


@kernel()
def _days_since_1970(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar; −1 where the date does not exist."""
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    if month < 1 or month > 12 or day < 1 or year < 1970:
        return -1
    length = 31
    if month == 2:
        length = 29 if leap else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        length = 30
    if day > length:
        return -1
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    days += (367 * month - 362) // 12
    if month > 2:
        days -= 1 if leap else 2
    return days + day - 1 - 719162


@kernel()
def _parse_time(text: NDArray[np.uint8], start: int, end: int) -> int:
    """Parses "2015-11-05T23:29:48Z" to seconds since 1970; −1 where it is none."""
    if end - start < 19:
        return -1
    if text[start + 4] != 45 or text[start + 7] != 45:
        return -1
    if text[start + 10] != 84 and text[start + 10] != 32:
        return -1
    if text[start + 13] != 58 or text[start + 16] != 58:
        return -1
    year = _digits(text, start, 4)
    month = _digits(text, start + 5, 2)
    day = _digits(text, start + 8, 2)
    hour = _digits(text, start + 11, 2)
    minute = _digits(text, start + 14, 2)
    second = _digits(text, start + 17, 2)
    if year < 0 or month < 0 or day < 0 or hour < 0 or minute < 0 or second < 0:
        return -1
    if hour > 23 or minute > 59 or second > 59:
        return -1
    position = start + 19
    if position < end and text[position] == 46:
        position += 1
        first = position
        while position < end and 48 <= text[position] <= 57:
            position += 1
        if position == first:
            return -1
    if position < end and text[position] == 90:
        position += 1
    if position != end:
        return -1
    days = _days_since_1970(year, month, day)
    if days < 0:
        return -1
    return days * 86400 + hour * 3600 + minute * 60 + second


@kernel()
def _parse_times(text: NDArray[np.uint8], start: int, end: int, out: NDArray[np.int64]) -> int:
    """Parses a list of times; the count, or −1 − position of the first bad one."""
    start, end = _inside(text, start, end)
    count = 0
    position = start
    while position < end:
        stop = position
        while stop < end and text[stop] != 44:
            stop += 1
        first, last = position, stop
        while first < last and _is_blank(text[first]):
            first += 1
        while last > first and _is_blank(text[last - 1]):
            last -= 1
        quoted = last - first >= 2 and text[first] == text[last - 1]
        if quoted and (text[first] == 39 or text[first] == 34):
            first += 1
            last -= 1
        value = _parse_time(text, first, last)
        if value < 0:
            return -1 - position
        out[count] = value
        count += 1
        position = stop + 1
        if stop < end and position == end:
            return -1 - position
    return count


@kernel()
def joined(first: int, second: int, reach: Reach) -> bool:
    """Whether the second road can be driven onto from the first."""
    for edge in range(reach.offsets[first], reach.offsets[first + 1]):
        if reach.targets[edge] == second:
            return True
    return False


@kernel()
def _check(roads: NDArray[np.int32], times: NDArray[np.int64], reach: Reach) -> tuple[int, int]:
    for step in range(len(roads)):
        if roads[step] >= reach.num_roads:
            return UNKNOWN_ROAD, step
    if len(roads) < 2:
        return TOO_SHORT, len(roads)
    for step in range(1, len(roads)):
        if times[step] < times[step - 1]:
            return TIME_BACKWARDS, step
    for step in range(1, len(roads)):
        if not joined(roads[step - 1], roads[step], reach):
            return NOT_JOINED, step
    if times[-1] - times[0] > _LONGEST_S:
        return LASTS_TOO_LONG, 0
    return OK, 0


@kernel()
def parse_fields(row: int, road_text: Text, time_text: Text, used: int, out: Packed) -> int:
    """Parses a row's two lists to where `used` stands; its steps, or -1 with the row's status."""
    roads_begin, times_begin = road_text.offsets[row], time_text.offsets[row]
    roads_end, times_end = road_text.offsets[row + 1], time_text.offsets[row + 1]
    count = _parse_roads(road_text.content, roads_begin, roads_end, out.road_ids[used:])
    if count < 0:
        out.status[row], out.detail[row] = BAD_ROAD_FIELD, -1 - count - roads_begin
        return -1
    found = _parse_times(time_text.content, times_begin, times_end, out.times[used:])
    if found < 0:
        out.status[row], out.detail[row] = BAD_TIME_FIELD, -1 - found - times_begin
        return -1
    if found != count:
        out.status[row], out.detail[row] = COUNTS_DIFFER, found * (1 << 32) + count
        return -1
    return count


@kernel()
def _judge(row: int, used: int, count: int, reach: Reach, out: Packed) -> int:
    """Checks the row's steps, which stand where `used` does; the steps used with it, if good."""
    end = used + count
    status, detail = _check(out.road_ids[used:end], out.times[used:end], reach)
    if status == UNKNOWN_ROAD:
        detail = out.road_ids[used + detail]
    out.status[row], out.detail[row] = status, detail
    if status != OK:
        return used
    out.lengths[row] = count
    return end


@kernel()
def parse_rows(road_text: Text, time_text: Text, reach: Reach, out: Packed) -> int:
    """Parses rows of text; good ones are packed. Returns the steps written."""
    used = 0
    for row in range(len(out.lengths)):
        count = parse_fields(row, road_text, time_text, used, out)
        if count >= 0:
            used = _judge(row, used, count, reach, out)
    return used


@kernel()
def check_rows(
    roads: NDArray[np.int64],
    times: NDArray[np.int64],
    road_counts: NDArray[np.int64],
    time_counts: NDArray[np.int64],
    reach: Reach,
    out: Packed,
) -> int:
    """Checks rows of numbers as `parse_rows` does those of text; returns the steps written."""
    used, first_road, first_time = 0, 0, 0
    for row in range(len(out.lengths)):
        count, found = road_counts[row], time_counts[row]
        if found != count:
            out.status[row], out.detail[row] = COUNTS_DIFFER, found * (1 << 32) + count
        for step in range(found):
            time = times[first_time + step]
            if out.status[row] == OK and (time < 0 or time > _LAST_SECOND):
                out.status[row], out.detail[row] = BAD_TIME_FIELD, step
        for step in range(count):  # before they are narrowed to 32 bits
            road = roads[first_road + step]
            if out.status[row] == OK and (road < 0 or road >= reach.num_roads):
                out.status[row], out.detail[row] = UNKNOWN_ROAD, road
        if out.status[row] == OK:
            for step in range(count):
                out.road_ids[used + step] = roads[first_road + step]
                out.times[used + step] = times[first_time + step]
            used = _judge(row, used, count, reach, out)
        first_road += count
        first_time += found
    return used
