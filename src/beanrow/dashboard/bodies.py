"""What is in a body, for people: text, JSON, a dead letter, what is packed, or its bytes.

Laws:
- Nothing of a body is run, and nothing of it decides how much memory is used.
- What is shown is text; the page escapes it like any other.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickletools
import zlib
from typing import Any, NamedTuple

from beanrow.dashboard.words import when
from beanrow.errors import BadValueError
from beanrow.worker.letters import Letter, read_letter

__all__ = ["Body", "Failure", "editable", "from_form", "read_body", "read_failure"]

_MOST_SHOWN = 256 * 1024
_MOST_UNPACKED = 1024 * 1024
_MOST_DUMPED = 4096
_MOST_OPCODES = 500
_GZIP = b"\x1f\x8b"
_ZLIB = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")


class Body(NamedTuple):
    """A body as it is shown: what it is, its text, and whether that is all of it."""

    kind: str
    text: str
    whole: bool


class Failure(NamedTuple):
    """What a dead letter tells: the job in it, its error, and what went before."""

    letter: Letter
    job: str
    kind: str
    text: str
    traceback: str
    counts: list[tuple[str, str]]
    earlier: list[tuple[str, str, str]]
    """Attempt, time and error of earlier attempts."""


def read_body(body: bytes, depth: int = 2) -> Body:
    """Tell what a body is."""
    if not body:
        return Body("empty", "", True)
    if depth and (unpacked := _unpacked(body)) is not None:
        packing, inner, whole = unpacked
        shown = read_body(inner, depth - 1)
        return Body(f"{packing}, in it {shown.kind}", shown.text, whole and shown.whole)
    if body[:1] == b"\x80" and body[-1:] == b".":
        return _pickle(body)
    text = _text(body)
    if text is None:
        return Body("bytes", _dump(body[:_MOST_DUMPED]), len(body) <= _MOST_DUMPED)
    pretty = _json(text)
    kind = "text" if pretty is None else "JSON"
    shown_text = text if pretty is None else pretty
    return Body(kind, shown_text[:_MOST_SHOWN], len(shown_text) <= _MOST_SHOWN)


def _text(body: bytes) -> str | None:
    """Read text; None if it is none, or holds what no page can show."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(one < " " and one not in "\t\n\r" for one in text) else text


def _json(text: str) -> str | None:
    """Write JSON with its lines apart; None for a text that is none, or a bare word or number."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return None


def _unpacked(body: bytes) -> tuple[str, bytes, bool] | None:
    """Unpack gzip, zlib or base64: how it was packed, what is in it, and whether that is all."""
    if body[:2] == _GZIP:
        inflated = _inflated(body, 31)
        return None if inflated is None else ("gzip", *inflated)
    if body[:2] in _ZLIB:
        inflated = _inflated(body, 15)
        return None if inflated is None else ("zlib", *inflated)
    if len(body) < 16 or len(body) > _MOST_UNPACKED or len(body) % 4:
        return None
    try:
        inner = base64.b64decode(body, validate=True)
    except binascii.Error:
        return None
    # Many a word is base64 by chance; what comes out of one is not text.
    readable = _text(inner) is not None or inner[:2] in (_GZIP, *_ZLIB)
    return ("base64", inner, True) if readable else None


def _inflated(body: bytes, window: int) -> tuple[bytes, bool] | None:
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(body, _MOST_UNPACKED)
    except zlib.error:
        return None
    return data, inflater.eof


def _pickle(body: bytes) -> Body:
    """Tell what a pickle would do, without doing it."""
    lines = []
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(body)):
            lines.append(opcode.name if argument is None else f"{opcode.name} {argument!r:.200}")
            if len(lines) == _MOST_OPCODES:
                return Body("a Python pickle, told and not opened", "\n".join(lines), False)
    except Exception:  # noqa: BLE001  # the reader trusts its input: anything may come of a wrong one
        return Body("bytes", _dump(body[:_MOST_DUMPED]), len(body) <= _MOST_DUMPED)
    return Body("a Python pickle, told and not opened", "\n".join(lines), True)


def _dump(body: bytes) -> str:
    """Write bytes sixteen to a line, in hexadecimal and as text."""
    lines = []
    for place in range(0, len(body), 16):
        some = body[place : place + 16]
        shown = "".join(chr(one) if 32 <= one < 127 else "." for one in some)
        lines.append(f"{place:06x}  {some.hex(' '):<47}  {shown}")
    return "\n".join(lines)


def editable(body: bytes) -> tuple[str, str]:
    """Give a body as a form can hold it, and how: ``text``, ``text-crlf`` or ``base64``.

    A form turns every end of a line into CR LF, so what mixes them goes as base64.
    """
    text = _text(body)
    if text is not None and "\r" not in text:
        return text, "text"
    if text is not None and "\r" not in (lone := text.replace("\r\n", "")) and "\n" not in lone:
        return text, "text-crlf"
    return base64.b64encode(body).decode(), "base64"


def from_form(text: str, how: str) -> bytes:
    """Read back what ``editable`` gave to a form; BadValueError if it is not base64."""
    if how == "base64":
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error as error:
            raise BadValueError(f"this body is edited as base64, and is none: {error}") from error
    plain = text.replace("\r\n", "\n")
    return (plain.replace("\n", "\r\n") if how == "text-crlf" else plain).encode()


def read_failure(body: bytes) -> Failure | None:
    """Read a dead letter with its history; None if it is none."""
    try:
        letter = read_letter(body)
    except BadValueError:
        return None
    told = json.loads(body)
    history = _mapping(told.get("history"))
    error = _mapping(told["error"])
    counts = [(str(key), str(value)) for key, value in history.items() if key != "errors"]
    errors = history.get("errors")
    earlier = [
        (str(one.get("attempt", "")), _time(one.get("at")), str(one.get("error", "")))
        for one in (errors if isinstance(errors, list) else [])
        if isinstance(one, dict)
    ]
    return Failure(
        letter,
        str(told.get("job", "")),
        str(error["type"]),
        str(error["text"]),
        str(error.get("traceback", "")),
        counts,
        earlier,
    )


def _time(value: object) -> str:
    """Write a time of the wall clock, or what stands in its place."""
    try:
        return when(value) if isinstance(value, (int, float)) else str(value)
    except (ValueError, OverflowError, OSError):
        return str(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
