"""Keys: equal calls have one, all others have another, and what nobody can tell for certain has none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from caching.errors import Unkeyable
from caching.identity import IGNORED, MAX_CHECKED, MAX_PARTS, SCHEMA, Identifier, Identity, Scope

SCOPE = Scope("acme", "", "chat", "small", "", "r1")
CHAT: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
FIELDS = sorted(
    {
        *get_type_hints(chat_create_params.CompletionCreateParamsNonStreaming),
        *get_type_hints(chat_create_params.CompletionCreateParamsStreaming),
        *get_type_hints(completion_create_params.CompletionCreateParamsNonStreaming),
        *get_type_hints(completion_create_params.CompletionCreateParamsStreaming),
        *get_type_hints(embedding_create_params.EmbeddingCreateParams),
    }
)
# What changes nothing in the answer, by OpenAI's reference; everything else in its schema does.
WITHOUT_EFFECT = {
    *("stream", "user", "safety_identifier", "metadata"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
}
UNKNOWN = [
    "top_k",
    "min_p",
    "chat_template_kwargs",
    "guided_json",
    "cache_salt",
    "nobody_has_heard_of_it",
    "",
    "né\u0000w",
]

names = st.text(max_size=6)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False, width=32).filter(
    lambda number: abs(number) < 2**53
)
leaves = (
    st.none() | st.booleans() | numbers | st.text(max_size=12) | st.sampled_from(['":', "a:b", '"', ":", "\\", "é"])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
bodies = st.dictionaries(names | st.sampled_from(["messages", "tools", "temperature", "user", "x"]), values, max_size=6)


def of_text(raw: str | bytes, scope: Scope = SCOPE) -> Identity:
    """The identity of a request with this text."""
    data = raw.encode() if isinstance(raw, str) else raw
    return Identifier(scope).identify(orjson.loads(data), data)


def of(body: dict[str, Any], scope: Scope = SCOPE) -> Identity:
    """The identity of a request with this body, written as the SDKs write it."""
    return of_text(orjson.dumps(body), scope)


def chat(**fields: Any) -> bytes:
    """The key of a chat call with more fields, or others."""
    return of(CHAT | fields).key


def test_shape() -> None:
    """A key has 32 bytes, its check 16, and the body is handed on as it is."""
    identity = of(CHAT)
    assert (len(identity.key), len(identity.check), identity.scope, identity.body) == (32, 16, SCOPE, CHAT)


@pytest.mark.parametrize(
    "text",
    [
        '{"temperature":0,"messages":[{"content":"Hi","role":"user"}],"model":"small"}',
        '{ "model" : "small",\n"messages":\t[{"role": "user", "content": "Hi"}], "temperature": 0}\n',
        '{"model":"small","m\\u0065ssages":[{"role":"user","content":"\\u0048\\u0069"}],"temperature":0}',
        '{"model":"small","messages":[{"role":"user","content":"Hi"}],"temperature":0.0}',
        '{"model":"small","messages":[{"role":"user","content":"Hi"}],"temperature":-0.0}',
        '{"model":"small","messages":[{"role":"user","content":"Hi"}],"temperature":0e5}',
        '{"model":"small","messages":[{"role":"user","content":"Hi"}],"temperature":0,"stream":true,'
        '"stream_options":{"include_usage":true,"include_obfuscation":false}}',
    ],
)
def test_writings_of_one_call(text: str) -> None:
    """Order, white space, escapes, the writing of numbers and the wire mode do not change the key."""
    assert of_text(text).key == of(CHAT).key


def test_schema_is_complete() -> None:
    """Every field of OpenAI's schema is known here, so that null means absent for each of them."""
    assert set(FIELDS) == SCHEMA


@pytest.mark.parametrize("name", [*FIELDS, *UNKNOWN])
def test_mutations(name: str) -> None:
    """Each field changes the key by its presence, its value and its depth exactly if it has an effect."""
    if name in {"store", "stream_options"}:
        return  # have their own tests
    base = {field: value for field, value in CHAT.items() if field != name}
    values: list[Any] = [
        "a",
        "b",
        1,
        True,
        [1],
        ["1"],
        {"a": 1},
        {"a": 2},
        {"a": [{"b": 0.5}]},
        {"a": [{"b": 0.25}]},
        [],
    ]
    keys = {of(base).key, *(of(base | {name: value}).key for value in values)}
    assert len(keys) == (1 if name in WITHOUT_EFFECT else len(values) + 1)


@pytest.mark.parametrize("name", FIELDS)
def test_null_of_the_schema_is_absence(name: str) -> None:
    """OpenAI's own fields say nothing when they are null."""
    base = {field: value for field, value in CHAT.items() if field != name}
    assert of(base | {name: None}).key == of(base).key


@pytest.mark.parametrize("name", UNKNOWN)
def test_null_of_unknown_fields_counts(name: str) -> None:
    """What null means in a field nobody knows, nobody knows; below the top it always counts."""
    assert len({chat(), chat(**{name: None}), chat(tools={name: None}), chat(tools={})}) == 4


def test_ignored_fields_below_the_top_count() -> None:
    """A tool's parameter may be called `user` or `stream`."""
    assert len({chat(tools={name: 1}) for name in IGNORED}) == len(IGNORED)


def test_vllm_fields_without_effect() -> None:
    """When vLLM schedules a call, and how it calls it, does not change what it answers."""
    assert chat(priority=3, request_id="r-1") == chat()


@pytest.mark.parametrize("value", [True, 1, 0, "yes", {}])
def test_store_is_the_upstreams_work(value: object) -> None:
    """An answer the upstream is to keep cannot come from here; false and null ask for nothing."""
    assert chat(store=False) == chat(store=None) == chat()
    with pytest.raises(Unkeyable, match="store"):
        chat(store=value)


@pytest.mark.parametrize("options", [{"continuous_usage_stats": True}, {"include_usage": True, "x": None}, [], "a", 1])
def test_stream_options_that_change_the_stream(options: object) -> None:
    """Only the stream options that the edge can do without are left out of account."""
    with pytest.raises(Unkeyable, match="stream_options"):
        chat(stream_options=options)
    assert chat(stream_options={}) == chat(stream_options=None) == chat()


def test_litellms_word_to_the_cache() -> None:
    """A call that asks for a new answer, in LiteLLM's way, renews the answer of the same call without that word."""
    assert chat(cache={"no-cache": True, "ttl": 60}) == chat(cache={}) == chat()
    assert len({chat(cache={"mine": 1}), chat(cache=True), chat(cache=None), chat()}) == 4


def test_kinds_of_values_differ() -> None:
    """A number is not its text, nor true, nor null; and near numbers are two."""
    kinds: list[Any] = [
        1,
        "1",
        True,
        "true",
        [1],
        {"1": 1},
        "",
        [],
        {},
        False,
        0,
        0.1,
        0.10000000000000002,
        "é",
        "e\u0301",
    ]
    assert len({chat(x=kind) for kind in kinds} | {chat(x=None), chat()}) == len(kinds) + 2


@pytest.mark.parametrize("text", ["1", "1.0", "1e0", "10E-1", "0.1e1", "1.000"])
@pytest.mark.parametrize(
    "shape", ['{"x":%s}', '{"x":[[1,2,3],{"y":[0.5,%s]}]}', '{"x":["a",%s]}', '{"x":[true,%s]}', '{"x":[7,%s]}']
)
def test_one_number(shape: str, text: str) -> None:
    """1, 1.0 and 1e0 are one number, at any depth and in any company."""
    assert of_text(shape % text).key == of_text(shape % "1").key
    assert of_text(shape % text).parts() == of_text(shape % "1").parts()


@pytest.mark.parametrize("text", ["9007199254740992.0", "-9007199254740993e0", "18446744073709551616", "1e300"])
def test_numbers_too_large_to_tell_apart(text: str) -> None:
    """Whole numbers that are rounded when read have no key; integers that are read exactly have."""
    with pytest.raises(Unkeyable, match="whole number"):
        of_text(f'{{"seed":{text}}}')
    assert len({of_text(f'{{"seed":{2**53 + more}}}').key for more in range(4)}) == 4


def test_text_is_not_a_number() -> None:
    """What stands in a text is never rewritten."""
    assert chat(x="1.0") != chat(x="1")
    assert chat(x='{"y":1.0}') != chat(x='{"y":1}')


@pytest.mark.parametrize("field", Scope.__slots__)
def test_every_field_of_the_scope_counts(field: str) -> None:
    """Nothing is shared across two tenants, namespaces, endpoints, models, qualities or rules."""
    words = {name: getattr(SCOPE, name) for name in Scope.__slots__}
    assert of(CHAT, Scope(**words | {field: "other"})).key != of(CHAT).key


@given(st.lists(st.text(max_size=4), min_size=6, max_size=6), st.lists(st.text(max_size=4), min_size=6, max_size=6))
def test_scopes_are_told_apart(one: list[str], other: list[str]) -> None:
    """Two scopes have one key only if they are equal field by field, however their texts join."""
    assert (of(CHAT, Scope(*one)).key == of(CHAT, Scope(*other)).key) == (one == other)


def test_texts_moved_across_fields() -> None:
    """A text that ends one field and a text that begins the next are not the same."""
    scopes = [Scope("ab", "c", "", "", "", ""), Scope("a", "bc", "", "", "", ""), Scope("", "abc", "", "", "", "")]
    assert len({of(CHAT, scope).key for scope in scopes}) == 3


def test_one_key_everywhere() -> None:
    """Other processes with other hash seeds have the same key and parts, today and after every restart."""
    code = (
        "import sys, orjson; from caching.identity import Identifier, Scope; raw = sys.stdin.buffer.read();"
        "i = Identifier(Scope('acme', '', 'chat', 'small', '', 'r1')).identify(orjson.loads(raw), raw);"
        "print(i.key.hex(), i.check.hex(), i.parts()[6:8])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=orjson.dumps(CHAT),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    here = of(CHAT)
    assert told == {f"{here.key.hex()} {here.check.hex()} {here.parts()[6:8]}\n".encode()}
    assert here.key.hex()[:16] == "a1c8832931e3cfa5"  # a change here empties every cache there is: only on purpose


def shuffled(value: Any, data: st.DataObject) -> Any:
    """The same value with the keys of its objects in another order."""
    if isinstance(value, dict):
        order = data.draw(st.permutations(sorted(value)))
        return {name: shuffled(value[name], data) for name in order}
    return [shuffled(item, data) for item in value] if isinstance(value, list) else value


def written(value: Any, data: st.DataObject, twice: list[str]) -> str:
    """One JSON text of a value: white space, escapes and numbers as drawn; sometimes a key again, noted in `twice`."""

    def space() -> str:
        return data.draw(st.sampled_from(["", "", " ", "\n\t"]))

    if isinstance(value, dict):
        pairs = list(value.items())
        if pairs and data.draw(st.integers(0, 9)) == 0:
            name = data.draw(st.sampled_from(pairs))[0]
            pairs.insert(data.draw(st.integers(0, len(pairs))), (name, data.draw(leaves)))
            twice.append(name)
        texts = [f"{space()}{written(k, data, twice)}{space()}:{space()}{written(v, data, twice)}" for k, v in pairs]
        return "{" + ",".join(texts) + space() + "}"
    if isinstance(value, list):
        return "[" + ",".join(space() + written(item, data, twice) for item in value) + space() + "]"
    if isinstance(value, str):
        escape = data.draw(st.booleans())
        return (
            '"'
            + "".join(
                f"\\u{ord(c):04x}" if escape and ord(c) < 0xD800 else json.dumps(c, ensure_ascii=False)[1:-1]
                for c in value
            )
            + '"'
        )
    if isinstance(value, float | int) and not isinstance(value, bool):
        forms = [
            repr(value),
            *([f"{int(value)}.0", f"{int(value)}e0", f"{int(value)}.00E+0"] if value == int(value) else []),
        ]
        return data.draw(st.sampled_from(forms))
    return json.dumps(value)


@given(bodies, st.data())
def test_writing_does_not_matter(body: dict[str, Any], data: st.DataObject) -> None:
    """However a body is ordered and written, it has one key; and a key that stands twice is never overlooked."""
    twice: list[str] = []
    text = written(shuffled(body, data), data, twice)
    if twice:
        with pytest.raises(Unkeyable, match="twice"):
            of_text(text)
    else:
        assert of_text(text).key == of(body).key
        assert of_text(text).parts() == of(body).parts()


def plain(value: Any) -> Any:
    """A value in which two writings of a number are one, and true is not 1."""
    if isinstance(value, dict):
        return frozenset((name, plain(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    return (type(value).__name__, value) if isinstance(value, bool | str | None) else ("number", float(value))


@given(values, values)
def test_values_are_told_apart(one: Any, other: Any) -> None:
    """Two values of an effective field have one key only if they are equal."""
    assert (chat(x=one) == chat(x=other)) == (plain(one) == plain(other))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"a" :2}',
        '{"a":1,"\\u0061":2}',
        '{"a":{"b":1,"b":2}}',
        '{"a":[{"b":1},{"b":1,"c":2,"b":3}]}',
        '{"user":"x","user":"y"}',
        '{"a":"\\u003a","b":1,"b":2}',
        '{"a":"\\u003A\\u003A","b":1, "b":"::"}',
        '{"a\\u003ab":1,"b":2,"b":3}',
        '{"":1,"":2}',
        '{"x":1e9,"name":1,"name":1}',  # as long as {"x":1000000000.0,"name":1}
    ],
)
def test_keys_that_stand_twice(text: str) -> None:
    """Nobody knows which of the two an upstream reads, so the call has no key, however the text is written."""
    with pytest.raises(Unkeyable, match="twice"):
        of_text(text)


@pytest.mark.parametrize(
    "text", ['{"a":"b\\u003ac"}', '{"a":"\\":"}', '{"a":{"a":1},"b":{"a":1}}', '{"a":1e2, "b" : "x:y"}']
)
def test_texts_that_only_look_so(text: str) -> None:
    """The same name in two objects, escaped colons and colons in texts are nothing to refuse."""
    assert of_text(text).key == of_text(orjson.dumps(orjson.loads(text))).key


def test_long_bodies_are_not_searched() -> None:
    """A text that would hold up the other calls has no key instead; written plainly, it has one."""
    text = json.dumps({"a": "x" * MAX_CHECKED, "b": "\u00e9"})
    assert of_text(text).key
    with pytest.raises(Unkeyable, match="too long"):
        of_text(text.replace("x", "\\u003a", 1))


@pytest.mark.parametrize("depth", [300, 900])
def test_deep_bodies(depth: int) -> None:
    """A body nested too deeply to be written again has no key, and breaks nothing."""
    with pytest.raises(Unkeyable, match="deep"):
        of_text('{"a":' + "[" * depth + "1.0" + "]" * depth + "}")
    assert of_text('{"a":' + "[" * 200 + "1.0" + "]" * 200 + "}").key


def test_a_text_that_is_not_the_bodys() -> None:
    """Where two readers of the text do not agree, an upstream may not either: no key."""
    with pytest.raises(Unkeyable, match="for certain"):
        Identifier(SCOPE).identify({"a": 1}, b'{"a"::1}')


def test_long_numbers() -> None:
    """A number of thousands of digits, which Python refuses to read, is read as the others are."""
    assert of_text('{"a":"\\u003a","b":0.' + "0" * 5000 + "1}").key == of({"a": ":", "b": 0}).key


def test_the_body_is_not_edited() -> None:
    """The caller's JSON goes on to the upstream as it came."""
    body = CHAT | {"store": False, "stream_options": {}, "cache": {}, "x": [1.0], "user": "u", "stop": None}
    before = orjson.dumps(body)
    Identifier(SCOPE).identify(body, before).parts()
    assert orjson.dumps(body) == before


def test_parts_name_the_fields() -> None:
    """Scope first, then the fields sorted, messages and tools one by one; what has no effect is not there."""
    parts = of(CHAT | {"tools": [{"a": 1}, {"b": 2}], "user": "u", "messages": [1, 2]}).parts()
    scope = ["tenant", "namespace", "endpoint", "model", "quality", "rule"]
    fields = ["messages[0]", "messages[1]", "temperature", "tools[0]", "tools[1]"]
    assert [path for path, _ in parts] == scope + fields
    assert {len(digest) for _, digest in parts} == {12}


def test_parts_show_a_change_and_nothing_else() -> None:
    """One changed message changes its own digest only."""
    one = of(CHAT | {"messages": ["a", "b", "c"]}).parts()
    other = of(CHAT | {"messages": ["a", "B", "c"]}).parts()
    assert [a[0] for a, b in zip(one, other, strict=True) if a != b] == ["messages[1]"]


def test_parts_are_bounded() -> None:
    """Of many messages and fields there are 64 parts; the rest is digested together, and still counts."""
    messages = list(range(1000))
    many = CHAT | {"messages": messages, "tools": messages} | {f"x{n}": n for n in range(100)}
    parts, other = of(many).parts(), of(many | {"x99": 0}).parts()
    assert (len(parts), parts[-1][0]) == (MAX_PARTS, "other fields")
    assert [a[0] for a, b in zip(parts, other, strict=True) if a != b] == ["other fields"]
    long = of(CHAT | {"messages": messages}).parts()
    assert long[-2][0] == "messages[35..]"
    assert long != of(CHAT | {"messages": [*messages, 0]}).parts()


def test_parts_of_two_tenants_do_not_compare() -> None:
    """Nobody sees from the digests that two tenants wrote the same."""
    mine, theirs = of(CHAT).parts(), of(CHAT, Scope("other", *("", "chat", "small", "", "r1"))).parts()
    assert not set(mine) & set(theirs)


def test_long_names_are_cut() -> None:
    """A field's name is the caller's to choose; two long ones are still two."""
    one, other = of({"x" * 500: 1}).parts()[-1], of({"x" * 501: 1}).parts()[-1]
    assert one[0] == other[0] == "x" * 64
    assert one[1] != other[1]


@pytest.mark.parametrize(
    ("name", "shown"), [("", "''"), ("a\r\nb: c", "'a\\r\\nb: c'"), ("né", "'n\\xe9'"), ("a b", "a b")]
)
def test_names_are_fit_to_be_shown(name: str, shown: str) -> None:
    """A caller's field names cannot break a log line or a header."""
    assert of({name: 1}).parts()[-1][0] == shown
    with pytest.raises(Unkeyable) as refused:
        chat(stream_options={name: 1})
    assert str(refused.value).startswith(f"stream_options.{shown} changes")


def test_parts_are_made_once() -> None:
    """Asking again costs nothing."""
    identity = of(CHAT)
    assert identity.parts() is identity.parts()
