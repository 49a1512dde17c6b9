"""Every name must exist and every mistake is told with its line: unknown and unmatched names are no silent no-ops."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from policies.checks import INSTALL_PROVIDERS
from policies.errors import PolicyError
from policies.loader import load
from tests.policies.files import ENV, SMALL, problems, written

HASH = f"sha256:{hashlib.sha256(ENV['APP_KEY'].encode()).hexdigest()}"
KEYS = """\
keys:
  - {name: app, key: "${APP_KEY}", tenant: acme}
"""


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ("rules: [{name: a, match: {model: smal}}]\n", 'no model is named "smal"; did you mean "small"?'),
        ('rules: [{name: a, match: {model: "gpt-*"}}]\n', '"gpt-*" matches no model; there are small'),
        ("rules: [{name: a, match: {model: SMALL}}]\n", 'no model is named "SMALL"; there are small'),
        ("rules: [{name: a, match: {tag: b}}, {name: a}]\n", 'rules: duplicate name "a"; the first is on line 5'),
        (
            KEYS + "  - {name: app, key: '${SHOP_KEY}', tenant: b}\n",
            'keys: duplicate name "app"; the first is on line 6',
        ),
        (KEYS + "  - {name: b, key: '${APP_KEY}', tenant: b}\n", "this key has the same value as the one on line 6"),
        (KEYS + f"  - {{name: b, hash: '{HASH}', tenant: b}}\n", "this key has the same value as the one on line 6"),
        (
            f"keys: [{{name: a, hash: '{HASH}', tenant: a}}, {{name: b, hash: '{HASH}', tenant: b}}]\n",
            "this key has the same value as the one on line 5",
        ),
        (
            "rules: [{name: a, match: {header: {X-Api-Key: a}}}]\n",
            '"X-Api-Key" bears keys, so no rule may look at it; match a tenant or a tag',
        ),
        (
            "keys: [{name: a, key: '${APP_KEY}', tenant: b, models: [tiny]}]\n",
            'no model is named "tiny"; there are small',
        ),
        ("keys: [{name: a, key: '${APP_KEY}', tenant: b, models: ['t*']}]\n", '"t*" matches no model; there are small'),
    ],
)
def test_names_that_mean_nothing(tmp_path: Path, added: str, found: str) -> None:
    """A rule or key that could never apply is refused."""
    [problem] = problems(tmp_path, SMALL + added)
    assert problem == f"{(SMALL + added).count(chr(10))}: {found}"


@pytest.mark.parametrize(
    "added",
    [
        "rules: [{name: a, match: {model: small, tenant: local}}]\n",
        "rules: [{name: a, match: {model: 's*', tenant: 'l*'}}]\n",
        KEYS + "rules: [{name: a, match: {tenant: acme}}]\n",
        "rules: [{name: a, match: {tag: a-tag-that-callers-send, header: {x-stage: beta}}}]\n",
        f"keys: [{{name: a, hash: '{HASH}', tenant: b}}]\n",
        KEYS + "rules: [{name: a, match: {tenant: 'ac[mn]e'}}]\n",
        "keys: [{name: a, key: '${APP_KEY}', tenant: b, models: ['*']}]\n",
    ],
)
def test_names_that_mean_something(tmp_path: Path, added: str) -> None:
    """Names and globs that fit something pass; the tenant local always exists."""
    assert problems(tmp_path, SMALL + added) == []


TOO_LONG = "the ttl, stale time included, is longer than cache.retention, which deletes answers before"


@pytest.mark.parametrize(
    ("stores", "cache"),
    [
        ("{}", "{ttl: 8d}"),
        ("{}", "{ttl: 7d, stale_if_error: 1s}"),
        ("{retention: 30m}", "{ttl: 1h}"),
        ("{retention: 1h}", "{stale_while_revalidate: 1m}"),
    ],
)
def test_answers_deleted_before_they_are_old(tmp_path: Path, stores: str, cache: str) -> None:
    """A rule whose answers would be deleted while they still serve is refused, at the line that says so."""
    text = SMALL + f"cache: {stores}\nrules:\n  - name: a\n    cache: {cache}\n"
    assert problems(tmp_path, text) == [f"8: {TOO_LONG}"]


@pytest.mark.parametrize(
    ("stores", "cache"),
    [
        ("{}", "{ttl: 7d}"),
        ("{retention: 31d}", "{ttl: 30d, stale_if_error: 1d, stale_while_revalidate: 1d}"),
        ("{retention: 30m}", "{}"),
        ("{retention: 30m}", "{exact: false}"),
    ],
)
def test_answers_that_live_long_enough(tmp_path: Path, stores: str, cache: str) -> None:
    """A rule within the retention passes, and so does one that says nothing of time: retention alone bounds it."""
    assert problems(tmp_path, SMALL + f"cache: {stores}\nrules: [{{name: a, cache: {cache}}}]\n") == []


def test_caching_that_cannot_be_read(tmp_path: Path) -> None:
    """What does not fit the language is told once, and not again by what compares it."""
    text = SMALL + "cache: {retention: 1s, memory: much}\nrules: [{name: a, cache: {ttl: long}}]\n"
    assert [problem.partition(":")[0] for problem in problems(tmp_path, text)] == ["5", "6"]
    for cache in ("null", "[]", "5", "{retention: null}"):
        assert len(problems(tmp_path, SMALL + f"cache: {cache}\nrules: [{{name: a, cache: {{ttl: 9d}}}}]\n")) == 1


def test_a_target_without_its_upstream(tmp_path: Path) -> None:
    """A target must name an upstream of the file."""
    text = "upstreams: {local: {url: 'http://a/v1'}}\nmodels:\n  small:\n    targets:\n      - upstream: locl\n"
    assert problems(tmp_path, text) == ['5: no upstream is named "locl"; did you mean "local"?']


def test_a_baseline_that_is_no_model(tmp_path: Path) -> None:
    """What savings are measured against must be a model of the file."""
    text = SMALL + "  other:\n    targets: [{upstream: local}]\n    baseline: smal\n"
    assert problems(tmp_path, text) == ['7: baseline: no model is named "smal"; did you mean "small"?']
    assert problems(tmp_path, text.replace("smal\n", "small\n")) == []
    assert problems(tmp_path, text.replace("smal\n", "other\n")) == []


def test_a_policy_without_models(tmp_path: Path) -> None:
    """A file cut before its models would answer nothing."""
    assert problems(tmp_path, "upstreams: {local: {url: 'http://a/v1'}}\n") == [
        "1: the policy has no models, so it could answer nothing"
    ]


def test_a_gguf_that_is_not_there(tmp_path: Path) -> None:
    """Weights are looked for beside the policy when it loads, not when the first call comes."""
    text = (
        "upstreams:\n  a:\n    engine: llama.cpp\n    gguf: weights/a.gguf\nmodels: {a: {targets: [{upstream: a}]}}\n"
    )
    assert problems(tmp_path, text) == ['4: gguf: there is no file "weights/a.gguf"']
    (tmp_path / "weights").mkdir()
    assert problems(tmp_path, text.replace("a.gguf", "")) == ['4: gguf: there is no file "weights/"']
    (tmp_path / "weights/a.gguf").write_bytes(b"GGUF")
    assert problems(tmp_path, text) == []


def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    """So is a private authority's file; a name that no disk takes is no file either."""
    for name in ("ca.pem", "x" * 5000, '"a\\0b"'):
        text = f"upstreams: {{a: {{url: 'https://a/v1', ca: {name}}}}}\nmodels: {{a: {{targets: [{{upstream: a}}]}}}}\n"
        assert problems(tmp_path, text)[0].startswith("1: ca: there is no file")


def test_a_provider_without_its_library(tmp_path: Path) -> None:
    """A policy that needs a missing extra is refused with the line that installs it."""
    text = "upstreams:\n  a: {provider: anthropic, key: '${TOKEN}'}\nmodels: {a: {targets: [{upstream: a}]}}\n"
    with pytest.raises(PolicyError) as refused:
        load(written(tmp_path, text), ENV, is_installed=lambda module: module != "litellm")
    [problem] = refused.value.problems
    assert (problem.line, INSTALL_PROVIDERS in problem.message) == (2, True)
    assert problems(tmp_path, text) == []


def test_names_from_the_environment_are_not_shown(tmp_path: Path) -> None:
    """A name that came from the environment is shown as the file writes it."""
    env = ENV | {"SECRET_NAME": "hidden-value"}
    added = """\
keys: [{name: a, key: "${APP_KEY}", tenant: "${SECRET_NAME}", models: ["${SECRET_NAME}"]}]
rules: [{name: "${SECRET_NAME}", match: {model: other}}, {name: "${SECRET_NAME}"}, {name: b}]
"""
    found = problems(tmp_path, SMALL + added, env)
    assert len(found) == 4
    assert not any("hidden" in problem for problem in found)
