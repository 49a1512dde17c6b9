"""The state directory: what lies where, and how files in it are written so that no reader sees half of one.

    ledger.sqlite   one row a call, written by the recorder      admin.token     the admin plane's token
    worker-N.json   what the recorder counted of worker N        engines.json    what serve knows of its engines
    status-N.json   what worker N says of itself                 recorder.json   what the recorder says of itself
    spool/          records on their way to the recorder         keys.json       keys that were issued
    policies/       versions of the policy that were in force    sessions.json   who signed out of the admin plane

The directory is 0700 and every file 0600: the ledger tells who called what, and the token opens the admin plane.
"""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class State:
    """One state directory; nothing is touched until something is written."""

    dir: Path

    @property
    def ledger(self) -> Path:
        """The ledger's SQLite file."""
        return self.dir / "ledger.sqlite"

    @property
    def engines(self) -> Path:
        """What serve knows of its engines, as JSON."""
        return self.dir / "engines.json"

    @property
    def token_file(self) -> Path:
        """The admin token, one line."""
        return self.dir / "admin.token"

    @property
    def spool(self) -> Path:
        """The folder of records that workers have written and the recorder is to read."""
        return self.dir / "spool"

    @property
    def recorder(self) -> Path:
        """What the recorder says of itself, as JSON."""
        return self.dir / "recorder.json"

    def worker(self, number: int) -> Path:
        """What was counted of worker `number`'s calls, as JSON."""
        return self.dir / f"worker-{number}.json"

    def status(self, number: int) -> Path:
        """What worker `number` says of itself, as JSON."""
        return self.dir / f"status-{number}.json"

    def workers(self) -> list[int]:
        """The numbers of workers that left a file, in order; none if the directory is not there."""
        found = [
            path.stem.partition("-")[2] for path in (*self.dir.glob("worker-*.json"), *self.dir.glob("status-*.json"))
        ]
        return sorted({int(number) for number in found if number.isdecimal()})

    def create(self) -> None:
        """Make the directory, 0700, if it is not there. Raises OSError."""
        self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Put `data` at `path` whole or not at all, 0600. Raises OSError; what was there before then stays."""
        self.create()
        draft = _draft_of(path)
        try:
            _write_private(draft, data)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)  # on a full disk it would lie there, empty
            raise

    def admin_token(self) -> str:
        """The admin plane's token, made on first use and the same ever after. Raises OSError."""
        token = self._stored_token()
        if not token:
            self._store_token(secrets.token_urlsafe(32))
            token = self._stored_token()
        return token

    def _stored_token(self) -> str:
        try:
            self.token_file.chmod(0o600)  # a restored backup may have come back readable by all
            return self.token_file.read_text("utf-8").strip()
        except FileNotFoundError:
            return ""

    def _store_token(self, token: str) -> None:
        """Keep the token unless another process was first: two that start together must agree on one."""
        self.create()
        draft = _draft_of(self.token_file)
        try:
            _write_private(draft, token.encode() + b"\n")
            if self.token_file.exists() and self.token_file.stat().st_size == 0:
                draft.replace(self.token_file)  # an earlier run was cut off after creating an empty file
            else:
                os.link(draft, self.token_file)
        except FileExistsError:
            pass
        finally:
            draft.unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    """Where this process writes before the whole is named: the same folder, so that naming it is one step."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")


def _write_private(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
