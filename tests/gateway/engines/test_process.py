"""The engine process: a real llama.cpp server with a tiny model of random weights, over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.engines.endpoint import read_endpoint
from gateway.engines.files import EngineFiles
from gateway.engines.process import threads
from gateway.engines.spec import EngineSpec
from gateway.engines.supervisor import Supervisor
from tests.gateway.engines.running import Running, running, wait_ready, wait_until
from tests.gateway.engines.tiny import END, TOOL_CALL, write_tiny

SECRET = "XYZZY-PLUGH"
HELLO = [{"role": "user", "content": "the quick brown fox"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
                "required": ["city"],
            },
        },
    }
]
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "boolean"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def chat(engine: Running, **fields: Any) -> dict[str, Any]:
    """One chat completion of at most four tokens, unless told otherwise."""
    response = engine.client.post("/v1/chat/completions", json={"messages": HELLO, "max_tokens": 4, **fields})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def events(engine: Running, **fields: Any) -> list[dict[str, Any]]:
    """The events of a streamed chat completion, which must end in [DONE]."""
    response = engine.client.post("/v1/chat/completions", json={"messages": HELLO, "stream": True, **fields})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def is_alive(pid: int) -> bool:
    """Say whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_endpoint_is_published_for_its_owner_only(tiny_engine: Running) -> None:
    """It names the process, the model that answers bear, and a key; nobody else may read it."""
    path = EngineFiles(tiny_engine.state, tiny_engine.spec.key).endpoint
    assert path.stat().st_mode & 0o777 == 0o600
    assert tiny_engine.endpoint.model == chat(tiny_engine)["model"] == "tiny"
    assert tiny_engine.supervisor.status()[0].pid == tiny_engine.endpoint.pid


@pytest.mark.parametrize("path", ["/v1/models", "/slots", "/metrics", "/props"])
def test_nobody_gets_in_without_the_key(tiny_engine: Running, path: str) -> None:
    """The port is open to every program on the machine, the engine is not."""
    assert httpx.get(tiny_engine.endpoint.url + path).status_code == 401


def test_a_stream_bears_logprobs_and_ends_in_its_usage(tiny_engine: Running) -> None:
    """Each token has its log probability; the usage comes last, in an event without choices."""
    got = events(
        tiny_engine,
        max_tokens=3,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
        ignore_eos=True,
        stream_options={"include_usage": True},
    )
    tokens = [choice["logprobs"]["content"] for event in got for choice in event["choices"] if choice.get("logprobs")]
    assert [len(token) for token in tokens] == [1, 1, 1]
    assert all(token[0]["logprob"] <= 0 for token in tokens)
    assert got[-1]["choices"] == []
    assert got[-1]["usage"]["completion_tokens"] == 3


def test_a_repeated_prefix_is_read_from_the_cache(tiny_engine: Running) -> None:
    """The second call of a conversation evaluates only what is new."""
    system = {"role": "system", "content": "You are a patient clerk of the harbour office. " * 5}
    first = chat(tiny_engine, messages=[system, *HELLO])["usage"]
    second = chat(tiny_engine, messages=[system, {"role": "user", "content": "something else"}])["usage"]
    assert second["prompt_tokens_details"]["cached_tokens"] > 200 > first["prompt_tokens_details"]["cached_tokens"]


def test_a_required_tool_call_follows_the_grammar(tiny_engine: Running) -> None:
    """Even random weights call the tool with arguments that fit its schema, once they have begun a call."""
    bias = {str(TOOL_CALL): 40, str(END): 50}
    body = chat(tiny_engine, tools=TOOLS, tool_choice="required", logit_bias=bias, max_tokens=300, seed=1)
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    call = body["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in {"Oslo", "Rome"}


def test_a_json_schema_binds_the_answer(tiny_engine: Running) -> None:
    """Structured output is valid whatever the weights are."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": ANSWER_SCHEMA}}
    body = chat(tiny_engine, response_format=wanted, max_tokens=200)
    assert isinstance(json.loads(body["choices"][0]["message"]["content"])["answer"], bool)


def test_several_choices_up_to_the_slots(tiny_engine: Running) -> None:
    """`n` is served from parallel slots; more than there are is refused."""
    assert [choice["index"] for choice in chat(tiny_engine, n=2)["choices"]] == [0, 1]
    refused = tiny_engine.client.post("/v1/chat/completions", json={"messages": HELLO, "n": 3})
    assert refused.status_code == 400


def test_text_completions_are_served(tiny_engine: Running) -> None:
    """The older endpoint works too."""
    body = tiny_engine.client.post("/v1/completions", json={"prompt": "the fox", "max_tokens": 3}).json()
    assert body["object"] == "text_completion"
    assert body["usage"]["prompt_tokens"] > 0


def test_a_prompt_over_the_context_is_refused(tiny_engine: Running) -> None:
    """Nothing is cut silently: the answer is a 400 that gives both numbers."""
    messages = [{"role": "user", "content": "x" * 9000}]
    response = tiny_engine.client.post("/v1/chat/completions", json={"messages": messages})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "exceed_context_size_error"
    assert response.json()["error"]["n_ctx"] == tiny_engine.spec.context


@pytest.mark.parametrize("count", [16, 24, 64])
def test_kept_alive_connections_do_not_hold_each_other_up(tiny_engine: Running, count: int) -> None:
    """An answered connection keeps a thread for five idle seconds; the ones behind it are answered all the same."""
    address = ("127.0.0.1", tiny_engine.endpoint.port)
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(address, timeout=4.0)) for _ in range(count)]
        for connection in connections:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: engine\r\n\r\n")
        assert all(connection.recv(12) == b"HTTP/1.1 200" for connection in connections)


def test_a_client_that_leaves_its_stream_frees_the_slot(tiny_engine: Running) -> None:
    """The engine stops generating when the connection closes."""
    before = tiny_engine.counter("tokens_predicted_total")
    request = {"messages": HELLO, "stream": True, "max_tokens": 8000, "ignore_eos": True}
    with tiny_engine.client.stream("POST", "/v1/chat/completions", json=request) as response:
        assert next(response.iter_lines()).startswith("data: ")
    wait_until(lambda: tiny_engine.busy_slots() == 0)
    assert tiny_engine.counter("tokens_predicted_total") - before < 8000


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"messages": [{"role": "user", "content": SECRET}], "max_tokens": 4}),
        json.dumps({"messages": [{"role": "user", "content": SECRET * 2000}]}),
        json.dumps({"messages": HELLO, "grammar": f"{SECRET} ::= ["}),
        json.dumps({"messages": HELLO, "temperature": SECRET}),
        json.dumps(
            {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": SECRET}}}}
        ),
        json.dumps({"messages": [{"role": "user", "content": [{"type": SECRET}]}]}),
        f'{{"messages": "{SECRET}',
    ],
    ids=["answered", "too long", "bad grammar", "bad type", "bad schema", "bad part", "bad JSON"],
)
def test_no_word_of_a_request_reaches_the_disk(tiny_engine: Running, content: str) -> None:
    """llama.cpp prints pieces of what it refuses; none of that is in the log or in any other file."""
    tiny_engine.client.post("/v1/chat/completions", content=content)
    tiny_engine.client.get("/slots")
    files = {path.name: path.read_bytes() for path in tiny_engine.state.iterdir()}
    assert EngineFiles(tiny_engine.state, tiny_engine.spec.key).log.name in files
    assert [name for name, data in files.items() if SECRET.encode() in data] == []


def test_the_slots_show_no_prompt(tiny_engine: Running) -> None:
    """What the admin plane may ask for holds numbers only."""
    chat(tiny_engine, messages=[{"role": "user", "content": SECRET}])
    assert SECRET not in tiny_engine.client.get("/slots").text


def test_a_killed_engine_comes_back_elsewhere(tmp_path: Path, tiny_gguf: Path) -> None:
    """After kill -9 it is started again and its endpoint is a new one, which answers."""
    with running(tmp_path, EngineSpec("tiny", tiny_gguf, slots=1)) as engine:
        os.kill(engine.endpoint.pid, signal.SIGKILL)
        again = wait_ready(engine.supervisor, tmp_path, engine.spec, other_than=engine.endpoint.pid)
        assert again.api_key != engine.endpoint.api_key
        assert (
            httpx.get(again.url + "/v1/models", headers={"authorization": f"Bearer {again.api_key}"}).status_code == 200
        )
        engine.supervisor.tick()
        status = engine.supervisor.status()[0]
        assert (status.state, status.restarts, status.last_exit) == ("ready", 1, -signal.SIGKILL)


def test_stopping_ends_it_in_the_middle_of_an_answer(tmp_path: Path, tiny_gguf: Path) -> None:
    """SIGTERM is enough, and nobody finds its endpoint any more."""
    with running(tmp_path, EngineSpec("tiny", tiny_gguf, slots=1)) as engine:
        request = {"messages": HELLO, "stream": True, "max_tokens": 8000, "ignore_eos": True}
        with engine.client.stream("POST", "/v1/chat/completions", json=request) as response:
            next(response.iter_lines())
            os.kill(engine.endpoint.pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(engine.endpoint.pid))
        engine.supervisor.stop()
        assert read_endpoint(tmp_path, engine.spec) is None


PARENT = """
import sys, time
from pathlib import Path
from gateway.engines.spec import EngineSpec
from gateway.engines.supervisor import Supervisor
supervisor = Supervisor(Path(sys.argv[1]))
supervisor.want([EngineSpec("tiny", Path(sys.argv[2]), slots=1)])
while True:
    supervisor.tick()
    time.sleep(0.02)
"""


@pytest.fixture
def parent(tmp_path: Path, tiny_gguf: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that supervises one engine in `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(tiny_gguf)])
    yield process
    process.kill()
    process.wait()


def test_a_killed_parent_leaves_no_orphan(tmp_path: Path, tiny_gguf: Path, parent: subprocess.Popen[bytes]) -> None:
    """kill -9 of the gateway ends its engines too."""
    endpoint = wait_until(lambda: read_endpoint(tmp_path, EngineSpec("tiny", tiny_gguf, slots=1)))
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(endpoint.pid))


def test_a_broken_model_says_so_in_the_log(tmp_path: Path, tiny_gguf: Path) -> None:
    """The supervisor calls it failed and goes on trying; the log tells why."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_gguf.read_bytes()[:5000])
    spec = EngineSpec("broken", broken)
    supervisor = Supervisor(tmp_path)
    try:
        supervisor.want([spec])

        def has_ended() -> bool:
            supervisor.tick()
            return supervisor.status()[0].last_exit is not None

        wait_until(has_ended)
        assert "failed to load model" in EngineFiles(tmp_path, spec.key).log.read_text()
        assert read_endpoint(tmp_path, spec) is None
    finally:
        supervisor.stop()


def test_a_small_model_gets_one_thread() -> None:
    """Threads that wait for each other at every layer make a small model slower, most of all on a busy machine."""
    assert threads(5_000_000, cores=16) == 1


def test_a_large_model_gets_the_cores_but_not_their_second_halves() -> None:
    """On a machine of many logical cores every other one shares its arithmetic with a neighbour."""
    assert [threads(4_000_000_000, cores) for cores in (1, 2, 4, 8, 32)] == [1, 2, 4, 4, 16]


def test_the_tiny_model_is_quickly_made(tmp_path: Path) -> None:
    """Tests depend on no trained weights."""
    assert write_tiny(tmp_path / "a.gguf").read_bytes() == write_tiny(tmp_path / "b.gguf").read_bytes()
