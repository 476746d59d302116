"""Passwords in addresses: held by a type that shows them nowhere, struck out of any text.

Only who opens the address reveals it. What is written, logged, recorded or copied to another
process has `***` in its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

MASK = "***"
_OF_URL = re.compile(r"(:/?/?[^\s/:@?]*:)([^\s]+)(@)")
_WITHOUT_SCHEME = re.compile(r"((?:^|(?<=[\s\"'=(]))[^\s:@]*:)(?!//)([^\s]+)(@)")
_OF_QUERY = re.compile(
    r"(\b(?:ssl)?(?:password|passwd|pwd|passphrase|secret|token|api_?key)=)([^\s&;'\"]+)", re.I
)


def mask_secrets(text: str) -> str:
    """`text` with the passwords of all addresses in it struck out."""
    if "@" in text:
        text = _OF_URL.sub(rf"\1{MASK}\3", text)
        text = _WITHOUT_SCHEME.sub(rf"\1{MASK}\3", text)
    return _OF_QUERY.sub(rf"\1{MASK}", text) if "=" in text else text


def strike_out(text: str, address: str) -> str:
    """`text` without the password of `address`, also where a driver took it for something else.

    In `name:a@b@host` what follows the first @ is a host to some.
    """
    found = _OF_URL.search(address)
    for part in (found[2], *found[2].split("@")) if found else ():
        if len(part) > 2:
            text = text.replace(part, MASK)
    return mask_secrets(text)


class SecretAddress:
    """An address that may hold a password: a text to whoever calls `reveal`, masked elsewhere."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The address in full, for whoever opens it."""
        return self._text

    def __str__(self) -> str:
        return mask_secrets(self._text)

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SecretAddress):
            return self._text == other._text
        return self._text == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> SecretAddress:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretAddress:
        return self

    def __reduce__(self) -> tuple[type[SecretAddress], tuple[str]]:
        return SecretAddress, (str(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        from_text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), from_text],
            mode="left_to_right",
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )
