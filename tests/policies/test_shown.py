"""A secret that stands in a policy against the rules is not shown; everything else is."""

from __future__ import annotations

import pytest

from policies.shown import TOO_MANY, shown


def test_secrets_written_out() -> None:
    """Keys and header values written out are hidden, wherever and however they stand."""
    text = """\
upstreams:
  a: {url: http://a/v1, key: sk-written-out, headers: {X-Token: "Bearer written out"}}
  b:
    url: http://b/v1
    key: >-
      sk-folded
    headers:
      x-other: ${TOKEN}
keys:
  - {name: a, key: 'sk written out', tenant: t}
"""
    told = shown(text)
    assert "written" not in told
    assert "sk-folded" not in told
    assert told.count("***") == 4
    assert "x-other: ${TOKEN}" in told


def test_secrets_in_other_characters() -> None:
    """A secret that is escaped, or stands over several lines, is hidden with its lines; the lines after it stay."""
    text = """\
upstreams:
  a:
    url: http://a/v1
    headers:
      x-a: "written\\x2dout"
      x-b: >-
        written
        out
      x-c: ${TOKEN}
models: {m: {targets: [{upstream: a}]}}
"""
    told = shown(text)
    assert "written" not in told
    assert told.endswith("      x-c: ${TOKEN}\nmodels: {m: {targets: [{upstream: a}]}}\n")
    assert told.count("\n") == text.count("\n")


def test_nothing_but_secrets() -> None:
    """A file with hundreds of secrets is not searched for each of them."""
    keys = "".join(f"  - {{name: a{i}, key: written-out-{i}, tenant: t}}\n" for i in range(3000))
    assert shown(f"keys:\n{keys}") == TOO_MANY


@pytest.mark.parametrize("text", ["keys: [{key: sk-1234, a\n", "a: [\nkey: 'sk-1234'\n", '"key": "sk-1234"\n}\n'])
def test_what_is_no_yaml(text: str) -> None:
    """Of a text that cannot be read whatever looks like a key is hidden."""
    assert "sk-1234" not in shown(text)


def test_a_good_policy_is_shown_as_it_is() -> None:
    """References stay, and so do digests, which are no secrets."""
    text = "keys:\n  - {name: a, key: ${KEY}, tenant: t}\n  - {name: b, hash: sha256:00, tenant: t}\n"
    assert shown(text) == text
