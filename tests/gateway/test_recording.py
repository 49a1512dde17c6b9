"""Recording: what is kept of a call's contents."""

from __future__ import annotations

from gateway.recording import Recording


def test_cut_to_length() -> None:
    """No more is kept of either than the policy says, wherever the frames end."""
    recording = Recording(5, b"question")
    for frame in (b"ans", b"wer", b"!"):
        recording.see(frame)
    assert recording.content == (b"quest", b"answe")


def test_short() -> None:
    """What is short is kept whole."""
    recording = Recording(50, b"question")
    recording.see(b"answer")
    assert recording.content == (b"question", b"answer")
