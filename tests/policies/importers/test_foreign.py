"""Other programs' YAML is read with its anchors, and what is hostile in it is refused before it costs anything."""

from __future__ import annotations

import time

import pytest

from policies.importers.foreign import DEEPEST, MOST_VALUES, ForeignError, read


def test_anchors_and_merge_keys() -> None:
    """Aliases and merge keys mean what they mean to LiteLLM; what stands in the mapping itself counts first."""
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\nd: {x: 9, <<: *a}\ne: [*a, *a]\n"
    found = read(text)
    assert found["c"] == {"x": "0", "y": "2", "z": "4"}
    assert found["d"] == {"x": "9", "y": "2"}
    assert found["e"] == [{"x": "1", "y": "2"}, {"x": "1", "y": "2"}]


def test_scalars_stay_text() -> None:
    """Numbers keep their writing; only null is nothing."""
    assert read("a: 1e-07\nb: ~\nc: 'null'\nd: yes\ne: !!str 5\nf:\n") == {
        "a": "1e-07", "b": None, "c": "null", "d": "yes", "e": "5", "f": None,
    }  # fmt: skip


def test_the_last_of_two_keys_counts() -> None:
    """As in the program that the file was written for."""
    assert read("a: 1\na: 2\n") == {"a": "2"}


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]) + "\n"
MERGES = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12))]
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, f"more than {MOST_VALUES:,} values"),
        (MERGES, f"more than {MOST_VALUES:,} values"),
        ("a: [" + "x, " * 200_000 + "x]", f"more than {MOST_VALUES:,} values"),
        ("a: &a [*a]\n", "an alias"),
        ("a: &a {b: *a}\n", "an alias"),
        ("a: *nowhere\n", "an alias"),
        ("a: " + "[" * 300_000, f"nested deeper than {DEEPEST} levels"),
        ("a: " + "{a: " * 200_000, f"nested deeper than {DEEPEST} levels"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)),
            f"nested deeper than {DEEPEST}",
        ),
        ("a: !!python/object/apply:os.system ['touch /nowhere']\n", "tags (!name) are not obeyed"),
        ("a: !ENV x\n", "tags (!name) are not obeyed"),
        ("a: !!binary aGk=\n", "tags (!name) are not obeyed"),
        ("? [a]\n: b\n", "a key that is no plain word"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("- a\n", "not a mapping"),
        ("", "the file is empty"),
        ("a: b: c\n", "not YAML"),
        ("a: 'sk-secret\n", "not YAML"),
    ],
)
def test_hostile(text: str, why: str) -> None:
    """Bombs, rings, depth, tags and what is no YAML are refused with a line, and nothing of them is repeated."""
    start = time.process_time()
    with pytest.raises(ForeignError) as refused:
        read(text)
    assert time.process_time() - start < 5
    assert str(refused.value).startswith("line ")
    assert why in str(refused.value)
    assert "secret" not in str(refused.value)
