"""Tests of gateway.ledger.packing: rows arrive as they were packed, and nothing hostile gets through."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import orjson
import pytest

from gateway.ledger.packing import ENTRY_BYTES, Entry, Unpacked, Unpacker, Unreadable, columns, pack, sums
from gateway.ledger.rows import COLUMNS, Row, row
from gateway.ledger.schema import migrate
from gateway.trace import Bill
from tests.gateway.ledger.traces import answered, hit, refused

GATEWAY = "b" * 32
AT = 1_800_000_000.0
UNPACKER = Unpacker(columns())


def told(call: Row) -> dict[str, Any]:
    """A row by its columns' names."""
    return dict(zip(COLUMNS, call, strict=True))


def travelled(fields: Mapping[bytes, bytes]) -> Unpacked:
    """What another gateway reads of an entry."""
    return UNPACKER.unpack(fields, AT - 1000, AT + 1000)


def entry(**changes: bytes) -> dict[bytes, bytes]:
    """An entry of one call, with these fields changed."""
    [packed] = pack([row(answered())])
    fields = Entry(GATEWAY, "run", 7, packed.data).fields() | changes
    return {name.encode(): value for name, value in fields.items()}


def of(*calls: Mapping[str, Any]) -> dict[bytes, bytes]:
    """An entry of calls as another release, or another hand, may have written them, all of equal columns."""
    names = list(calls[0])
    return entry(columns=orjson.dumps(names), rows=orjson.dumps([list(call.values()) for call in calls]))


def one(**changes: Any) -> dict[str, Any]:
    """The one call of an entry whose columns were changed so, as it arrives."""
    [found] = travelled(of(told(row(answered())) | changes)).rows
    return told(found)


def test_rows_arrive_as_they_were() -> None:
    """A plain call, a hit with a bill, and a refusal arrive with every column; only the gateway is added."""
    bill = Bill(0.002, baseline=0.005, own=0.0, saved=0.003, basis="measured", lines=(("exact", 0.003, "measured"),))
    calls = [row(answered(team="red", tags=("a", "b"))), row(hit(bill=bill)), row(refused())]
    [packed] = pack(calls)
    fields = Entry(GATEWAY, "run", 7, packed.data).fields()
    found = travelled({name.encode(): value for name, value in fields.items()})
    assert (found.gateway, found.run, found.number) == (GATEWAY, "run", 7)
    assert (found.skipped, found.mended) == (0, 0)
    assert [told(call) for call in found.rows] == [told(call) | {"gateway": GATEWAY} for call in calls]


def test_later_release() -> None:
    """Columns that we do not know are left out, wherever they stand."""
    [found] = travelled(of({"new": {"a": 1}, **told(row(answered())), "newer": 2})).rows
    assert told(found) == told(row(answered())) | {"gateway": GATEWAY}


def test_earlier_release() -> None:
    """Columns that are missing have the table's defaults; a cost that nobody told is unknown, not zero."""
    found = travelled(of({"id": "req_1", "at": AT, "model": "small"}))
    [call] = map(told, found.rows)
    assert (call["model"], call["tenant"], call["status"], call["cache"]) == ("small", "", 0, "bypass")
    assert (call["cost_usd"], call["prompt_tokens"], call["own_usd"]) == (None, None, 0)
    assert found.mended == 0


@pytest.mark.parametrize(
    ("column", "value", "arrives"),
    [
        ("tenant", 5, ""),
        ("model", "x" * 10_000, ""),
        ("status", "200", 0),
        ("prompt_tokens", -1, None),
        ("prompt_tokens", 2**62, None),
        ("completion_tokens", 1.5, None),
        ("cost_usd", 1e300, None),
        ("saved_usd", -1e300, None),
        ("own_usd", "1", 0),
        ("total_ms", [1], None),
        ("upstream_ms", None, 0),
        ("gateway", "c" * 32, GATEWAY),
        ("lines", "nonsense", ""),
        ("lines", "[1,2]", ""),
        ("lines", '[["exact",1e999,"measured"]]', ""),
        ("lines", '[["a b",1,"measured"]]', ""),
        ("lines", '[["exact",1,"guessed"]]', ""),
        ("lines", '[["exact",true]]', ""),
        ("story", None, "[[],[]]"),
        ("story", "{", "[[],[]]"),
        ("story", "[]", "[[],[]]"),
        ("story", "{}", "[[],[]]"),
        ("story", "[[1],[]]", "[[],[]]"),
        ("story", '[[[{"a":[]},"m",200,"",0,0,0,null]],[]]', "[[],[]]"),
        ("story", '[[],[["note"]]]', "[[],[]]"),
        ("story", '[[],[["note",{"a":1}]]]', "[[],[]]"),
        ("story", '[[],[],[{"a":1},"b"]]', "[[],[]]"),
        ("story", '{"attempts":[],"notes":[],"bill":7}', "[[],[]]"),
        ("story", '[[["u","m",200,"",0,0,0,[[1],2,3,4,false]]],[]]', "[[],[]]"),
        ("story", '[[["u","m",200,"","now",0,0,null]],[]]', "[[],[]]"),
    ],
)
def test_absurd_values(column: str, value: Any, arrives: Any) -> None:
    """A value that no page could show or no sum could bear becomes what stands for nothing known; the call stays."""
    assert one(**{column: value}) == told(row(answered())) | {"gateway": GATEWAY, column: arrives}


def test_absurd_values_are_counted() -> None:
    """A call that was mended is counted."""
    assert travelled(of(told(row(answered())) | {"status": "x"}, told(row(answered())))).mended == 1


@pytest.mark.parametrize(
    "changes",
    [{"at": None}, {"at": "now"}, {"at": True}, {"at": 1e300}, {"at": -1}, {"at": AT - 2000}, {"id": ""}, {"id": 7},
     {"id": "x" * 1000}],
)  # fmt: skip
def test_no_calls(changes: dict[str, Any]) -> None:
    """What has no id, or did not begin in the time that is asked for, is skipped and counted, and costs no other."""
    found = travelled(of(told(row(answered())) | changes, told(row(answered("req_2")))))
    assert ([call[0] for call in found.rows], found.skipped) == (["req_2"], 1)


@pytest.mark.parametrize("value", [None, 5, "row", {}, [], [1, 2]])
def test_no_rows(value: Any) -> None:
    """What is no row is skipped and counted."""
    found = travelled(entry(rows=orjson.dumps([value])))
    assert (found.rows, found.skipped) == ([], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"v": b"2"},
        {"gateway": b""},
        {"gateway": b"<script>"},
        {"gateway": b"a" * 100_000},
        {"run": b"\xff"},
        {"n": b"-1"},
        {"n": b"9" * 30},
        {"columns": b"{}"},
        {"columns": b"[" * 100_000},
        {"rows": b""},
        {"rows": b"null"},
        {"rows": orjson.dumps([[]] * 100_000)},
        {"rows": b'["' + b"x" * 2 * ENTRY_BYTES + b'"]'},
    ],
)
def test_no_entries(changes: dict[str, bytes]) -> None:
    """An entry of another kind is refused whole, and nothing else happens."""
    with pytest.raises(Unreadable):
        travelled(entry(**changes))


def test_columns_are_the_tables() -> None:
    """An entry of nothing but ids and times can be written: what the table requires has a default of its kind."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        [call] = travelled(of({"id": "req_1", "at": AT})).rows
        db.execute(f"INSERT INTO calls ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})", call)  # noqa: S608 - our own names
        kinds = db.execute(f"SELECT {', '.join(f'typeof({name})' for name in COLUMNS)} FROM calls").fetchone()  # noqa: S608
    assert set(kinds) == {"text", "integer", "real", "null"}


def test_sums() -> None:
    """Calls add up by hour, tenant and model; of unknown cost is counted; a name that nobody knows makes no field."""
    bill = Bill(cost=0.002, baseline=0.005, own=0.0, saved=0.003, basis="measured")
    calls = [row(answered(bill=bill)), row(answered(bill=bill)), row(answered(at=AT + 3600)), row(refused("r", "junk"))]
    assert sums(calls) == {
        "2027011508": {
            '["calls","acme","small"]': 2,
            '["tokens","acme","small"]': 240,
            '["cost_usd","acme","small"]': pytest.approx(0.004),
            '["saved_usd","acme","small"]': pytest.approx(0.006),
            '["calls","acme",""]': 1,
            '["unknown","acme",""]': 1,
        },
        "2027011509": {
            '["calls","acme","small"]': 1,
            '["unknown","acme","small"]': 1,
            '["tokens","acme","small"]': 120,
        },
    }


@pytest.mark.parametrize("at", [-5.0, 1e11, 1e300])
def test_a_clock_that_jumps(at: float) -> None:
    """No time is too strange to pack a call of it."""
    call = list(row(answered()))
    call[COLUMNS.index("at")] = at
    [packed] = pack([tuple(call)])
    assert packed.count == 1
