"""What every configuration tree is made of: sections, and numbers in their ranges."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from runtime.secrets import SecretAddress

LARGEST_INT = 2**62  # sums of a few still fit into 64 bits
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_INT)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Beyond these the softmax is flat, or one choice alone, to the last bit.
Temperature = Annotated[float, Field(ge=1e-3, le=1e4, allow_inf_nan=False)]
Window = Annotated[int, Field(ge=1, le=4096)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OwnFunction = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]  # FILE.py:FUNCTION


class Section(BaseModel):
    """A part of the tree: unknown keys are errors, values are not coerced between kinds."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, validate_assignment=True)

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """No path and no name of any system holds a NUL character."""
        texts = value if isinstance(value, list) else [value]
        texts = [text.reveal() if isinstance(text, SecretAddress) else text for text in texts]
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise ValueError("it holds a NUL character, which no path or name may")
        return value
