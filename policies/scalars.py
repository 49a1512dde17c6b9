"""The smallest words of the policy language: names, globs, durations, sizes, addresses and secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
LONGEST_NAME = 200
MOST_STARS = 8  # of one glob; each is one more search through every name it is held against
SHORTEST_KEY, LONGEST_KEY = 16, 1000  # characters of a key that clients show
LONGEST_DURATION = 7 * 24 * 3600.0  # seconds; a longer wait is a slip of the pen
LONGEST_LIFETIME = 366 * 24 * 3600.0  # seconds that something may be kept

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_DURATION = rf"({_NUMBER})(ms|s|m|h|d)"
_SIZE = rf"({_NUMBER})(B|KB|MB|GB|KiB|MiB|GiB)"


def _seconds(value: Any) -> Any:
    """Turn "250ms", "2s", "10m", "1h" or "7d" into seconds; leave anything else to the type behind."""
    if not isinstance(value, str):
        return value
    if found := re.fullmatch(_DURATION, value):
        return float(found[1]) * _UNIT_SECONDS[found[2]]
    if re.fullmatch(_NUMBER, value):
        return float(value)
    raise ValueError('not a duration; write "250ms", "2s", "10m", "1h", "7d" or a number of seconds')


def _bytes(value: Any) -> Any:
    """Turn "32MB" into a number of bytes; leave anything else to the type behind."""
    if not isinstance(value, str):
        return value
    if found := re.fullmatch(_SIZE, value):
        return int(float(found[1]) * _UNIT_BYTES[found[2]])
    if re.fullmatch(r"[0-9]{1,15}", value):
        return int(value)
    raise ValueError('not a size; write "512KB", "32MB", "32MiB" or a number of bytes')


def _name(value: str) -> str:
    """Refuse what would read as another name in a log, a header or a glob."""
    if not value or value != value.strip():
        raise ValueError("a name is not empty and has no blanks at its ends")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"a name has at most {LONGEST_NAME} characters")
    if not value.isprintable():
        raise ValueError("a name has printable characters only")
    return value


def _glob(value: str) -> str:
    """Refuse what costs more to compare than it can tell apart."""
    if value.count("*") > MOST_STARS:
        raise ValueError(f"a glob has at most {MOST_STARS} `*`")
    return value


def _address(value: str) -> str:
    """Check a server's base address, without ever repeating it: it may come from the environment."""
    if not re.fullmatch(r"[\x21-\x7e]+", value) or "\\" in value:
        raise ValueError("not a URL; write http://HOST:PORT/v1 or https://...")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL: its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("not a URL of a server; write http://HOST:PORT/v1 or https://...")
    if "@" in parts.netloc:
        raise ValueError("a URL bears no user or password; use `key: ${ENV_NAME}` or `headers`")
    if "?" in value or "#" in value:
        raise ValueError("a URL bears no query and no fragment")
    return value.rstrip("/")


def _visible(value: SecretStr) -> SecretStr:
    """Refuse a secret that no header can carry, such as one with a line end from a careless file read."""
    if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise ValueError("a key is not empty and has visible ASCII characters only (no blank, no line end)")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    """Refuse a key that could be guessed."""
    if not SHORTEST_KEY <= len(value.get_secret_value()) <= LONGEST_KEY:
        raise ValueError(f"a key has {SHORTEST_KEY} to {LONGEST_KEY} characters")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    """Refuse a header value that would end the header and begin another."""
    if not re.fullmatch(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", value.get_secret_value()):
        raise ValueError("a header value is not empty and has printable ASCII characters only, no blanks at its ends")
    return value


_CONNECTION_HEADERS = frozenset(
    ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


def _header_name(value: str) -> str:
    """Refuse names that are no HTTP token, and those that belong to the connection rather than to the policy."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}", value):
        raise ValueError("not the name of an HTTP header")
    if value.lower() in _CONNECTION_HEADERS:
        raise ValueError("this header belongs to the connection and cannot be set")
    return value


def _duration_schema(longest: float, *, zero: bool = False) -> WithJsonSchema:
    """A duration for editors, in seconds or with a unit; `zero` says whether none at all is one."""
    number = {"type": "number", "minimum" if zero else "exclusiveMinimum": 0, "maximum": longest}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^({_DURATION}|{_NUMBER}|{REFERENCE})$"}]})


def _size_schema(least: int) -> WithJsonSchema:
    """A size for editors, in bytes or with a unit."""
    number = {"type": "integer", "minimum": least}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": f"^({_SIZE}|[0-9]+|{REFERENCE})$"}]})


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, le=LONGEST_DURATION, allow_inf_nan=False),
    _duration_schema(LONGEST_DURATION),
]
Grace = Annotated[  # a duration that may be none at all
    float,
    BeforeValidator(_seconds),
    Field(ge=0, le=LONGEST_DURATION, allow_inf_nan=False),
    _duration_schema(LONGEST_DURATION, zero=True),
]
Lifetime = Annotated[  # how long something is kept, rather than waited for
    float,
    BeforeValidator(_seconds),
    Field(gt=0, le=LONGEST_LIFETIME, allow_inf_nan=False),
    _duration_schema(LONGEST_LIFETIME),
]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0, le=2**40), _size_schema(1)]
Room = Annotated[int, BeforeValidator(_bytes), Field(ge=0, le=2**40), _size_schema(0)]  # a size that may be nothing
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Portion = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # a share that may be none at all
Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_NAME})
]
Glob = Annotated[Name, AfterValidator(_glob)]  # * ? and [...] stand for others, as in a shell; case matters
Address = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "pattern": f"^(https?://[^?#@]+|.*{REFERENCE}.*)$"}),
]
_FROM_ENVIRONMENT = WithJsonSchema({"type": "string", "pattern": REFERENCE})
Secret = Annotated[SecretStr, AfterValidator(_visible), _FROM_ENVIRONMENT]
KeySecret = Annotated[SecretStr, AfterValidator(_long_enough), AfterValidator(_visible), _FROM_ENVIRONMENT]
KeyHash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value), _FROM_ENVIRONMENT]
HeaderName = Annotated[str, AfterValidator(_header_name)]


def has_glob(name: str) -> bool:
    """Say whether a name holds a character that stands for others."""
    return any(character in name for character in "*?[")


def fits(glob: str) -> Callable[[str], object]:
    """What says whether a name fits a glob, made once for many names; case matters."""
    return re.compile(translate(glob)).match if has_glob(glob) else glob.__eq__
