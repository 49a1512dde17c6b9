"""The reference in docs/policy.md says what the language is: every key, its default, and examples that load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from policies.model import Part, Policy
from tests.policies.files import ROOT, loaded, parts, yaml_blocks

PAGE = ROOT / "docs/policy.md"
HEADINGS = {
    "Policy": "The whole file",
    "Upstream": "Upstreams",
    "Timeouts": "Timeouts of an upstream",
    "Breaker": "Breaker",
    "Model": "Models",
    "Target": "Targets",
    "Key": "Keys",
    "Rule": "Rules",
    "Match": "Match",
    "RuleTimeouts": "Timeouts of a rule",
    "Retry": "Retry",
    "Limits": "Limits",
    "RuleCache": "Cache of a rule",
    "Cache": "The stores",
    "Price": "Price",
    "Lines": "Lines",
    "Step": "Step",
    "Machine": "Machine",
    "Record": "Record",
    "Ledger": "The ledger",
}


def rows(part: type[Part]) -> dict[str, str]:
    """The keys of a part's table in the page, with their defaults as written."""
    [section] = re.findall(
        rf"^##+ {HEADINGS[part.__name__]}\n(.*?)(?=^#|\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE))


def inherited(part: type[Part]) -> set[str]:
    """The keys that a part has from another, whose table tells them."""
    return {name for above in part.__mro__[1:] if above in parts() for name in getattr(above, "model_fields", {})}


def default(field: FieldInfo) -> object:
    """A field's default in plain values."""
    value = field.get_default(call_default_factory=True, validated_data={})
    return value.model_dump() if isinstance(value, BaseModel) else value


def test_every_part_has_a_heading() -> None:
    """A new part of the language needs its section."""
    assert {part.__name__ for part in parts()} == HEADINGS.keys()


@pytest.mark.parametrize("part", parts(), ids=lambda part: str(part.__name__))
def test_every_key_is_there(part: type[Part]) -> None:
    """The table of each part has its keys in the model's order, and no others but those it shares with Lines."""
    assert list(rows(part)) == [name for name in part.model_fields if name not in inherited(part)]


@pytest.mark.parametrize("part", parts(), ids=lambda part: str(part.__name__))
def test_defaults_are_right(part: type[Part]) -> None:
    """The default in the page, read as a value, is the default of the model."""
    for name, said in rows(part).items():
        field = part.model_fields[name]
        value = default(field)
        if said == "needed":
            assert field.is_required(), name
        elif said in (
            "none",
            "all defaults",
            "every call",
            "the entry's own name",
            "the entry itself",
        ) or said.startswith("as "):
            assert value in (None, {}) or isinstance(value, dict), name
        else:
            assert same(field, said.strip("`"), value), f"{name}: {said} is not {value}"


def same(field: FieldInfo, said: str, value: object) -> bool:
    """Whether a default as written means the same as the model's."""
    if isinstance(value, list):
        return said == f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return said == "{}" and not value
    kind: Any = field.annotation
    read = create_model("One", value=(kind, field)).model_validate({"value": said})
    return bool(read.model_dump()["value"] == value)


def test_every_example_loads(tmp_path: Path) -> None:
    """Each YAML block of the page is a whole policy that loads."""
    blocks = list(yaml_blocks(PAGE))
    assert len(blocks) >= 4
    for block in blocks:
        assert isinstance(loaded(tmp_path, block).policy, Policy)
