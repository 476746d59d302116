"""The loop over the bytes of CSV text; compiled, and imported inside the function that calls it."""

from __future__ import annotations

from runtime.jit import kernel

_NEWLINE, _RETURN, _QUOTE, _COMMA = 10, 13, 34, 44


@kernel()
def has_odd_lines(text):  # type: ignore[no-untyped-def]
    """Whether a quote stands anywhere but at one end of a field, or a line ends in CR alone.

    Also where a line has a quote too many, so that the field would go on in the next one.
    """
    quotes, end = 0, len(text)
    for place in range(end):
        byte = text[place]
        if byte == _NEWLINE:
            if quotes % 2:
                return True
            quotes = 0
        elif byte == _RETURN:
            if place + 1 < end and text[place + 1] != _NEWLINE:
                return True
        elif byte == _QUOTE:
            quotes += 1
            after = text[place + 1] if place + 1 < end else _NEWLINE
            opens = place == 0 or text[place - 1] in (_COMMA, _NEWLINE)
            closes = after in (_COMMA, _NEWLINE, _RETURN)
            if opens == closes:
                return True
    return quotes % 2 == 1
