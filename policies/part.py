"""What every part of the policy has in common."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Part(BaseModel):
    """A part of the policy: never changed once read, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_plainly_written(cls, value: Any, field: ValidationInfo) -> Any:
        """Refuse a number such as 1_0, which would be read as 10: it is more likely a slip of the pen."""
        if isinstance(value, str) and "_" in value and _is_number(cls.model_fields[field.field_name or ""].annotation):
            raise ValueError("a number has no `_`")
        return value


def _is_number(kind: Any) -> bool:
    """Say whether a field holds a number, or perhaps one."""
    return kind in (int, float) or any(_is_number(each) for each in get_args(kind))
