"""YAML is read strictly: what is hostile, doubtful or half-written is refused with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.document import DEEPEST, LARGEST_FILE, UnreadableError, parse, read_text
from tests.policies.files import written


def refusal(text: str) -> str:
    """Why a text cannot be read, as "LINE: message"."""
    with pytest.raises(UnreadableError) as refused:
        parse(text)
    return f"{refused.value.line}: {refused.value.message}"


def faults(text: str) -> list[str]:
    """What is wrong in the form of a text that can be read."""
    return [f"{line}: {message}" for line, message in parse(text)[1]]


def test_scalars_stay_text() -> None:
    """YAML's guesses about types are not taken: a version is no number, "no" is not false, a time is no integer."""
    tree, _ = parse("a: 1.10\nb: no\nc: 12:30:00\nd: 0x1F\ne: 2026-01-01\nf: null\ng: 'null'\n")
    assert tree.plain() == {
        "a": "1.10", "b": "no", "c": "12:30:00", "d": "0x1F", "e": "2026-01-01", "f": None, "g": "null",
    }  # fmt: skip


def test_nodes_know_the_line_of_their_key() -> None:
    """A complaint about a block points to the key above it."""
    tree, _ = parse("a: 1\nb:\n  c:\n    - x\n    - y\n")
    below = tree.entries("b")["c"]
    assert (tree.entries("b")["c"].line, [item.line for item in below.items or []]) == (3, [4, 5])


def test_a_reference_needs_no_quotes_in_braces() -> None:
    """YAML would take the braces of ${NAME} for a mapping; people write it so anyway."""
    tree, wrong = parse("a: {b: ${B_1}, c: [${C}, x${D}y], d: '$${E}'}\n")
    assert (tree.plain(), wrong) == ({"a": {"b": "${B_1}", "c": ["${C}", "x${D}y"], "d": "$${E}"}}, [])


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "--- \n...\n"])
def test_empty(text: str) -> None:
    """A file with nothing in it is no policy."""
    assert refusal(text).endswith("the file is empty")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "'text'\n", "42\n", "[]\n"])
def test_not_a_mapping(text: str) -> None:
    """Lists and plain words are no policy."""
    assert refusal(text) == "1: a policy is a mapping of keys to values"


def test_several_documents() -> None:
    """The second document of a file would be ignored, so it is refused."""
    assert refusal("a: 1\n---\nb: 2\n").startswith("2: a second document")


def test_duplicate_keys() -> None:
    """Of two equal keys one would be ignored; both lines are told."""
    assert faults("a: 1\nb: 2\na: 3\n") == ['3: duplicate key "a"; the first is on line 1']


def test_a_yaml_bomb_is_not_expanded() -> None:
    """Nine levels of nine aliases are refused one by one, in no time and no memory."""
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    found = faults("\n".join(lines) + "\n")
    assert "1: anchors (&name) are not allowed; write the value out" in found
    assert found.count("10: aliases (*name) are not allowed; write the value out") == 9


def test_tags_build_nothing() -> None:
    """No tag is obeyed, not even a harmless one."""
    for tag in ("!!python/object/apply:os.system", "!!binary", "!!str", "!secret", "!!set"):
        assert faults(f"a: 1\nb: {tag} ['touch /nowhere']\n") == ["2: tags (!name) are not allowed"]


def test_merge_keys_are_only_keys() -> None:
    """`<<` merges nothing."""
    assert parse("a: {<<: {b: 1}}\n")[0].plain() == {"a": {"<<": {"b": "1"}}}


@pytest.mark.parametrize("text", ["a: " + "[" * 300_000, "a: " + "{a: " * 200_000, "a:\n  " + "- " * 300_000])
def test_deep_nesting(text: str) -> None:
    """Depth is bounded before it costs a stack."""
    assert f"deeper than {DEEPEST} levels" in refusal(text)


def test_many_values() -> None:
    """A file of nothing but entries is refused before it has become a million nodes."""
    assert "more than" in refusal("a: [" + "x, " * 200_000 + "x]\n")


@pytest.mark.parametrize("text", ["? [a, b]\n: c\n", "? {a: b}\n: c\n", "{[a]: b}\n", "a: &x y\n*x : b\n"])
def test_keys_are_words(text: str) -> None:
    """A key that is itself a list, a mapping or an alias is refused."""
    assert "a key must be a plain word" in refusal(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n  b: 1\n  c", 3),
        ("a:\n  b: {c: 1,\n", 2),
        ('a:\n  b: "unfinished\n', 2),
        ("a: 1\nb\nc: 2\n", 2),
        ("a:\n  - b: 1\n   c: 2\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: b: c\n", 1),
        ("a: @b\n", 1),
        ("a: %b\n", 1),
        ("a: *\n", 1),
        ("%YAML 9.9\n---\na: 1\n", 1),
        ("%TAG\n---\na: 1\n", 1),
    ],
)
def test_broken_yaml(text: str, line: int) -> None:
    """What does not parse is told with the line on which the parser gave up."""
    assert refusal(text).startswith(f"{line}: not YAML: ")


@pytest.mark.parametrize("text", ["a: 1\nb:\n", "a: 1\nb:", "a:\n  -\n", "a: {b: }\n", "a: [b, ,c]\n"])
def test_a_key_without_a_value(text: str) -> None:
    """A file that ends within a mapping leaves a key with nothing behind it."""
    try:
        assert any("there is no value here" in fault for fault in faults(text))
    except UnreadableError as error:
        assert error.message.startswith("not YAML")  # noqa: PT017 - either way it is refused


def test_a_last_line_without_an_end() -> None:
    """`60s` cut to `6` still parses; the missing line end gives the half-written file away."""
    assert faults("a: 1\nb: 6")[0].startswith("2: the last line has no line end")
    assert faults('{"a": 1}') == []


def test_every_cut_of_a_block_is_noticed_or_whole_lines() -> None:
    """A file cut anywhere but at a line end is refused."""
    text = "a:\n  b: some value\n  c: [1, 2, 3]\nd:\n  - e: {f: 1}\n"
    for length in range(1, len(text)):
        if text[length - 1] != "\n":
            try:
                assert faults(text[:length]), text[:length]
            except UnreadableError:
                continue


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: 1\nb: \xff\xfe\n", "2: this is not UTF-8 text"),
        ("a: 1\n".encode("utf-16"), "1: this is not UTF-8 text"),
        (b"a: 1\nb: x\x00y\n", "2: NUL character does not belong in a policy"),
        (b"a: \x1b[31mred\n", "1: a control character does not belong in a policy"),
        ("a: \ufdd0\n".encode(), "1: a control character does not belong in a policy"),
        (b"a: \xed\xa0\x80\n", "1: this is not UTF-8 text"),
        (b"#" * (LARGEST_FILE + 1), f"1: the file is larger than {LARGEST_FILE:,} bytes"),
    ],
)
def test_what_is_no_text(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Bytes that are no text, odd characters and too many of them are refused before any parser sees them."""
    with pytest.raises(UnreadableError) as refused:
        read_text(written(tmp_path, content))
    assert f"{refused.value.line}: {refused.value.message}" == complaint


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Some editors begin a file with a byte order mark."""
    assert read_text(written(tmp_path, b"\xef\xbb\xbfa: 1\n")) == "a: 1\n"


def test_line_ends_of_other_systems() -> None:
    """Files from Windows are read like any other."""
    tree, wrong = parse("a: 1\r\nb:\r\n  c: 2\r\n")
    assert (tree.plain(), wrong) == ({"a": "1", "b": {"c": "2"}}, [])


def test_what_is_no_file(tmp_path: Path) -> None:
    """Directories, pipes, devices and missing files are refused at once; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", tmp_path / "loop", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(UnreadableError):
            read_text(path)


def test_the_parser_repeats_no_odd_value() -> None:
    """What stands where YAML expects a tag may be a secret, so the message leaves it out."""
    assert "sk-live" not in refusal("key: !sk-live!1234 x\n")
    assert "sk-live" not in refusal("key: {a: *sk-live-1234, [b\n")
