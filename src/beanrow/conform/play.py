"""One case played to a server: what was said and heard, and whether that is as it should be.

Laws:
- A case has tubes of its own, and leaves nothing behind: the jobs that it put are deleted.
- A step that hears a known difference ends its case: what follows would be judged by another rule.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple, NoReturn

from beanrow.conform.case import Case, Step
from beanrow.conform.talk import CLOSED, NOTHING, Place, Talk, Unheard

__all__ = ["Outcome", "play"]

_EARLY, _LATE = 0.05, 2.0
"""Seconds that an answer may come before and after its time: a machine may be busy."""
_LOOK_EVERY = 0.02
_MOST_SHOWN = 300
_VARIABLE = re.compile(r"\{(\w+)\}")
_REPEATED = re.compile(r"\{(\w)\*(max(?:\+1)?|\d+)\}")
_NAME = re.compile(r"\{name:(\d+)\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_AT = re.compile(r" @(\d+)$")
_DOCUMENT = re.compile(rb"OK (\d+)")
_INSERTED = re.compile(rb"INSERTED (\d+)")
_WORDS = ("remember", "includes", "lacks", "keys")


class Outcome(NamedTuple):
    """How a case went. ``result``: "agrees", "listed" or "differs".

    ``difference`` is the name of the known one. ``transcript`` is what was said and heard up to
    the step that decided; ``expected`` and ``heard`` tell that one. ``tries`` is how often it
    was played.
    """

    case: Case
    result: str
    difference: str = ""
    expected: str = ""
    heard: str = ""
    transcript: tuple[str, ...] = ()
    tries: int = 1


class _End(Exception):
    """The case is decided."""

    def __init__(self, result: str, expected: str, heard: str, difference: str = "") -> None:
        super().__init__(result)
        self.result, self.expected, self.heard = result, expected, heard
        self.difference = difference


def play(case: Case, place: Place, token: str, max_job_size: int, patience: float) -> Outcome:
    """Play a case. ``token`` makes its tubes its own; ConnectionError if nobody is there."""
    player = _Player(place, f"conform-{token}-{case.number}", max_job_size, patience)
    try:
        for speaks, steps in groupby(case.steps, lambda step: (step.kind, step.who)):
            if speaks[0] == ">":
                player.say_lines(speaks[1], [step.text for step in steps])
            else:
                for step in steps:
                    player.take(step)
    except _End as end:
        return Outcome(
            case,
            end.result,
            end.difference,
            end.expected,
            end.heard,
            tuple(player.transcript),
        )
    finally:
        player.leave()
    return Outcome(case, "agrees", transcript=tuple(player.transcript))


class _Player:
    """The connections and names of one case."""

    def __init__(self, place: Place, tube: str, max_job_size: int, patience: float) -> None:
        self._place = place
        self._patience = patience
        self._max = max_job_size
        self._talks: dict[str, Talk] = {}
        self._known = {"tube": tube, "max": str(max_job_size)}
        self._remembered: dict[str, str] = {}
        self._put: list[bytes] = []
        self.transcript: list[str] = []

    # -- steps --------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """Take one step; _End if it decides the case."""
        match step.kind:
            case ">>":
                self._say(step.who, self._escaped(step.text))
            case "<":
                self._hear_line(step)
            case "<<":
                self._hear_bytes(step)
            case "=":
                self._hear_document(step)
            case "~":
                self._ask_until(step)
            case "closed":
                self._hear_line(step)
            case "close":
                self._note(step)
                self._talk(step.who).close()
            case "half-close":
                self._note(step)
                self._talk(step.who).half_close()
            case "fresh":
                self._talks[step.who] = Talk(self._place, self._patience)
            case "wait":
                self._note(step)
                time.sleep(float(step.text))
            case "compare":
                self._compare(step)

    def say_lines(self, who: str, lines: list[str]) -> None:
        """Say lines in one write."""
        self._say(who, b"".join(self._filled(line).encode() + b"\r\n" for line in lines))

    def _say(self, who: str, data: bytes) -> None:
        talk = self._talk(who)
        for line in data.split(b"\r\n")[: -1 if data.endswith(b"\r\n") else None]:
            self.transcript.append(f"{who}> {_shown(line)}")
        talk.say(data)

    def _hear_line(self, step: Step) -> None:
        talk = self._talk(step.who)
        pattern, _, at = step.text.partition(" @")
        expected = CLOSED if step.kind == CLOSED else pattern
        heard = self._line(step.who, float(at or 0))
        took = time.monotonic() - talk.spoke
        if not self._is(expected, heard):
            self._decide(step, self._filled(expected, strict=False), heard)
        if at and not int(at) - _EARLY <= took <= int(at) + _LATE:
            raise _End("differs", f"{self._filled(pattern)} after {at} s", f"after {took:.1f} s")

    def _decide(self, step: Step, expected: str, heard: str) -> NoReturn:
        for name, text in step.others:
            if self._is(text, heard):
                raise _End("listed", expected, heard, name)
        raise _End("differs", expected or "an empty line", heard or "an empty line")

    def _hear_bytes(self, step: Step) -> None:
        expected = self._escaped(step.text)
        try:
            heard = self._talk(step.who).exactly(len(expected))
        except Unheard as unheard:
            raise _End("differs", _shown(expected), unheard.kind) from None
        self.transcript.append(f"{step.who}< {_shown(heard)}")
        if heard != expected:
            raise _End("differs", _shown(expected), _shown(heard))

    def _hear_document(self, step: Step) -> None:
        wanted = self._filled(step.text)
        document = self._document(step)
        if wanted == "remember":
            assert isinstance(document, dict)
            self._remembered = document
        elif (fault := self._fault(wanted, document)) is not None:
            self._decide(step, wanted, fault)

    def _ask_until(self, step: Step) -> None:
        """Ask for a document until it says so; what is heard last decides."""
        command, key, value = self._filled(step.text).rsplit(" ", 2)
        wanted, end = f"{key} {value}", time.monotonic() + self._patience
        shown = len(self.transcript)
        while True:
            del self.transcript[shown:]
            self.say_lines(step.who, [command])
            fault = self._fault(wanted, self._document(step))
            if fault is None:
                return
            if time.monotonic() > end:
                raise _End("differs", wanted, fault)
            time.sleep(_LOOK_EVERY)

    def _compare(self, step: Step) -> None:
        first, second = (self._known[name] for name in _VARIABLE.findall(step.text))
        if int(first) >= int(second):
            raise _End("differs", step.text, f"{first} and {second}")

    def _note(self, step: Step) -> None:
        self.transcript.append(str(step))

    # -- connections --------------------------------------------------------------

    def _talk(self, who: str) -> Talk:
        """Give a connection; a new one uses the tube of the case and watches no other."""
        talk = self._talks.get(who)
        if talk is None:
            talk = self._talks[who] = Talk(self._place, self._patience)
            tube = self._known["tube"]
            talk.say(f"use {tube}\r\nwatch {tube}\r\nignore default\r\n".encode())
            for expected in (f"USING {tube}", "WATCHING 2", "WATCHING 1"):
                heard = self._line(who, note=False)
                if heard != expected:
                    self.transcript.append(f"{who}> use {tube}, watch {tube}, ignore default")
                    raise _End("differs", expected, heard)
        return talk

    def _line(self, who: str, more: float = 0.0, *, note: bool = True) -> str:
        """Hear a line, or that there is none."""
        try:
            line = self._talk(who).line(more)
        except Unheard as unheard:
            rest = f" after {_shown(unheard.heard)!r}" if unheard.heard else ""
            heard = unheard.kind + rest
        else:
            if match := _INSERTED.fullmatch(line):
                self._put.append(match[1])
            heard = _shown(line)
        if note:
            self.transcript.append(
                f"{who} {heard}" if heard.startswith((CLOSED, NOTHING)) else f"{who}< {heard}"
            )
        return heard

    def _document(self, step: Step) -> dict[str, str] | list[str]:
        """Hear a document: a mapping or a list."""
        head = self._line(step.who)
        match = _DOCUMENT.fullmatch(head.encode())
        if match is None:
            self._decide(step, f"OK with {self._filled(step.text)}", head)
        try:
            data = self._talk(step.who).exactly(int(match[1]) + 2)
        except Unheard as unheard:
            raise _End("differs", f"{head} and so many bytes", unheard.kind) from None
        if not data.endswith(b"\r\n"):
            raise _End("differs", "CR LF behind the document", _shown(data[-10:]))
        return _read_document(data[:-2])

    def _fault(self, wanted: str, document: dict[str, str] | list[str]) -> str | None:
        """Tell what of a document is not as wanted; None if all is."""
        if wanted.startswith("["):
            names = wanted.strip("[]").split(", ")
            return None if document == names else _listed(document)
        word, _, rest = wanted.partition(" ")
        if word == "includes":
            return None if rest in document else _listed(document)
        if word == "lacks":
            return _listed(document) if rest in document else None
        if not isinstance(document, dict):
            return _listed(document)
        if word == "keys":
            missing = [key for key in rest.split() if key not in document]
            return f"without {', '.join(missing)}" if missing else None
        for pair in wanted.split(", "):
            key, _, value = pair.partition(": ")
            if not self._holds(document, key, value):
                return f"{key}: {document.get(key, 'nothing')}"
        return None

    def _holds(self, document: Mapping[str, str], key: str, value: str) -> bool:
        heard = document.get(key)
        if heard is None:
            return False
        if match := _RANGE.fullmatch(value):
            return heard.isdigit() and int(match[1]) <= int(heard) <= int(match[2])
        if value.startswith("+"):
            before = self._remembered.get(key, "")
            return heard.isdigit() and before.isdigit() and int(heard) - int(before) == int(value)
        return heard == value

    # -- names --------------------------------------------------------------------

    def _filled(self, text: str, *, strict: bool = True) -> str:
        """Put names and sizes into a line; an unknown name is an error, or stays as it is."""

        def known(match: re.Match[str]) -> str:
            name = match[1]
            return self._known[name] if strict or name in self._known else match[0]

        text = _REPEATED.sub(lambda match: match[1] * self._size(match[2]), text)
        text = _NAME.sub(lambda match: self._known["tube"].ljust(int(match[1]), "x"), text)
        text = text.replace("{max+1}", str(self._max + 1))
        return _VARIABLE.sub(known, text)

    def _size(self, written: str) -> int:
        return self._max + written.endswith("+1") if written.startswith("max") else int(written)

    def _escaped(self, text: str) -> bytes:
        """Read Python's escapes."""
        return self._filled(text).encode("latin-1").decode("unicode_escape").encode("latin-1")

    def _is(self, pattern: str, heard: str) -> bool:
        """Tell whether a line is what is meant, and learn the names in it that are new."""
        literal = re.split(r"(\{\w+\})", self._filled(pattern, strict=False))
        expression = "".join(
            f"(?P<{part[1:-1]}>[0-9]+)" if place % 2 else re.escape(part)
            for place, part in enumerate(literal)
        )
        match = re.fullmatch(expression, heard)
        if match is not None:
            self._known.update(match.groupdict())
        return match is not None

    # -- ending -------------------------------------------------------------------

    def leave(self) -> None:
        """Close all connections and delete the jobs that were put."""
        for talk in self._talks.values():
            talk.close()
        if self._put:
            talk = Talk(self._place, self._patience)
            try:
                for job in self._put:
                    self._delete(talk, job)
            finally:
                talk.close()

    def _delete(self, talk: Talk, job: bytes) -> None:
        """Delete a job; one that its holder's connection still holds is free in a moment."""
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            talk.say(b"delete %b\r\npeek %b\r\n" % (job, job))
            try:
                talk.line()
                if not (found := re.fullmatch(rb"FOUND \d+ (\d+)", talk.line())):
                    return
                talk.exactly(int(found[1]) + 2)
            except Unheard:
                return  # a server that does not answer: the outcome tells
            time.sleep(_LOOK_EVERY)


def _read_document(data: bytes) -> dict[str, str] | list[str]:
    """Read the YAML that servers write: a list of words, or keys with one value each."""
    lines = data.decode(errors="backslashreplace").splitlines()
    lines = [line for line in lines if line != "---"]
    if any(line.startswith("- ") for line in lines):
        return [_plain(line.removeprefix("- ")) for line in lines]
    pairs = (line.partition(":") for line in lines)
    return {key: _plain(value.strip()) for key, _, value in pairs}


def _plain(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _listed(document: dict[str, str] | list[str]) -> str:
    return f"[{', '.join(document)}]"


def _shown(data: bytes) -> str:
    """Show bytes in one line."""
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(data)} bytes)"
