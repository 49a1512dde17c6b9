"""A file and an environment in; a policy out, or all of its problems with file and line and without a secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.loader import PolicyError, load, load_text
from policies.model import Rule
from tests.policies.files import ENV, ROOT, SMALL, everything, loaded, problems, written

LONG = """\
version: 1
upstreams:
  local-small: {engine: llama.cpp, gguf: bundled:sluice-small}
  openai:
    url: https://api.openai.com/v1/
    key: ${OPENAI_API_KEY}
    timeouts: {connect: 2s, first_byte: 60s, idle: 60s}
  claude: {provider: anthropic, key: ${ANTHROPIC_API_KEY}}
models:
  sluice-small: {targets: [{upstream: local-small}]}
  gpt-4o:
    targets:
      - {upstream: openai}
      - {upstream: claude, model: 1.10}
    serves: [chat, completions]
keys:
  - {name: app, key: ${APP_KEY}, tenant: acme, models: [gpt-4o]}
rules:
  - name: batch
    match: {tenant: acme, model: "gpt-*", endpoint: chat}
    timeouts: {total: 10m}
    retry: {attempts: 3, budget: 0.1}
    cache: {sampling: any, ttl: 1d, tags: [nightly]}
limits: {body: 32MB}
cache: {disk: 0, retention: 2d}
"""


def test_a_whole_policy(tmp_path: Path) -> None:
    """Every section is read, with the secrets from the environment."""
    policy = loaded(tmp_path, LONG).policy
    openai = policy.upstreams["openai"]
    assert openai.url == "https://api.openai.com/v1"
    assert openai.key is not None
    assert openai.key.get_secret_value() == ENV["OPENAI_API_KEY"]
    assert [target.model for target in policy.models["gpt-4o"].targets] == [None, "1.10"]
    assert policy.keys[0].key is not None
    assert policy.keys[0].key.get_secret_value() == ENV["APP_KEY"]
    assert policy.rule_for("gpt-4o", "acme", "chat").timeouts.total == 600.0
    assert policy.limits.body == 32_000_000
    assert (policy.cache.disk, policy.rule_for("gpt-4o", "acme", "chat").cache.tags) == (0, ["nightly"])


def test_json_is_yaml(tmp_path: Path) -> None:
    """A policy made by a program may be JSON, numbers and all."""
    text = json.dumps({
        "upstreams": {"a": {"url": "http://a/v1", "max_connections": 5, "stream_usage": False}},
        "models": {"m": {"targets": [{"upstream": "a"}]}},
    })  # fmt: skip
    upstream = loaded(tmp_path, text).policy.upstreams["a"]
    assert (upstream.max_connections, upstream.stream_usage) == (5, False)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("machine: {usd_per_our: 1}", 'did you mean "usd_per_hour"?'),
        ("prices: {small: {inputs: 1}}", 'did you mean "input"?'),
        ("prices: {small: {input: 1, tiers: {batch: {outptu: 1}}}}", 'did you mean "output"?'),
        ("prices: {small: {input: 1, steps: [{abov: 1}]}}", 'did you mean "above"?'),
    ],
)
def test_unknown_keys_far_down(tmp_path: Path, part: str, found: str) -> None:
    """What was meant is told at every depth, also where a part may be left out."""
    text = SMALL.replace('8000/v1"}', f'8000/v1", {part}}}')
    [*_, told] = [problem for problem in problems(tmp_path, text) if "unknown key" in problem]
    assert told.startswith("2: unknown key")
    assert told.endswith(found)


def test_a_doubt_is_no_problem(tmp_path: Path) -> None:
    """A tenant that no key of the file stands for may be that of a key made elsewhere: it is told, not refused."""
    policy = loaded(
        tmp_path, SMALL + "rules:\n  - {name: a, match: {tenant: acm}}\n  - {name: b, match: {tenant: 'x*'}}\n"
    )
    assert [f"{doubt.line}: {doubt.message}" for doubt in policy.doubts] == [
        '6: no tenant is named "acm"; there are local; only a key that is not in this file could bear it',
        '7: "x*" matches no tenant; there are local; only a key that is not in this file could bear it',
    ]
    assert loaded(tmp_path, SMALL).doubts == ()


def test_a_text_by_itself(tmp_path: Path) -> None:
    """A text is read as if it stood in the file, with paths from the file's folder."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    text = "upstreams: {a: {engine: llama.cpp, gguf: a.gguf}}\nmodels: {a: {targets: [{upstream: a}]}}\n"
    there = loaded(tmp_path, text)
    assert load_text(text, tmp_path / "policy.yaml", ENV).version == there.version
    with pytest.raises(PolicyError, match=r"policy\.yaml:1: gguf: there is no file"):
        load_text(text, tmp_path / "deeper/policy.yaml", ENV)


def test_all_problems_at_once(tmp_path: Path) -> None:
    """A file with many mistakes of different kinds is mended in one go."""
    text = """\
version: 2
upstreems: {}
upstreams:
  local: {engine: llama.cpp, gguf: nothere.gguf}
  openai:
    url: https://api.openai.com/v1
    key: sk-live-in-the-file
    timeouts: {connect: 0, first_byt: 60s}
  claude: {provider: anthropic, key: ${NOPE}}
models:
  small: {targets: [{upstream: locl}]}
  gpt-4o: {serves: [chat, completion]}
  small: {}
rules:
  - {name: batch, match: {model: "gbt-*"}, retry: {attempts: 99999999999999999999999999, budget: .inf}}
limits:
"""
    assert problems(tmp_path, text) == [
        "1: version: the only version is 1",
        '2: unknown key "upstreems"; did you mean "upstreams"?',
        '4: gguf: there is no file "nothere.gguf"',
        "7: key: secrets are only ever ${ENV_NAME}",
        '8: unknown key "first_byt" in upstreams.openai.timeouts; did you mean "first_byte"?',
        "8: upstreams.openai.timeouts.connect: input should be greater than 0",
        "9: the environment variable NOPE is not set",
        '11: no upstream is named "locl"; did you mean "local"?',
        "12: models.gpt-4o.serves.1: input should be 'chat', 'completions' or 'embeddings'",
        "12: models.gpt-4o.targets is missing",
        '13: duplicate key "small"; the first is on line 11',
        '15: "gbt-*" matches no model; there are gpt-4o, small',
        "15: rules.0.retry.attempts: input should be less than or equal to 100",
        "15: rules.0.retry.budget: input should be a valid number, unable to parse string as a number",
        "16: there is no value here; write one, or leave the key out",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("upstream: {}\n" + SMALL, '1: unknown key "upstream"; did you mean "upstreams"?'),
        (SMALL.replace("url:", "ulr:"), '2: unknown key "ulr" in upstreams.local; did you mean "url"?'),
        (SMALL + "rules:\n  - name: a\n    mach: {}\n", '7: unknown key "mach" in rules.0; did you mean "match"?'),
        (
            SMALL + "rules:\n  - name: a\n    match: {tenent: local}\n",
            '7: unknown key "tenent" in rules.0.match; did you mean "tenant"?',
        ),
        (
            SMALL + "zzz: 1\n",
            '5: unknown key "zzz"; there are cache, keys, ledger, limits, models, rules, upstreams, version',
        ),
    ],
)
def test_unknown_keys(tmp_path: Path, text: str, found: str) -> None:
    """A typo is told with its line and with what was meant, or else what there is."""
    assert found in problems(tmp_path, text)


@pytest.mark.parametrize(
    ("added", "found"),
    [
        ("keys: {}\n", "5: keys: a list is expected here"),
        ("limits: [1]\n", "5: limits: a mapping of keys to values is expected here"),
        ("rules: [a]\n", "5: rules.0: a mapping of keys to values is expected here"),
        ("rules: [{name: [a]}]\n", "5: rules.0.name: a single value is expected here"),
        ("rules: [{name: ' a'}]\n", "5: rules.0.name: a name is not empty and has no blanks at its ends"),
        ("rules: null\n", "5: rules: a list is expected here"),
        ("limits: {messages: .nan}\n", "5: limits.messages: input should be a valid integer"),
        ("limits: {messages: 0}\n", "5: limits.messages: input should be greater than or equal to 1"),
        ("rules: [{name: a, retry: {budget: 1e999}}]\n", "5: rules.0.retry.budget: input should be a finite number"),
        ("rules: [{name: a, retry: {budget: nan}}]\n", "5: rules.0.retry.budget: input should be a finite number"),
    ],
)
def test_wrong_types(tmp_path: Path, added: str, found: str) -> None:
    """Wrong types and endless numbers are told in words of YAML, not of Python."""
    [problem] = problems(tmp_path, SMALL + added)
    assert problem.startswith(found)


def test_a_wrong_type_does_not_hide_the_rest(tmp_path: Path) -> None:
    """Sections of the wrong shape do not stop the other checks."""
    found = problems(tmp_path, "upstreams: [a]\nmodels: {m: {targets: [{upstream: a}], x: 1}}\nkeys: 5\n")
    assert [problem.split(":")[0] for problem in found] == ["1", "2", "2", "3"]


def test_problems_have_a_bound(tmp_path: Path) -> None:
    """A thousand mistakes are not a thousand lines in the log."""
    found = problems(tmp_path, SMALL + "".join(f"k{number}: 1\n" for number in range(1000)))
    assert (len(found), found[-1].endswith("and more problems")) == (101, True)


def test_a_name_cannot_forge_a_line(tmp_path: Path) -> None:
    """A key with a line end in it does not begin a second line in the log."""
    with pytest.raises(PolicyError) as refused:
        loaded(tmp_path, SMALL + '"a\\npolicy.yaml:1: fine": 1\n"\\e[31m": {"\\n": 2}\n')
    assert len(str(refused.value).splitlines()) == 2
    assert "\x1b" not in str(refused.value)


def test_secrets_are_never_told(tmp_path: Path) -> None:
    """No mistake that a secret takes part in repeats its value."""
    env = ENV | {"SECRET": "hush hush\n", "URL": "http://u:hush@h/v1"}
    text = """\
upstreams:
  a: {url: ${URL}, key: ${SECRET}, headers: {x-a: "Bearer ${SECRET}", x-b: hush-b, x-c: [hush-c]}, ca: "${SECRET}"}
  b: {engine: "${SECRET}", gguf: "${SECRET}", timeouts: {connect: "${SECRET}"}}
  c: {provider: "${SECRET}", breaker: "${SECRET}"}
  d: {url: "http://h/v1", key: {hush-d: 1}}
models:
  m: {targets: [{upstream: "${SECRET}"}], serves: ["${SECRET}"]}
keys:
  - {name: "${SECRET}", key: "${SECRET}", tenant: "${SECRET}", models: ["${SECRET}"]}
  - {name: n, key: hush-e-hush-e-hush-e, tenant: "${SECRET}", models: "${SECRET}"}
rules:
  - {name: "${SECRET}", match: {model: "${SECRET}", tenant: "${SECRET}", endpoint: "${SECRET}"}}
limits: {body: "${SECRET}", messages: "${SECRET}"}
version: ${SECRET}
"""
    with pytest.raises(PolicyError) as refused:
        loaded(tmp_path, text, env)
    assert len(refused.value.problems) > 15
    assert "hush" not in str(refused.value)
    assert "hush" not in repr(refused.value.problems)


def test_a_loaded_policy_shows_no_secret(tmp_path: Path) -> None:
    """Printing what was loaded prints no secret."""
    shown = repr(loaded(tmp_path, LONG)) + loaded(tmp_path, LONG).policy.model_dump_json()
    assert not any(ENV[name] in shown for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "APP_KEY"))


def test_the_version_is_the_text_and_its_secrets(tmp_path: Path) -> None:
    """The same file and secrets are one version anywhere; another text or secret is another version."""
    version = loaded(tmp_path, LONG).version
    (tmp_path / "other").mkdir()
    assert loaded(tmp_path / "other", LONG, dict(reversed(ENV.items())) | {"UNUSED": "x"}).version == version
    assert loaded(tmp_path, LONG + "# changed\n").version != version
    assert loaded(tmp_path, LONG, ENV | {"OPENAI_API_KEY": "sk-rotated"}).version != version
    assert re.fullmatch("[0-9a-f]{12}", version)


def test_the_users_own_weights(tmp_path: Path) -> None:
    """Each file of --gguf becomes an engine and a model of its name, which rules and keys may name."""
    weights = tmp_path / "Llama-3.2-1B.Q8_0.gguf"
    weights.write_bytes(b"GGUF")
    path = written(tmp_path, SMALL + "rules: [{name: own, match: {model: 'Llama*'}}]\n")
    policy = load(path, ENV, [weights]).policy
    assert policy.upstreams["Llama-3.2-1B.Q8_0"].gguf == str(weights)
    assert policy.models["Llama-3.2-1B.Q8_0"].targets[0].upstream == "Llama-3.2-1B.Q8_0"
    assert load(written(tmp_path, SMALL), ENV, [weights]).version != load(written(tmp_path, SMALL), ENV).version


def test_own_weights_alone(tmp_path: Path) -> None:
    """A policy may leave its models to --gguf."""
    weights = tmp_path / "a.gguf"
    weights.write_bytes(b"GGUF")
    assert list(load(written(tmp_path, "version: 1\n"), ENV, [weights]).policy.models) == ["a"]


def test_own_weights_that_clash(tmp_path: Path) -> None:
    """A file named like a model or an upstream, like another file, or that is not there, is refused."""
    for name in ("small.gguf", "local.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    (tmp_path / "deeper").mkdir()
    files = [tmp_path / "small.gguf", tmp_path / "local.gguf", tmp_path / "a.gguf", tmp_path / "deeper/a.gguf"]
    with pytest.raises(PolicyError) as refused:
        load(written(tmp_path, SMALL), ENV, [*files, tmp_path / "missing.gguf"])
    assert [problem.message.split(":")[0] for problem in refused.value.problems] == [
        '--gguf "a.gguf"', '--gguf "local.gguf"', '--gguf "small.gguf"', "gguf",
    ]  # fmt: skip


def test_paths_are_relative_to_the_policy(tmp_path: Path) -> None:
    """Weights named in the file are found wherever the gateway was started."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    text = "upstreams: {a: {engine: llama.cpp, gguf: a.gguf}}\nmodels: {a: {targets: [{upstream: a}]}}\n"
    assert loaded(tmp_path, text).policy.upstreams["a"].gguf == str(tmp_path / "a.gguf")


def test_the_file_is_named(tmp_path: Path) -> None:
    """Each problem names the file as it was given."""
    with pytest.raises(PolicyError) as refused:
        load(tmp_path / "missing.yaml", ENV)
    assert str(refused.value) == f"{tmp_path}/missing.yaml:1: the file cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "name", ["default.yaml", "examples/tour.yaml", "examples/providers.yaml", "examples/pricing.yaml"]
)
def test_shipped_policies_load(name: str) -> None:
    """Every policy that comes with the gateway is right."""
    policy = load(ROOT / "policies" / name, ENV, is_installed=everything).policy
    assert policy.models


def test_every_shipped_policy_is_tried() -> None:
    """The test above forgets no file."""
    found = {str(path.relative_to(ROOT / "policies")) for path in (ROOT / "policies").rglob("*.yaml")}
    assert found == {
        "default.yaml", "examples/tour.yaml", "examples/providers.yaml", "examples/pricing.yaml",
    }  # fmt: skip


def nothing(module: str) -> bool:
    """No extra is installed."""
    return False


def test_the_default_needs_nothing() -> None:
    """The default policy loads without any variable or extra, and serves chat and embeddings."""
    policy = load(ROOT / "policies/default.yaml", {}, is_installed=nothing).policy
    assert list(policy.models) == ["sluice-tiny", "sluice-small", "all-minilm-l6-v2"]
    assert policy.models["all-minilm-l6-v2"].serves == ["embeddings"]
    assert policy.keys == []


def test_the_default_caches_what_does_not_sample() -> None:
    """The default policy says what it does by default anyway, so that people find where to change it."""
    policy = load(ROOT / "policies/default.yaml", {}, is_installed=nothing).policy
    assert policy.rules == [Rule(name="default")]
    assert {"exact", "sampling", "ttl"} == policy.rules[0].cache.model_fields_set


def test_the_tour_caches_samples_only_where_it_shows_that() -> None:
    """A model of the tour shows hits without a temperature; under its other models a call that samples samples."""
    policy = load(ROOT / "policies/examples/tour.yaml", {}, is_installed=nothing).policy
    sampled = [model for model in policy.models if policy.rule_for(model, "local", "chat").cache.sampling == "any"]
    assert sampled == ["demo-cached", "demo-priced"]


def test_the_examples_in_comments_load(tmp_path: Path) -> None:
    """What the default policy shows in comments works when its comment signs are taken away."""
    text = (ROOT / "policies/default.yaml").read_text()
    head, body = text.split("version: 1\n")
    prose = re.compile(r"^ *# (?! *(- |[a-z][\w.-]*:( |$)))[^\n]*\n", re.MULTILINE)  # what begins no key and no item
    shown = re.sub(r"^( *)# ", r"\1", prose.sub("", body), flags=re.MULTILINE)
    policy = loaded(tmp_path, shown, ENV | {"MY_APP_KEY": "x" * 16}).policy
    assert (len(policy.upstreams), len(policy.models), len(policy.keys), len(policy.rules)) == (6, 4, 1, 2)
    assert head.startswith("#")


def survives(folder: Path, content: bytes) -> None:
    """Load hostile content; only a policy or a PolicyError with a line may come of it."""
    told = problems(folder, content)
    assert all(re.fullmatch(r"[1-9]\d*: .+", problem) for problem in told)
    assert len("\n".join(told).splitlines()) == len(told)


hostile = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECTIONS = ["upstreams", "models", "keys", "rules", "limits", "cache", "version", "ledger"]
MONEY = [
    "prices",
    "input",
    "tiers",
    "batch",
    "steps",
    "above",
    "machine",
    "usd_per_hour",
    "hash",
    "tags",
    "tag",
    "header",
]
WORDS = [
    *SECTIONS,
    *MONEY,
    "baseline",
    "holdout",
    "record",
    "url",
    "provider",
    "engine",
    "gguf",
    "key",
    "headers",
    "targets",
    "upstream",
    "a",
    "match",
    "name",
]
SCALARS = st.one_of(
    st.sampled_from([*WORDS, "${APP_KEY}", "${", "http://a/v1", "2s", "*", "&x", "null", "[", "bundled:sluice-tiny"]),
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=20),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), below, max_size=6)
    ),
    max_leaves=30,
)


@hostile
@given(content=st.binary(max_size=300))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    """Bytes of any kind are refused or read, never a crash."""
    survives(tmp_path, content)


@hostile
@given(content=st.text(alphabet="abk:${}[]-,&*!|>'\"#%@`?\n\t 0_\\<", max_size=120))
def test_random_yaml_signs(tmp_path: Path, content: str) -> None:
    """So are texts made of YAML's own signs."""
    survives(tmp_path, content.encode())


@hostile
@given(tree=TREES)
def test_random_trees(tmp_path: Path, tree: object) -> None:
    """So are well-formed trees with the language's words in wrong places."""
    survives(tmp_path, json.dumps(tree).encode())


@hostile
@given(sections=st.fixed_dictionaries({}, optional=dict.fromkeys(SECTIONS, TREES)))
def test_random_sections(tmp_path: Path, sections: dict[str, object]) -> None:
    """So are policies whose sections hold anything."""
    survives(tmp_path, json.dumps(sections).encode())


@hostile
@given(data=st.data())
def test_random_damage(tmp_path: Path, data: st.DataObject) -> None:
    """So is a good policy with a piece cut out and something else put in."""
    start = data.draw(st.integers(0, len(LONG)))
    end = data.draw(st.integers(start, min(len(LONG), start + 40)))
    survives(tmp_path, (LONG[:start] + data.draw(st.text(max_size=5)) + LONG[end:]).encode("utf-8", "replace"))


@hostile
@given(end=st.integers(0, len(LONG) - 1))
def test_every_cut_is_refused_or_whole(tmp_path: Path, end: int) -> None:
    """A half-written policy is refused, unless what is there is whole lines that make sense."""
    if problems(tmp_path, LONG[:end]) == []:
        assert LONG[end - 1] == "\n"
