"""What of a client's JSON may reach a provider."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.upstreams.providers.library import litellm, takes
from gateway.upstreams.providers.request import FIELDS, HINTS, NEUTRAL, OURS, keywords

ANTHROPIC = takes("anthropic", "claude-sonnet-4-20250514", "chat")
MESSAGES = [{"role": "user", "content": "hi"}]
KNOWN_TRICKS = {
    "api_base",
    "api_key",
    "api_version",
    "aws_access_key_id",
    "aws_bedrock_runtime_endpoint",
    "aws_profile_name",
    "aws_region_name",
    "aws_role_name",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_web_identity_token",
    "azure_ad_token",
    "base_url",
    "callbacks",
    "client",
    "client_secret",
    "context_window_fallback_dict",
    "custom_llm_provider",
    "deployment_id",
    "drop_params",
    "extra_body",
    "extra_headers",
    "fallbacks",
    "headers",
    "input_cost_per_token",
    "litellm_credential_name",
    "litellm_params",
    "logger_fn",
    "max_retries",
    "mock_response",
    "mock_timeout",
    "model_list",
    "num_retries",
    "organization",
    "prompt_id",
    "proxy_server_request",
    "success_callback",
    "shared_session",
    "ssl_verify",
    "timeout",
    "use_litellm_proxy",
    "vertex_credentials",
    "vertex_location",
    "vertex_project",
}


def library_names() -> set[str]:
    """Every name the library gives a meaning to, outside OpenAI's request."""
    functions = (litellm.acompletion, litellm.completion, litellm.embedding, litellm.text_completion)
    names = {name for function in functions for name in inspect.signature(function).parameters}
    return names | set(litellm.types.utils.all_litellm_params) | KNOWN_TRICKS


@pytest.mark.parametrize("endpoint", ["chat", "completions", "embeddings"])
def test_no_argument_of_the_library_can_be_set_beyond_the_listed_fields(endpoint: str) -> None:
    """Whatever else the library understands never becomes an argument, from any endpoint."""
    for name in library_names() - FIELDS[endpoint]:
        for value in ("http://169.254.169.254", {"a": "b"}, [1], 1, True):
            try:
                given = keywords(endpoint, {name: value}, "anthropic", None)
            except BadRequest:
                continue
            assert name not in given, name


def test_listed_fields_are_none_of_the_librarys_own_controls() -> None:
    """No field on the allowlist is one that the library uses to route, authenticate or log."""
    own = (set(litellm.types.utils.all_litellm_params) | KNOWN_TRICKS) - {"model", "messages"}
    assert not own & set().union(*FIELDS.values())


@pytest.mark.parametrize("name", sorted(KNOWN_TRICKS))
def test_known_tricks_are_refused_by_name(name: str) -> None:
    """A field that would choose a host, a key or a callback is a 400 that names it."""
    with pytest.raises(BadRequest) as caught:
        keywords("chat", {"messages": MESSAGES, name: "x"}, "anthropic", ANTHROPIC)
    assert caught.value.param == name
    assert name in caught.value.message


def test_metadata_goes_nowhere() -> None:
    """OpenAI's `metadata` is accepted and left out: the library would read routing from it."""
    body = {"messages": MESSAGES, "metadata": {"model_group": "x", "user_api_key": "y"}}
    assert keywords("chat", body, "anthropic", None) == {"messages": MESSAGES}


def test_unknown_field_is_refused() -> None:
    """An unknown field is neither passed on nor dropped in silence."""
    with pytest.raises(BadRequest, match="'guided_json'"):
        keywords("chat", {"messages": MESSAGES, "guided_json": {}}, "anthropic", ANTHROPIC)


def test_field_the_provider_lacks_is_refused() -> None:
    """A known field that changes the answer and that the provider does not take is a 400."""
    with pytest.raises(BadRequest, match="'seed'"):
        keywords("chat", {"messages": MESSAGES, "seed": 7}, "anthropic", ANTHROPIC)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NEUTRAL.items() for value in values])
def test_defaults_said_aloud_are_no_mistake(name: str, value: Any) -> None:
    """Clients that write OpenAI's defaults into each request are served."""
    given = keywords("chat", {"messages": MESSAGES, name: value}, "anthropic", frozenset())
    assert given == {"messages": MESSAGES}


@pytest.mark.parametrize("name", sorted(HINTS | OURS))
def test_hints_and_our_own_fields_are_left_out(name: str) -> None:
    """What says nothing about the answer is left out where the provider does not take it."""
    assert keywords("chat", {"messages": MESSAGES, name: "x"}, "anthropic", frozenset()) == {"messages": MESSAGES}


def test_taken_fields_pass_unchanged() -> None:
    """What the provider takes arrives as the client wrote it; nulls say nothing."""
    body = {"model": "m", "messages": MESSAGES, "temperature": 0.5, "stop": ["x"], "top_k": 3, "user": None}
    given = keywords("chat", body, "anthropic", ANTHROPIC)
    assert given == {"messages": MESSAGES, "temperature": 0.5, "stop": ["x"], "top_k": 3}


@pytest.mark.parametrize("kind", ["mcp", "file_search", "code_interpreter", "web_search", None])
def test_only_function_tools_pass(kind: str | None) -> None:
    """Tools that name servers, or that the library has hooks for, are refused."""
    tool = {"type": kind, "server_url": "litellm_proxy", "server_label": "x"}
    with pytest.raises(BadRequest) as caught:
        keywords("chat", {"messages": MESSAGES, "tools": [tool]}, "anthropic", ANTHROPIC)
    assert caught.value.param == "tools"


REMOTE = [
    {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
    {"type": "image_url", "image_url": "HTTP://127.0.0.1/"},
    {"type": "image_url", "image_url": {"url": "  file:///etc/passwd"}},
    {"type": "file", "file": {"file_id": "http://10.0.0.1/a.pdf"}},
    {"type": "file", "file": {"file_data": "gs://bucket/of/the/operator"}},
    {"type": "image", "source": {"type": "url", "url": "http://localhost/"}},
    {"type": "tool_result", "content": [{"type": "image", "source": {"url": "ftp://x/y"}}]},
    {"type": "video_url", "video_url": {"url": "s3://bucket/key"}},
]


@pytest.mark.parametrize("part", REMOTE)
@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_nothing_is_fetched_for_a_client(part: dict[str, Any], provider: str) -> None:
    """A message that points to an address is refused: the gateway, or its credentials, would go there."""
    messages = [*MESSAGES, {"role": "user", "content": [part]}]
    with pytest.raises(BadRequest) as caught:
        keywords("chat", {"messages": messages}, provider, None)
    assert caught.value.param == "messages[1]"


def test_https_images_pass_only_where_the_provider_fetches_by_itself() -> None:
    """Anthropic is given https addresses as they are; for others the library would fetch them here."""
    part = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert keywords("chat", body, "anthropic", None) == body
    with pytest.raises(BadRequest):
        keywords("chat", body, "gemini", None)


def test_text_and_data_urls_pass() -> None:
    """Addresses in text are text, and data: URLs are data."""
    parts = [
        {"type": "text", "text": "see http://example.com"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "tool_result", "content": "from https://example.com"},
    ]
    body = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "http://x"}]}
    assert keywords("chat", body, "gemini", None) == body
