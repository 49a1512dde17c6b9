"""The policy file's own keys, for whoever lists keys or must not issue one of the same name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from policies.document import UnreadableError, read_text
from policies.errors import PolicyError
from policies.loader import LoadedPolicy
from policies.model import Key
from policies.watch import Watcher


class PolicyKeys:
    """The keys of the file's last good text, as the workers go by it: read when the file has changed."""

    def __init__(self, path: Path, check: Callable[[str], LoadedPolicy]) -> None:
        """`check` makes a policy of a text, or raises PolicyError."""
        self._path = path
        self._check = check
        self._watcher = Watcher(path)
        self._is_read = False
        self._keys: Sequence[Key] = ()
        self._reading = threading.Lock()

    def __call__(self) -> Sequence[Key]:
        """The keys; none as long as the file has never been good. May be asked by any thread, and reads the disk."""
        with self._reading:
            if self._watcher.changed() or not self._is_read:
                self._is_read = True
                self._read()
            return self._keys

    def _read(self) -> None:
        try:
            self._keys = tuple(self._check(read_text(self._path)).policy.keys)
        except (PolicyError, UnreadableError):
            return  # the workers refuse it too and say why
