"""Tests of gateway.ledger.spool and frames: what was written is read, and what is damaged costs nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.frames import HEAD, Frame, frame, parse
from gateway.ledger.spool import Segment, Spool, segments, used


def read_all(segment: Segment) -> tuple[list[bytes], int]:
    """All records of a segment that has ended, and how many are known to be lost."""
    offset, records, lost, found = len(HEAD), list[bytes](), 0, list[bytes]()
    before = 0
    while offset < segment.size():
        read = segment.read(offset, is_all=True)
        for each in read.frames:
            found = list(each.records)
            lost += each.first - before
            before = each.first + len(found)
            records += found
        lost += read.torn
        offset = read.end
    return records, lost


def test_records_come_back(tmp_path: Path) -> None:
    """In order, over several segments, and nothing of it is for others to read."""
    spool = Spool(tmp_path / "spool", 3, segment=100)
    for i in range(10):
        assert spool.append([b"%d" % i, b"x" * i])
    spool.close()
    found = segments(tmp_path / "spool")
    assert len(found) > 2
    assert {segment.worker for segment in found} == {3}
    records = [record for segment in found for record in read_all(segment)[0]]
    assert records == [each for i in range(10) for each in (b"%d" % i, b"x" * i)]
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert {stat.S_IMODE(segment.path.stat().st_mode) for segment in found} == {0o600}
    assert used(tmp_path / "spool") == sum(segment.path.stat().st_size for segment in found)


def test_a_segment_ends_with_its_writer(tmp_path: Path) -> None:
    """While a worker may append, nobody takes the segment for whole."""
    spool = Spool(tmp_path, 0)
    spool.append([b"x"])
    (segment,) = segments(tmp_path)
    assert not segment.has_ended()
    spool.close()
    assert segment.has_ended()


def test_numbers_rise_though_the_clock_falls(tmp_path: Path) -> None:
    """A segment begun later comes later, whatever numbers there are already."""
    (tmp_path / "0-99999999999999999999.log").write_bytes(HEAD)
    spool = Spool(tmp_path, 0)
    spool.append([b"x"])
    assert [segment.number for segment in segments(tmp_path)] == [10**20 - 1, 10**20]
    spool.close()


def test_a_segment_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    """Whoever deletes the folder under a worker costs it what lay there, not what comes."""
    spool = Spool(tmp_path / "spool", 0)
    spool.append([b"gone"])
    (segment,) = segments(tmp_path / "spool")
    segment.path.unlink()
    (tmp_path / "spool").rmdir()
    spool.append([b"there"])
    spool.close()
    (segment,) = segments(tmp_path / "spool")
    assert read_all(segment) == ([b"there"], 0)


def test_other_files_are_no_segments(tmp_path: Path) -> None:
    """The lock, drafts, and whatever else lies there."""
    for name in ("lock", "0-1.draft", "x-1.log", "0-x.log", "0-1.unread"):
        (tmp_path / name).touch()
    assert segments(tmp_path) == []
    assert segments(tmp_path / "absent") == []


def test_half_a_frame_is_waited_for() -> None:
    """Its beginning is read once its end is there."""
    data = frame([b"one"], 0, 0) + frame([b"two"], 1, 0)
    for cut in range(len(frame([b"one"], 0, 0)), len(data)):
        read = parse(data[:cut], 18, is_all=False)
        assert ([each.records for each in read.frames], read.end) == ([[b"one"]], 18 + len(frame([b"one"], 0, 0)))


SPOILT = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4)
SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(SIZES, SPOILT, st.integers(0, 30))
def test_damage_costs_only_the_frames_it_hits(sizes: list[int], spoilt: list[tuple[int, int]], cut: int) -> None:
    """Every frame that is whole is found, none twice and none made up; what lies between them is counted."""
    frames, first = [], 0
    for size in sizes:
        frames.append(frame([b"%d-%d" % (first, n) for n in range(size)], first, 0))
        first += size
    data = bytearray(b"".join(frames))
    del data[len(data) - min(cut, len(data)) :]
    for at, byte in spoilt:
        if at < len(data):
            data[at] = byte
    whole, place = [], 0
    for each in frames:
        if bytes(data[place : place + len(each)]) == each:
            whole.append(each)
        place += len(each)
    read = parse(bytes(data), 0, is_all=True)
    assert [frame(f.records, f.first, f.dropped) for f in read.frames] == whole
    assert read.end == len(data)
    assert _lost(read.frames) <= first - sum(len(f.records) for f in read.frames)


def _lost(frames: list[Frame]) -> int:
    before = lost = 0
    for each in frames:
        lost += each.first - before
        before = each.first + len(each.records)
    return lost
