"""The policy language as JSON Schema, by which editors complete and check a policy file."""

from __future__ import annotations

import json
import sys
from typing import Any

from policies.model import Policy


def json_schema() -> dict[str, Any]:
    """The schema of a policy file (draft 2020-12). Secrets are strings that must hold a ${ENV_NAME}."""
    schema = Policy.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Sluice policy",
        "required": ["upstreams", "models"],
    }


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
