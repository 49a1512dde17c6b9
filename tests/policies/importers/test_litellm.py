"""A LiteLLM configuration becomes a policy that loads; what is different is told, and no secret goes along."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.importers.litellm import CannotImport, Imported, convert
from policies.loader import LoadedPolicy, load_text
from policies.model import Policy

FIXTURES = sorted((Path(__file__).parent / "litellm").glob("*.yaml"))
VALUE = "http://10.9.8.7:8000/v1"  # good as an address and as a key


def fixture(name: str) -> Imported:
    """What one of the configurations beside this file becomes."""
    return convert((Path(__file__).parent / "litellm" / f"{name}.yaml").read_text())


def loaded(made: Imported) -> LoadedPolicy:
    """The policy, where exactly the variables that the import names are set."""
    env = dict.fromkeys(made.variables, VALUE)
    return load_text(made.text, Path("policy.yaml"), env, is_installed=lambda _: True)


def policy_of(*entries: dict[str, Any], **sections: Any) -> Policy:
    """The policy of a model_list and other sections."""
    return loaded(convert(json.dumps({"model_list": entries, **sections}))).policy


def entry(name: str = "m", model: str = "openai/gpt-4o", **params: Any) -> dict[str, Any]:
    """One entry of a model_list."""
    return {"model_name": name, "litellm_params": {"model": model, "api_key": "os.environ/KEY", **params}}


def notes(*entries: dict[str, Any], **sections: Any) -> list[str]:
    """What was noted, but for what is noted of every file."""
    made = convert(json.dumps({"model_list": entries, **sections}))
    usual = ("litellm_settings.cache:", "general_settings.master_key: without keys")
    return [str(note) for note in made.notes if not str(note).startswith(usual)]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_realistic_configurations(path: Path) -> None:
    """Each becomes a policy that loads once the variables it names are set, and needs each of them."""
    made = convert(path.read_text())
    assert loaded(made).policy.models
    assert loaded(made).doubts == ()
    for missing in made.variables:
        env = dict.fromkeys(set(made.variables) - {missing}, VALUE)
        with pytest.raises(Exception, match=missing):
            load_text(made.text, Path("policy.yaml"), env, is_installed=lambda _: True)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_no_secret_goes_along(path: Path) -> None:
    """What is written out in their file, where it should not stand, is in no policy, note or variable."""
    made = convert(path.read_text())
    told = made.text + "\n".join(map(str, made.notes)) + " ".join(made.variables)
    assert "written-out" not in told
    assert "written_out" not in told.lower()


def test_the_small_team() -> None:
    """Keys, fallbacks, retries, timeouts, prices and the cache come along."""
    policy = loaded(fixture("small_team")).policy
    assert [(t.upstream, t.model) for t in policy.models["gpt-4o"].targets] == [
        ("openai", None), ("anthropic", "claude-sonnet-4-5"),
    ]  # fmt: skip
    assert policy.upstreams["openai"].url == "https://api.openai.com/v1"
    assert policy.upstreams["anthropic"].provider == "anthropic"
    assert policy.models["embeddings"].serves == ["embeddings"]
    [rule] = policy.rules
    assert (rule.timeouts.total, rule.retry.attempts) == (120, 3)
    assert (rule.cache.sampling, rule.cache.ttl, policy.cache.retention) == ("any", 864_000, 864_000)


def test_the_load_balancer() -> None:
    """Anchors are followed; deployments of one name become targets in order; costs become prices."""
    made = fixture("load_balancer")
    policy = loaded(made).policy
    assert [(t.upstream, t.model) for t in policy.models["gpt-4o"].targets] == [
        ("eu-openai-azure-com", "gpt-4o-eu"), ("azure-us-base", "gpt-4o-us"),
    ]  # fmt: skip
    eu = policy.upstreams["eu-openai-azure-com"]
    assert (eu.provider, eu.base, eu.timeouts.first_byte) == ("azure", "https://eu.openai.azure.com", 60)
    assert (eu.prices["gpt-4o-eu"].input, eu.prices["gpt-4o-eu"].output) == (2.5, 10)
    nova = policy.upstreams["bedrock"].prices["amazon.nova-pro-v1:0"]
    assert (nova.input, nova.cached_input, nova.output) == (0.8, 0.2, 3.2)
    assert len(policy.models["nova"].targets) == 3
    assert policy.models["gpt-4"] == policy.models["gpt-4o"]
    told = {note.where: note.why for note in made.notes}
    assert "wildcards" in told["model_list[4]"]
    assert "AZURE_API_VERSION" in told["model_list[0].litellm_params.api_version"]
    assert "order" in told["router_settings.routing_strategy"]
    assert {"router_settings.fallbacks[1]", "router_settings.model_group_alias.lost", "x-azure"} <= told.keys()


def test_own_servers() -> None:
    """Servers get their address; a key written out becomes a variable with a name that is told."""
    made = fixture("own_servers")
    policy = loaded(made).policy
    assert policy.upstreams["10-0-0-5-8000"].url == "http://10.0.0.5:8000/v1"
    assert policy.upstreams["10-0-0-5-8000"].key is None
    assert policy.upstreams["10-0-0-5-8000"].prices["meta-llama/Llama-3.3-70B-Instruct"].input == 0
    assert set(policy.upstreams["llm-example-com"].headers) == {"X-Team", "X-Secret"}
    assert "LLM_EXAMPLE_COM_API_KEY" in made.variables
    assert any("set LLM_EXAMPLE_COM_API_KEY" in note.why for note in made.notes)
    assert policy.models["local"].targets[-1].model == "mistral-large"
    assert not {"dall-e", "with-a-password", "with-a-query", "not-an-address", "mystery"} & policy.models.keys()


def test_odd_names() -> None:
    """A name that reads like a number stays a name; what reads like a variable of ours names none."""
    made = fixture("kitchen_sink")
    policy = loaded(made).policy
    assert {"1.10", "no", "a: b # c"} <= policy.models.keys()
    assert policy.models["dollars"].targets[0].model == "${HOME}"
    assert "HOME" not in made.variables
    assert policy.upstreams["openai"].prices["gpt-4o-mini"].input == 0.15
    assert policy.upstreams["openai"].timeouts.answer == 45.5


def test_the_same_key_twice_is_one_upstream() -> None:
    """Entries that differ in nothing but the model share an upstream; another key is another upstream."""
    policy = policy_of(entry("a"), entry("b", "openai/gpt-5"), entry("c", api_key="os.environ/OTHER"))
    assert [model.targets[0].upstream for model in policy.models.values()] == ["openai", "openai", "openai-2"]


def test_a_suggested_variable_is_no_other() -> None:
    """The name suggested for a key written out is none that the file reads already."""
    made = convert(
        json.dumps({"model_list": [entry("a", api_key="sk-1"), entry("b", api_key="os.environ/OPENAI_API_KEY")]})
    )
    assert made.variables == ["OPENAI_API_KEY", "OPENAI_API_KEY_2"]


@pytest.mark.parametrize(
    ("params", "info", "found"),
    [
        ({"input_cost_per_token": "a lot"}, {}, "a price needs"),
        ({"input_cost_per_token": -1}, {}, "a price needs"),
        ({"input_cost_per_token": "1e999"}, {}, "a price needs"),
        ({"input_cost_per_token": "9" * 10_000}, {}, "a price needs"),
        ({"output_cost_per_token": 1e-6}, {}, "a price needs"),
        ({"timeout": "1e400"}, {}, "not a number of seconds"),
        ({"timeout": 0}, {}, "not a number of seconds"),
        ({"max_tokens": 5}, {}, "defaults for fields of requests"),
        ({"tpm": 5}, {}, "no limits by key or deployment"),
        ({"made_up": 5}, {}, "no such setting"),
        ({}, {"supports_vision": True}, "no place for"),
    ],
)
def test_what_is_not_carried_over(params: dict[str, Any], info: dict[str, Any], found: str) -> None:
    """The model comes along; what does not is noted with its place."""
    [note] = notes({**entry(**params), "model_info": info})
    name = next(iter({**params, **info}))
    assert note.startswith("model_list[0].")
    assert name in note or name == "output_cost_per_token"
    assert found in note


@pytest.mark.parametrize(
    "settings_",
    [{"num_retries": "9" * 5000}, {"num_retries": -1}, {"timeout": "x"}, {"timeout": 1e9}, {"fallbacks": 5},
     {"fallbacks": [5, {"m": "x"}, {"m": [5, {"model": "x"}, "nobody"]}]}, {"model_group_alias": {"x": 5, "${A}": "m"}},
     {"fallbacks": [{"m": ["m"]}]}],
)  # fmt: skip
def test_odd_router_settings(settings_: dict[str, Any]) -> None:
    """Settings of a wrong shape are noted or mean nothing; the models come along."""
    assert list(policy_of(entry(), router_settings=settings_).models) == ["m"]


def test_a_provider_that_few_know() -> None:
    """Whatever stands before the slash is taken for a provider; one that is not well known is noted."""
    assert notes(entry(model="meta-llama/Llama-3")) == [
        "model_list[0].litellm_params.model: see that the litellm library knows this provider"
    ]
    assert notes(entry(model="groq/llama-3")) == []


def test_retries_reach_every_fallback() -> None:
    """However few the retries, each fallback may be asked."""
    others = [entry(f"m{i}", f"openai/x{i}") for i in range(6)]
    router = {"num_retries": 0, "fallbacks": [{"m0": ["m1", "m2", "m3", "m4", "m5"]}]}
    policy = policy_of(*others, router_settings=router)
    assert (len(policy.models["m0"].targets), policy.rules[0].retry.attempts) == (6, 6)
    assert policy_of(*others, router_settings={"num_retries": 0}).rules[0].retry.attempts == 1
    assert policy_of(*others, router_settings={"num_retries": 10**9}).rules[0].retry.attempts == 100


EMBEDDING = {**entry("emb", "openai/text-embedding-3-small"), "model_info": {"mode": "embedding"}}


@pytest.mark.parametrize(
    ("fallbacks", "where"),
    [
        ({"default_fallbacks": ["b"]}, "default_fallbacks"),
        ({"fallbacks": [{"*": ["b"]}]}, "fallbacks[0]"),
    ],
)
def test_a_fallback_of_every_model(fallbacks: dict[str, Any], where: str) -> None:
    """Chat was put behind embeddings, which then served everything; now it stands behind chat only, which is told."""
    models = [entry("a"), entry("b", "openai/gpt-4.1"), EMBEDDING]
    policy = policy_of(*models, router_settings=fallbacks)
    assert [target.model for target in policy.models["a"].targets] == ["gpt-4o", "gpt-4.1"]
    assert [target.model for target in policy.models["emb"].targets] == ["text-embedding-3-small"]
    assert policy.models["emb"].serves == ["embeddings"]
    told = [note for note in notes(*models, router_settings=fallbacks) if "fallback" in note]
    assert told == [
        f"router_settings.{where}: a fallback of every model: Sluice has none such, so it is written out as further "
        "targets of each",
        f"router_settings.{where}: chat is no fallback for embeddings, nor the other way round; there it is left out",
    ]


def test_a_fallback_of_another_mode() -> None:
    """What could not answer is left out with a note; a fallback that says nothing of its mode changes no model's."""
    chat = {**entry("a"), "model_info": {"mode": "chat"}}
    router = {"fallbacks": [{"emb": ["a"]}, {"a": ["b"]}]}
    models = [chat, entry("b", "openai/gpt-4.1"), EMBEDDING]
    policy = policy_of(*models, router_settings=router)
    assert (policy.models["emb"].serves, len(policy.models["emb"].targets)) == (["embeddings"], 1)
    assert (policy.models["a"].serves, len(policy.models["a"].targets)) == (["chat", "completions"], 2)
    assert [note for note in notes(*models, router_settings=router) if "fallback" in note] == [
        "router_settings.fallbacks[0]: chat is no fallback for embeddings, nor the other way round; "
        "there it is left out"
    ]


def test_more_prices_by_glob_than_a_policy_has() -> None:
    """Names with signs of a glob are written as globs; the 201st of an upstream is noted, and the policy loads."""
    models = [entry(f"m{number}", f"openai/x[{number}]", input_cost_per_token=1e-6) for number in range(202)]
    assert len(policy_of(*models).upstreams["openai"].prices) == 200
    assert sum("at most 200" in note for note in notes(*models)) == 2


@pytest.mark.parametrize(
    "text",
    ["model_list: []\n", "{}\n", "a: 1\n", "model_list: 5\n", "model_list: [5, null, {}]\n", "model_list: {a: b}\n",
     "model_list: [{model_name: '*', litellm_params: {model: '*'}}]\n", "[]\n", "", "\t", "a: &a [*a]\n"],
)  # fmt: skip
def test_nothing_to_import(text: str) -> None:
    """A file of which no model comes over is refused, with the reasons."""
    with pytest.raises(CannotImport):
        convert(text)


def test_secrets_in_every_place() -> None:
    """Whatever in their file may be a secret is in nothing that comes of it."""
    secret = "sk-live-0123456789-secret"
    values: dict[str, Any] = {
        "api_key": secret, "aws_secret_access_key": secret, "azure_ad_token": secret, "vertex_credentials": secret,
        "extra_headers": {"X-Auth": f"Bearer {secret}", "X": secret}, "made_up": secret, "tags": [secret],
        "input_cost_per_token": secret, "timeout": secret, "organization": secret,
    }  # fmt: skip
    config = {
        "model_list": [
            entry("a", **values),
            entry("b", api_base=f"https://u:{secret}@h/v1"),
            entry("c", api_base=f"https://h/v1?k={secret}"),
            entry("d", api_base=secret),
            entry("e", "azure/x", api_base=secret, api_key=secret),
            entry("g", extra_headers={"Authorization": f"Bearer {secret}"}, api_key=secret),
            {**entry("f"), "model_info": {"mode": secret, "id": secret}},
        ],
        "general_settings": {"master_key": secret, "database_url": f"postgres://u:{secret}@h/d"},
        "environment_variables": {"OPENAI_API_KEY": secret},
        "router_settings": {"redis_password": secret, "num_retries": secret, "timeout": secret},
        "litellm_settings": {"cache": True, "cache_params": {"password": secret, "ttl": secret, "type": secret}},
        "other": secret,
    }
    made = convert(json.dumps(config))
    assert "secret" not in (made.text + "\n".join(map(str, made.notes)) + " ".join(made.variables)).replace(
        "aws_secret_access_key", "").replace("AWS_SECRET_ACCESS_KEY", "")  # fmt: skip
    assert "0123456789" not in repr(made)


def test_a_note_stays_in_its_line() -> None:
    """Keys of their file cannot forge a note or move a terminal, nor fill it."""
    config = {"model_list": [entry()], **{f"x\nmodel_list[0]: \x1b[31m{i}": 1 for i in range(2000)}}
    made = convert(json.dumps(config))
    assert len(made.notes) <= 501
    assert all(str(note).isprintable() for note in made.notes)


def test_as_large_as_it_may_be() -> None:
    """A file with thousands of models that fall back to one another is refused within seconds."""
    names = [f"m{i}" for i in range(3000)]
    config = {
        "model_list": [entry(name, f"openai/{name}") for name in names],
        "litellm_settings": {"default_fallbacks": names, "fallbacks": [{name: names[:5]} for name in names]},
    }
    start = time.process_time()
    with pytest.raises(CannotImport):  # their 300,000 targets are more than a policy may hold
        convert(json.dumps(config))
    assert time.process_time() - start < 20


WORDS = st.sampled_from(
    ["model_list", "model_name", "litellm_params", "model", "api_key", "api_base", "os.environ/A", "openai/x",
     "azure/y", "http://a/v1", "model_info", "mode", "chat", "router_settings", "fallbacks", "num_retries",
     "litellm_settings", "cache", "cache_params", "ttl", "extra_headers", "${A}", "$${", "*",
     "timeout", "model_group_alias"]
)  # fmt: skip
TREES = st.recursive(
    WORDS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text(max_size=10),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), below, max_size=5),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(
    params=st.dictionaries(WORDS | st.text(max_size=5), TREES, max_size=5),
    name=st.text(max_size=8) | WORDS,
    model=st.text(max_size=12) | WORDS,
    router=TREES,
    litellm=TREES,
)
def test_whatever_comes_loads(params: dict[str, Any], name: str, model: str, router: Any, litellm: Any) -> None:
    """Whatever their file holds, it is refused in words or comes to a policy that loads."""
    entries = [entry(), {"model_name": name, "litellm_params": {**params, "model": model}}]
    config = {"model_list": entries, "router_settings": router, "litellm_settings": litellm}
    try:
        made = convert(json.dumps(config))
    except CannotImport as refusal:
        assert str(refusal).startswith("line ")  # not even YAML; nothing else refuses this file  # noqa: PT017
        return
    assert "m" in loaded(made).policy.models
