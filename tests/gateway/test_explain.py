"""Explain: the layers of a call without making it, and whether an answer to it is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from caching.identity import Identifier, Identity, Scope
from gateway.build import targets_of
from gateway.explain import Asked, explain
from gateway.layers.equal import fingerprint
from policies.loader import LoadedPolicy, load
from tests.gateway.admin.answers import entry, keep

TEXT = "upstreams:\n  u: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: u}], serves: [%s]}\n"
CALL = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "Hello"}]}


def policy(folder: Path, more: str = "", serves: str = "chat") -> LoadedPolicy:
    """A policy of one model."""
    path = folder / "policy.yaml"
    path.write_text(TEXT % serves + more)
    return load(path, {})


def identity(loaded: LoadedPolicy, body: dict[str, Any], namespace: str = "", endpoint: str = "chat") -> Identity:
    """What the cache tells this call apart by."""
    rule = loaded.policy.rule_for("m", "local", endpoint)
    does = fingerprint(rule.cache, targets_of(loaded.policy, "m"), loaded.policy.upstreams, {})
    return Identifier(Scope("local", namespace, endpoint, "m", "", does)).identify(body, orjson.dumps(body))


def hold(state: Path, known: Identity, **fields: Any) -> None:
    """Have an answer to this call kept in the store of a state folder."""
    scope = known.scope
    told = {"key": known.key, "check": known.check, "tenant": scope.tenant, "namespace": scope.namespace}
    asyncio.run(keep(state, entry(**{**told, "parts": known.parts(), **fields})))


def explained(
    loaded: LoadedPolicy, state: Path, body: dict[str, Any], *, endpoint: str = "chat", redis: str = "", **fields: Any
) -> list[str]:
    """What is said of the cache."""
    told = explain(loaded, "m", "local", endpoint, Asked(orjson.dumps(body), state=state, **fields), redis)
    return told.split("\n\n")[-1].splitlines()


def test_explain(tmp_path: Path) -> None:
    """What is printed names the policy, the rule, each layer and the upstream; nobody is asked anything."""
    loaded = policy(tmp_path)
    told = explain(loaded, "m", "local", "chat")
    assert loaded.version in told
    assert str(loaded.path) in told
    assert "rule   default" in told
    assert "cache  " not in told
    refused = (("x", "chat", "There are: m"), ("m", "embeddings", "serves chat"), ("m", "x", "no endpoint"))
    for model, endpoint, why in refused:
        with pytest.raises(ValueError, match=why):
            explain(loaded, model, "local", endpoint)


def test_a_kept_answer_is_told(tmp_path: Path) -> None:
    """How old it is, for how long it is fresh, and who gave it; order and number format of the body do not matter."""
    loaded = policy(tmp_path)
    hold(tmp_path, identity(loaded, CALL), age=12.4)
    for body in (CALL, {**dict(reversed(CALL.items())), "temperature": 0.0, "stream": True}):
        cache, store = explained(loaded, tmp_path, body)
        assert cache == "cache  it may share an answer with equal calls"
        place, _, rest = store.partition(": ")
        assert place == f"store  {tmp_path / 'cache.sqlite'}"
        assert rest.startswith("an entry, 12 s old, fresh for 358")
        assert rest.endswith("answered by small-q8 (local)")


def test_a_stale_answer_is_told(tmp_path: Path) -> None:
    """Past its ttl it is not used, or serves while a new one is fetched where the rule allows that."""
    loaded = policy(tmp_path)
    hold(tmp_path, identity(loaded, CALL), age=3700.0)
    assert "an entry, 3700 s old, not used: expired" in explained(loaded, tmp_path, CALL)[1]
    lenient = policy(tmp_path, "rules: [{name: r, cache: {stale_while_revalidate: 1h}}]\n")
    hold(tmp_path, identity(lenient, CALL), age=3700.0)
    assert "stale since 100 s, serves while a new one is fetched" in explained(lenient, tmp_path, CALL)[1]


def test_the_nearest_answer_is_told(tmp_path: Path) -> None:
    """Where none is kept, the nearest call of the tenant and the first field in which the two differ."""
    loaded = policy(tmp_path)
    hold(tmp_path, identity(loaded, {**CALL, "seed": 1}), age=30.0)
    hold(tmp_path, identity(loaded, {**CALL, "messages": [], "seed": 5, "top_p": 1}))
    _, store, near = explained(loaded, tmp_path, CALL)
    assert store.endswith(": no entry")
    assert "differs from the nearest entry in seed;" in near
    assert "30 s old" in near
    assert "in namespace" in explained(loaded, tmp_path, {**CALL, "seed": 1}, namespace="tests")[2]


def test_an_answer_unlike_the_call_is_not_told(tmp_path: Path) -> None:
    """An entry that has no field in common with the call is not called near, and its age is not told."""
    loaded = policy(tmp_path, serves="embeddings")
    hold(tmp_path, identity(loaded, {"model": "m", "input": "one"}, endpoint="embeddings"), age=118.0)
    told = explained(loaded, tmp_path, {"model": "m", "input": "two"}, endpoint="embeddings")
    assert told[1].endswith(": no entry")
    assert told[2].strip() == "nothing that is kept for this tenant is like it"


def test_another_tenants_answers_are_not_told(tmp_path: Path) -> None:
    """Nothing is said of a tenant that does not ask, not even that it asked the same."""
    loaded = policy(tmp_path)
    other = Identifier(Scope("other", "", "chat", "m", "", "rule")).identify(CALL, orjson.dumps(CALL))
    hold(tmp_path, other)
    assert explained(loaded, tmp_path, CALL)[2].strip() == "nothing is kept for this tenant"


def test_a_namespace_has_answers_of_its_own(tmp_path: Path) -> None:
    """What was kept in one is found there only."""
    loaded = policy(tmp_path)
    hold(tmp_path, identity(loaded, CALL, namespace="tests"))
    assert "an entry" in explained(loaded, tmp_path, CALL, namespace="tests")[1]
    assert explained(loaded, tmp_path, CALL)[1].endswith("no entry")


@pytest.mark.parametrize(
    ("rule", "body", "told"),
    [
        ("", {"temperature": 1}, "cache  bypass: is sampled: its temperature is not 0"),
        ("", {"store": True}, "the upstream to keep the answer"),
        ("", {"cache": {"no-cache": True}}, "cache  it may share an answer with equal calls"),
        ("sampling: any", {"temperature": 1}, "cache  it may share an answer with equal calls"),
        ("exact: false", {}, "no answer is kept"),
        ("exact: false, coalesce: false", {}, "neither keeps nor shares"),
    ],
)
def test_whether_a_call_can_have_an_equal(tmp_path: Path, rule: str, body: dict[str, Any], told: str) -> None:
    """It is the rule's and the body's to say, and the reason is told."""
    loaded = policy(tmp_path, f"rules: [{{name: r, cache: {{{rule}}}}}]\n" if rule else "")
    assert told in explained(loaded, tmp_path, {**CALL, **body})[0]


def test_no_store_is_told(tmp_path: Path) -> None:
    """Where there is no file yet, or where answers are kept in memory only."""
    assert "cannot be had: there is no cache.sqlite" in explained(policy(tmp_path), tmp_path, CALL)[1]
    assert "in the workers' memory only" in explained(policy(tmp_path, "cache: {disk: 0}\n"), tmp_path, CALL)[1]


def test_embeddings_are_told_input_by_input(tmp_path: Path) -> None:
    """Each input has an answer of its own, or has none."""
    loaded = policy(tmp_path, serves="embeddings")
    hold(tmp_path, identity(loaded, {"model": "m", "input": "one"}, endpoint="embeddings"))
    body = {"model": "m", "input": ["one", "two"]}
    told = explained(loaded, tmp_path, body, endpoint="embeddings")
    assert told[1].endswith(": 1 of 2 inputs are kept")
    assert "an entry" in told[2]
    assert told[3].strip() == "no entry"


def test_the_layers_over_redis(tmp_path: Path) -> None:
    """With a Redis the layer over it is told, also while it cannot be reached; a look into it then says so."""
    loaded = policy(tmp_path)
    nobody = "redis://me:secret@127.0.0.1:9/0"
    assert "shared flight" not in explain(loaded, "m", "local", "chat")
    told = explain(loaded, "m", "local", "chat", redis_url=nobody)
    assert "  4. shared flight  with those of other gateways too" in told.splitlines()
    store = explained(loaded, tmp_path, CALL, redis=nobody)[1]
    assert store == "store  redis://127.0.0.1:9 cannot be had: Redis cannot be reached"


def test_a_redis_url_that_is_none_is_told(tmp_path: Path) -> None:
    """The reason says what a URL looks like and nothing of the password."""
    with pytest.raises(ValueError, match="begins with one of") as told:
        explain(policy(tmp_path), "m", "local", "chat", redis_url="http://me:secret@somewhere")
    assert "secret" not in str(told.value)


def test_a_body_that_would_be_refused_is_told(tmp_path: Path) -> None:
    """In the words its caller would get."""
    for body, why in (
        (b"{", "not valid JSON"),
        (b'{"messages": 1}', "messages"),
        (b'{"model": "x"}', "messages|model"),
    ):
        with pytest.raises(ValueError, match=why):
            explain(policy(tmp_path), "m", "local", "chat", Asked(body, state=tmp_path))
