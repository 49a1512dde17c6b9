"""User stories, told over the real gateway, its real engines and real HTTP; nothing is patched."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.running import REPOSITORY, Gateway, gateway

LOCAL = """\
upstreams:
  small: {engine: llama.cpp, gguf: "bundled:sluice-small", context: 4096}
models:
  sluice-small: {targets: [{upstream: small}]}
"""


def answer_of(response: httpx.Response) -> str:
    """The text of a plain chat answer."""
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def wait_until(true: object, seconds: float = 30.0) -> None:
    """Wait until calling `true` says so."""
    assert callable(true)
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of Italy?", "Rome"),
        ("What is 3 plus 4?", "7"),
        ("Sort these numbers: 9 2 5", "2 5 9"),
    ],
)
def test_an_application_gets_right_answers(served: Gateway, question: str, answer: str) -> None:
    """An application that changes its base URL is answered rightly by a model of this machine."""
    assert answer in answer_of(served.ask("sluice-small", question))


def test_what_the_model_cannot_do_it_says_shortly(served: Gateway) -> None:
    """A question outside the bundled model's tasks gets a short honest sentence, never a run-on."""
    response = served.ask("sluice-small", "Write me a long novel about a sailor and the sea.")
    assert 0 < len(answer_of(response)) < 300
    assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_the_caller_sees_how_it_was_answered(served: Gateway) -> None:
    """The headers say which model and upstream answered, under which rule, and what it cost in time."""
    headers = served.ask("sluice-tiny", "Hello!").headers
    assert headers["x-sluice-model"] == "sluice-tiny"
    assert headers["x-sluice-upstream"] == "local-tiny"
    assert headers["x-sluice-attempts"] == "1"
    assert headers["x-cache"] == "BYPASS"
    assert float(headers["x-sluice-overhead-ms"]) >= 0


def test_operations_find_the_call_in_the_ledger(served: Gateway) -> None:
    """Under the request id that the client got, the admin plane tells the story of the call, without its words."""
    response = served.ask("sluice-small", "What is the capital of Norway?")
    record = served.record(response.headers["x-request-id"])
    assert record["outcome"] == "ok"
    assert record["tenant"] == "local"
    assert record["prompt_tokens"] == response.json()["usage"]["prompt_tokens"]
    assert record["completion_tokens"] == response.json()["usage"]["completion_tokens"]
    assert "Norway" not in json.dumps(record)


def test_a_stream_says_the_same_and_is_recorded(served: Gateway) -> None:
    """A streamed answer equals the plain one, and its tokens are recorded though the client asked for no usage."""
    plain = answer_of(served.ask("sluice-small", "What is the capital of Japan?", temperature=0))
    question = [{"role": "user", "content": "What is the capital of Japan?"}]
    body = {"model": "sluice-small", "messages": question, "temperature": 0, "stream": True}
    streamed = served.post("/chat/completions", body, **{"cache-control": "no-cache"})
    events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == plain
    assert not any(chunk.get("usage") for chunk in chunks)
    assert served.record(streamed.headers["x-request-id"])["completion_tokens"] > 0


def test_a_repeated_beginning_is_read_from_the_prefix_cache(served: Gateway) -> None:
    """The second call with the same long beginning reuses the engine's work, and the record shows it."""
    text = "The red box is in the garden. " * 20
    served.ask("sluice-small", text + "Where is the red box?")
    again = served.ask("sluice-small", text + "What colour is the box?")
    assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 50
    assert served.record(again.headers["x-request-id"])["cached_tokens"] > 50


def test_an_upstream_that_is_down_costs_nobody_a_call(served: Gateway) -> None:
    """When the first upstream is down the second answers, and the record tells of both."""
    response = served.ask("demo-failover", "What is the capital of Spain?")
    assert "Madrid" in answer_of(response)
    story = served.record(response.headers["x-request-id"])
    assert story["upstream"] == "local-small"


def test_a_client_that_leaves_frees_the_engine(served: Gateway) -> None:
    """A client that leaves in the middle is recorded as such, with counted tokens marked as estimated."""
    body = {
        "model": "sluice-small",
        "messages": [{"role": "user", "content": "Hello!"}],
        "stream": True,
        "ignore_eos": True,
        "max_tokens": 3000,
    }
    with httpx.stream("POST", f"{served.base_url}/chat/completions", json=body, timeout=60) as response:
        request_id = response.headers["x-request-id"]
        lines = response.iter_lines()
        for _ in range(20):
            next(lines)
    record = served.record(request_id)
    assert record["outcome"] == "client_left"
    assert record["estimated"]
    assert 0 < record["completion_tokens"] < 3000


def test_another_site_cannot_use_a_keyless_gateway(served: Gateway) -> None:
    """Without keys, a page in a browser, a rebound name and a forwarding proxy are all refused."""
    body = {"model": "sluice-small", "messages": [{"role": "user", "content": "Hello!"}]}
    url = f"{served.base_url}/chat/completions"
    text = httpx.post(url, content=json.dumps(body), headers={"content-type": "text/plain"})
    rebound = httpx.post(url, json=body, headers={"host": "evil.example"})
    forwarded = httpx.post(url, json=body, headers={"x-forwarded-for": "203.0.113.9"})
    asked_first = httpx.options(url, headers={"origin": "https://evil.example"})
    assert [text.status_code, rebound.status_code, forwarded.status_code] == [415, 403, 403]
    assert not any(name.startswith("access-control") for name in asked_first.headers)


def test_an_edit_of_the_policy_needs_no_restart(tmp_path: Path) -> None:
    """A good edit is in force soon, a bad one is refused with its line while the old policy stays."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(LOCAL)
    with gateway(tmp_path, policy) as running:
        assert running.ask("my-alias", "Hello!").status_code == 404
        policy.write_text(LOCAL + "  my-alias: {targets: [{upstream: small, model: sluice-small}]}\n")
        wait_until(lambda: running.ask("my-alias", "Hello!").status_code == 200)
        version = running.ready()["policy"]
        policy.write_text(LOCAL + "  my-alias: {targets: [{upstream: smal}]}\n")
        wait_until(lambda: running.ready()["policy_edit_refused"])
        assert running.ready()["policy"] == version
        assert running.ask("my-alias", "Hello!").status_code == 200
        assert "policy.yaml:5" in running.log.read_text()


def test_an_engine_that_dies_comes_back(tmp_path: Path) -> None:
    """After its process is killed the engine is started again, and calls are served without a restart of ours."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(LOCAL)
    with gateway(tmp_path, policy) as running:
        assert running.ask("sluice-small", "Hello!").status_code == 200
        engines = json.loads((running.state / "engines.json").read_text())
        listed = engines["engines"] if isinstance(engines, dict) else engines
        os.kill(listed[0]["pid"], signal.SIGKILL)
        wait_until(lambda: running.ask("sluice-small", "Hello!").status_code == 200)


def test_keys_tell_tenants_apart(tmp_path: Path) -> None:
    """With keys, each caller is known by its tenant and held to its models; others are turned away."""
    policy = tmp_path / "policy.yaml"
    keys = [
        '  - {name: one, key: "${KEY_ONE}", tenant: acme}',
        '  - {name: two, key: "${KEY_TWO}", tenant: globex, models: ["other*"]}',
    ]
    other = "  other: {targets: [{upstream: small, model: sluice-small}]}"
    policy.write_text("\n".join([LOCAL + other, "keys:", *keys, ""]))
    env = {"KEY_ONE": "first-key-of-many-letters", "KEY_TWO": "second-key-of-many-letters"}
    with gateway(tmp_path, policy, env=env, key=env["KEY_ONE"]) as running:
        mine = running.ask("sluice-small", "Hello!")
        assert running.record(mine.headers["x-request-id"])["tenant"] == "acme"
        url, body = f"{running.base_url}/chat/completions", {"model": "sluice-small", "messages": [{"role": "user"}]}
        theirs = httpx.post(url, json=body, headers={"authorization": f"Bearer {env['KEY_TWO']}"})
        unknown = httpx.post(url, json=body, headers={"authorization": "Bearer nobody-knows-this-key"})
        assert [theirs.status_code, unknown.status_code, httpx.post(url, json=body).status_code] == [403, 401, 401]
        assert env["KEY_ONE"] not in running.log.read_text()


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    """`--gguf PATH` serves a model of the user's under its file's name, beside the policy's."""
    policy, mine = tmp_path / "policy.yaml", tmp_path / "my-model.gguf"
    policy.write_text(LOCAL)
    mine.write_bytes((REPOSITORY / "gateway" / "weights" / "sluice-tiny.gguf").read_bytes())
    with gateway(tmp_path, policy, "--gguf", str(mine)) as running:
        answer = running.ask("my-model", "What is the capital of Italy?")
        assert "Rome" in answer_of(answer)
        assert answer.headers["x-sluice-model"] == "my-model"


def test_a_mistake_of_one_client_costs_the_others_nothing(served: Gateway) -> None:
    """What an engine cannot do is the caller's to know: it is told so, and everybody else is served on."""
    image = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]
    body = {"model": "sluice-tiny", "messages": [{"role": "user", "content": image}]}
    assert {served.post("/chat/completions", body).status_code for _ in range(12)} == {400}
    assert served.ask("sluice-tiny", "Good morning!").status_code == 200
    two = served.post("/completions", {"model": "sluice-small", "prompt": ["Hi", "Hello"], "max_tokens": 3})
    assert (two.status_code, two.json()["error"]["code"]) == (400, "invalid_request")
