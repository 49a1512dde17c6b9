"""Recording: the request and the answer of one call, cut to length, where a policy wants them kept."""

from __future__ import annotations


class Recording:
    """What was asked, and what the client got of the answer."""

    __slots__ = ("_answer", "_request", "_room")

    def __init__(self, longest: int, request: bytes) -> None:
        """`longest` is the most bytes kept of each."""
        self._request = request[:longest]
        self._answer: list[bytes] = []
        self._room = longest

    def see(self, frame: bytes) -> None:
        """Keep what fits of a piece of the answer."""
        if self._room > 0:
            self._answer.append(frame[: self._room])
            self._room -= len(frame)

    @property
    def content(self) -> tuple[bytes, bytes]:
        """Request and answer."""
        return self._request, b"".join(self._answer)
