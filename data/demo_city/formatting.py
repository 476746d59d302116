"""The compiled part of writing trips: numbers and times to the bytes of CSV rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_DAY
from data.demo_city.search import Number
from runtime.jit import kernel

_COMMA, _QUOTE, _NEWLINE, _COLON, _ZERO, _ZULU = 44, 34, 10, 58, 48, 90

Bytes = NDArray[np.uint8]
IntArray = NDArray[np.int64]
Int32Array = NDArray[np.int32]


@kernel()
def _put_number(buffer: Bytes, at: Number, number: Number) -> Number:
    digits = 1
    rest = number // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for i in range(digits):
        buffer[at + digits - 1 - i] = _ZERO + number % 10
        number //= 10
    return at + digits


@kernel()
def _put_time(buffer: Bytes, at: Number, days: Bytes, clock_s: Number) -> Number:
    buffer[at : at + 11] = days[clock_s // SECONDS_PER_DAY]
    of_day = clock_s % SECONDS_PER_DAY
    for part, place in ((of_day // 3600, 11), (of_day // 60 % 60, 14), (of_day % 60, 17)):
        buffer[at + place] = _ZERO + part // 10
        buffer[at + place + 1] = _ZERO + part % 10
    buffer[at + 13] = buffer[at + 16] = _COLON
    buffer[at + 19] = _ZULU
    return at + 20


@kernel()
def format_trips(
    buffer: Bytes,
    days: Bytes,
    row: Number,
    first_trip: Number,
    chosen: IntArray,
    driver: IntArray,
    clock_s: IntArray,
    offsets: IntArray,
    roads: Int32Array,
    elapsed_s: Int32Array,
) -> Number:
    """Writes the chosen trips as CSV rows into `buffer`; returns how many bytes they take.

    `days` holds "2015-11-02T" for every day, from the one that `clock_s` counts from. [days, 11]
    """
    at = 0
    for trip in chosen:
        for number in (row, driver[trip], first_trip + trip):
            at = _put_number(buffer, at, number)
            buffer[at] = _COMMA
            at += 1
        row += 1
        for column in range(2):
            buffer[at] = _QUOTE
            at += 1
            for i in range(offsets[trip], offsets[trip + 1]):
                if column == 0:
                    at = _put_number(buffer, at, roads[i])
                else:
                    at = _put_time(buffer, at, days, clock_s[trip] + elapsed_s[i])
                buffer[at] = _COMMA
                at += 1
            buffer[at - 1] = _QUOTE
            buffer[at] = _COMMA
            at += 1
        buffer[at - 1] = _NEWLINE
    return at
