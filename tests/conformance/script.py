"""Conversations as text, so that one is read as it is had, and runs on whatever speaks the protocol.

    A> put 5 0 60 1 | x  =  INSERTED $job    A says this; that is the reply. A body stands behind |
    B> reserve-with-timeout 9                B says this and hears nothing for now
    A> release $job 5 0  =  RELEASED
    B<  RESERVED $job 1 | x                  B hears this, asked for before
    A> stats-tube T1  =  {current-jobs-ready: 0, total-jobs: 1}      these figures, among others
    B closes                                 or: quits, half-closes, is closed (by the server)
    wait 1.5                                 seconds

T1, T2... are tubes that nobody else uses, $name an id that its first mention learns, A, B...
connections that use and watch T1 alone.
"""

from __future__ import annotations

import re
import socket
import time

from tests.server.talk import Talk
from tests.servers import Server

_LINE = re.compile(r"([A-Z])([<>]) *(.*?)(?: +=  *(.*))?$")
_DO = re.compile(r"([A-Z]) (closes|quits|half-closes|is closed)$")
_WAIT = re.compile(r"wait (\d+(?:\.\d+)?)$")
_PATIENCE = 20.0


class Script:
    """One conversation with a server; ``run`` has it."""

    def __init__(self, text: str, server: Server, tube: str) -> None:
        self._lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        self._server = server
        self._tube = tube
        self._ids: dict[str, str] = {}
        self._peers: dict[str, Talk] = {}

    def run(self) -> None:
        """Have the conversation; AssertionError tells the line where it went another way."""
        try:
            for line in self._lines:
                self._do(line)
        finally:
            for peer in self._peers.values():
                peer.close()

    def _do(self, line: str) -> None:
        if said := _LINE.match(line):
            name, direction, first, second = said.groups()
            if direction == ">":
                self._peer(name).send(self._request(first))
                if second is None:
                    self._let_it_wait(name)
                else:
                    self._hear(name, second, line)
            else:
                self._hear(name, first, line)
        elif done := _DO.match(line):
            self._act(*done.groups())
        elif wait := _WAIT.match(line):
            time.sleep(float(wait[1]))  # what is tested is time itself
        else:
            raise ValueError(f"no line of a script: {line!r}")

    def _peer(self, name: str) -> Talk:
        if name not in self._peers:
            peer = self._peers[name] = Talk(self._server, _PATIENCE)
            tube = self._named("T1").encode()
            assert peer.ask(b"use %b\r\n" % tube) == b"USING %b\r\n" % tube
            assert peer.ask(b"watch %b\r\n" % tube) == b"WATCHING 2\r\n"
            assert peer.ask(b"ignore default\r\n") == b"WATCHING 1\r\n"
        return self._peers[name]

    def _let_it_wait(self, name: str) -> None:
        """See that the server has it before somebody else says something."""
        tube = self._named("T1").encode()
        with Talk(self._server) as control:
            end = time.monotonic() + _PATIENCE
            while b"current-waiting: 0\n" in control.ask(b"stats-tube %b\r\n" % tube):
                assert time.monotonic() < end, f"{name} does not wait"

    def _act(self, name: str, what: str) -> None:
        peer = self._peer(name)
        if what == "closes":
            peer.close()
            del self._peers[name]
        elif what == "half-closes":
            peer.socket.shutdown(socket.SHUT_WR)
        else:
            if what == "quits":
                peer.send(b"quit\r\n")
            assert peer.reply() == b"", f"{name} is not closed"

    def _named(self, text: str) -> str:
        return re.sub(r"\bT(\d)\b", rf"{self._tube}-\1", text)

    def _request(self, text: str) -> bytes:
        line, bar, body = text.partition(" |")
        body = body.removeprefix(" ")
        for name, number in self._ids.items():
            line = re.sub(rf"\${name}\b", number, line)
        request = f"{self._named(line)}\r\n"
        return (request + f"{body}\r\n" if bar else request).encode()

    def _hear(self, name: str, expected: str, line: str) -> None:
        said = self._peer(name).reply().decode()
        if expected.startswith("{"):
            self._compare_figures(said, expected.strip("{}"), line)
        elif expected.startswith("["):
            names = [self._named(one) for one in expected.strip("[]").split(", ")]
            told = re.findall(r"^- (\S+)$", said, re.MULTILINE)
            assert set(names) <= set(told), f"{line}\n  said {told}"
        else:
            self._compare(said, expected, line)

    def _compare(self, said: str, expected: str, line: str) -> None:
        head, bar, body = expected.partition(" |")
        body = body.removeprefix(" ")
        pattern = re.escape(self._named(head))
        for name in re.findall(r"\\\$(\w+)", pattern):
            known = self._ids.get(name, f"(?P<{name}>[0-9]+)")
            pattern = re.sub(rf"\\\${name}\b", known, pattern, count=1)
        pattern += f"\r\n{re.escape(body)}\r\n" if bar else "\r\n"
        match = re.fullmatch(pattern, said)
        assert match is not None, f"{line}\n  said {said!r}"
        self._ids |= match.groupdict()

    def _compare_figures(self, said: str, expected: str, line: str) -> None:
        told = dict(re.findall(r"^([a-z-]+): (.*)$", said, re.MULTILINE))
        for one in expected.split(", "):
            key, _, value = one.partition(": ")
            value = self._named(value)
            found = told.get(key, "(not told)").strip('"')
            assert found == self._ids.get(value.removeprefix("$"), value), (
                f"{line}\n  {key}: {found}"
            )
