"""The JSON Schema that editors complete and check policies with."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from policies.schema import json_schema
from tests.policies.files import ROOT, parts


def test_every_field_is_described() -> None:
    """An editor shows each field's meaning and refuses unknown ones."""
    schema = json_schema()
    known = {"Policy": schema} | schema["$defs"]
    assert {part.__name__ for part in parts()} == known.keys()
    for part in parts():
        described = known[part.__name__]
        assert described["additionalProperties"] is False
        for name in part.model_fields:
            shown = described["properties"][name]
            below = known.get(shown.get("$ref", "").rpartition("/")[2], {})  # pydantic leaves out what both would say
            assert shown.get("description") or below.get("description"), f"{part.__name__}.{name}"


def test_secrets_are_references() -> None:
    """A secret written out is underlined by the editor."""
    key, _null = json_schema()["$defs"]["Key"]["properties"]["key"]["anyOf"]
    assert re.search(key["pattern"], "${APP_KEY}")
    assert not re.search(key["pattern"], "sk-live-123")


def test_values_as_people_write_them() -> None:
    """Durations and sizes may be text with a unit, a number or a reference."""
    properties = json_schema()["$defs"]["RuleTimeouts"]["properties"]["total"]
    number, text = properties["anyOf"]
    assert number["type"] == "number"
    for written in ("250ms", "10m", "${TOTAL}"):
        assert re.search(text["pattern"], written)
    assert not re.search(text["pattern"], "10 minutes")


def test_nothing_is_a_value_where_it_means_something() -> None:
    """A disk of 0 and a stale time of 0 are good, a memory of 0 is underlined."""
    known = json_schema()["$defs"]
    assert known["Cache"]["properties"]["disk"]["anyOf"][0]["minimum"] == 0
    assert known["Cache"]["properties"]["memory"]["anyOf"][0]["minimum"] == 1
    assert known["RuleCache"]["properties"]["finish"]["anyOf"][0]["minimum"] == 0
    assert known["RuleCache"]["properties"]["ttl"]["anyOf"][0]["exclusiveMinimum"] == 0


def test_it_is_printed() -> None:
    """`python -m policies.schema` prints the schema as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "policies.schema"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == json_schema()
