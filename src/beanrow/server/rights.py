"""Who may do what: the file that says so, and what each command needs.

Laws:
- What a command needs is stated once, in ``RULES``. A command that is not there is refused.
- Who is not named has the rights of ``anonymous``, and without such an entry none.
- The file holds no secret: of a token it has the SHA-256, which leads to no token since
  tokens are random.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from fnmatch import translate
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from beanrow.errors import BadValueError
from beanrow.protocol import requests

__all__ = ["RULES", "Principal", "Right", "Rights", "Rule", "Where", "digest", "read_rights"]

Right = Literal["put", "take", "admin"]
_RIGHTS: tuple[Right, ...] = ("put", "take", "admin")
_KEYS = {"token-sha256", "certificate", *_RIGHTS}
_ANONYMOUS = "anonymous"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_REMEMBERED = 4096


# -- what each command needs ------------------------------------------------------

Where = Literal["used", "watched", "named", "named or used", "job", "session", "any"]
"""The tubes that a request is about: the used one, all watched ones, the one it names, the used one
if it names none, that of the job it names (none if there is no such job: it is then not found), those
of the jobs of the session it names, or whichever there is.
"""


class Rule(NamedTuple):
    """Any of ``rights`` on each tube of ``where``."""

    rights: tuple[Right, ...]
    where: Where


RULES: dict[type, Rule | None] = {
    requests.Put: Rule(("put",), "used"),
    requests.PutInTube: Rule(("put",), "named"),
    requests.PutUnique: Rule(("put",), "used"),
    requests.PutTooBig: Rule(("put",), "named or used"),
    requests.PutUnterminated: Rule(("put",), "named or used"),
    requests.Use: Rule(_RIGHTS, "named"),
    requests.Watch: Rule(("take",), "named"),
    requests.Reserve: Rule(("take",), "watched"),
    requests.ReserveWithTimeout: Rule(("take",), "watched"),
    requests.ReserveJob: Rule(("take",), "job"),
    requests.Release: Rule(("take",), "job"),
    requests.Bury: Rule(("take",), "job"),
    requests.Touch: Rule(("take",), "job"),
    requests.Delete: Rule(("take", "admin"), "job"),
    requests.Peek: Rule(("take", "admin"), "job"),
    requests.PeekReady: Rule(("take", "admin"), "used"),
    requests.PeekDelayed: Rule(("take", "admin"), "used"),
    requests.PeekBuried: Rule(("take", "admin"), "used"),
    requests.Kick: Rule(("admin",), "used"),
    requests.KickJob: Rule(("admin",), "job"),
    requests.PauseTube: Rule(("admin",), "named"),
    requests.ListJobs: Rule(("take", "admin"), "named"),
    requests.Truncate: Rule(("admin",), "named"),
    requests.Resume: Rule(("take",), "session"),
    requests.Session: None,
    requests.ListTimes: Rule(_RIGHTS, "named"),
    requests.ListLeases: Rule(("admin",), "any"),
    requests.ListClients: Rule(("admin",), "any"),
    requests.ListSlow: Rule(("admin",), "any"),
    requests.StatsJob: Rule(_RIGHTS, "job"),
    requests.StatsTube: Rule(_RIGHTS, "named"),
    requests.Stats: Rule(_RIGHTS, "any"),
    requests.ListTubes: Rule(_RIGHTS, "any"),
    requests.Ignore: None,
    requests.ListTubeUsed: None,
    requests.ListTubesWatched: None,
    requests.Auth: None,
    requests.Capabilities: None,
    requests.ClientName: None,
    requests.Quit: None,
    requests.BadFormat: None,
    requests.UnknownCommand: None,
}
"""What a request needs; None is nothing: it tells or changes only its own connection."""


# -- who has it -------------------------------------------------------------------


class Principal:
    """Somebody with rights. Equal to another of the same name and rights."""

    def __init__(self, name: str, globs: dict[Right, tuple[str, ...]]) -> None:
        self.name = name
        self._globs = globs
        self._patterns = {right: _pattern(globs[right]) for right in _RIGHTS}
        self._known: dict[tuple[tuple[Right, ...], str], bool] = {}

    def may(self, rights: tuple[Right, ...], tube: str) -> bool:
        """Tell whether it has any of the rights on a tube."""
        known = self._known.get((rights, tube))
        if known is None:
            known = any(self._patterns[right].fullmatch(tube) for right in rights)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[rights, tube] = known
        return known

    def may_anywhere(self, rights: tuple[Right, ...]) -> bool:
        """Tell whether it has any of the rights on some tube."""
        return any(self._globs[right] for right in rights)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Principal) and (self.name, self._globs) == (
            other.name,
            other._globs,
        )

    def __hash__(self) -> int:
        return hash(self.name)


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)) or r"(?!)")


def digest(token: bytes) -> str:
    """Give what the file has of a token. Digests are compared, so time tells nothing of tokens."""
    return sha256(token).hexdigest()


class Rights:
    """Everybody that the file names, ``by_token`` by the digests of their tokens."""

    def __init__(self) -> None:
        self.anonymous: Principal = Principal(_ANONYMOUS, {"put": (), "take": (), "admin": ()})
        self.by_token: dict[str, Principal] = {}
        self.by_certificate: dict[str, Principal] = {}

    def of_certificate(self, names: Iterable[str]) -> Principal | None:
        """Find who has a certificate with one of these names."""
        return next((self.by_certificate[n] for n in names if n in self.by_certificate), None)


def read_rights(path: Path) -> Rights:
    """Read the file; BadValueError tells what is wrong with which entry."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadValueError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadValueError(f"{path}: {error}") from None
    rights = Rights()
    for name, entry in entries.items():
        try:
            _add(rights, name, entry)
        except ValueError as error:
            raise BadValueError(f"{path}: [{name}]: {error}") from None
    return rights


def _add(rights: Rights, name: str, entry: object) -> None:
    if not isinstance(entry, dict):
        raise ValueError("is no table")  # noqa: TRY004  # the value of a file, not of a program
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"unknown key {min(unknown)!r}; there are {', '.join(sorted(_KEYS))}")
    globs: dict[Right, tuple[str, ...]] = {
        right: tuple(_strings(entry, right)) for right in _RIGHTS
    }
    principal = Principal(name, globs)
    digests, names = _strings(entry, "token-sha256"), _strings(entry, "certificate")
    if name == _ANONYMOUS:
        if digests or names:
            raise ValueError("who shows a token or a certificate is not anonymous")
        rights.anonymous = principal
        return
    if not digests and not names:
        raise ValueError("needs token-sha256 or certificate: nobody could be this")
    for one in digests:
        if not _DIGEST.fullmatch(one):
            raise ValueError("token-sha256 is 64 hexadecimal digits: printf %s TOKEN | sha256sum")
        if one in rights.by_token:
            raise ValueError(f"has the token of [{rights.by_token[one].name}]")
        rights.by_token[one] = principal
    for certificate in names:
        if certificate in rights.by_certificate:
            raise ValueError(f"has the certificate of [{rights.by_certificate[certificate].name}]")
        rights.by_certificate[certificate] = principal


def _strings(entry: dict[str, object], key: str) -> list[str]:
    """Read a string or a list of them."""
    value = entry.get(key, [])
    values: list[object] = value if isinstance(value, list) else [value]
    found = [one for one in values if isinstance(one, str) and one]
    if len(found) < len(values):
        raise ValueError(f"{key} is a string or a list of strings")
    return found
