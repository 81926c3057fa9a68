"""Lines that are wrong: mutations of good ones, and a grammar that is almost the protocol's.

Law: a line is one line. It ends in CR LF, or it is wrong in just that.
"""

from __future__ import annotations

import random

_ARGUMENTS = {
    b"put": 4, b"release": 3, b"bury": 2, b"pause-tube": 2, b"peek": 1, b"delete": 1, b"kick": 1,
    b"kick-job": 1, b"touch": 1, b"reserve-job": 1, b"reserve-with-timeout": 1, b"stats-job": 1,
    b"stats-tube": 1, b"use": 1, b"watch": 1, b"ignore": 1, b"reserve": 0, b"stats": 0,
    b"peek-ready": 0, b"peek-delayed": 0, b"peek-buried": 0, b"list-tubes": 0,
    b"list-tube-used": 0, b"list-tubes-watched": 0,
}  # fmt: skip
_TAKES_A_TUBE = {b"use", b"watch", b"ignore", b"stats-tube", b"pause-tube"}
_NUMBERS = [
    b"0", b"1", b"2", b"10", b"007", b"4294967295", b"4294967296", b"4294967297", b"2147483648",
    b"18446744073709551615", b"18446744073709551616", b"99999999999999999999999", b"-1", b"+1",
    b"0x1", b"1e3", b"1.", b"",
]  # fmt: skip
_TIMES = [b"0", b"1000000", *_NUMBERS[5:]]  # none that could end while a conversation lasts
_HAS_A_TIME = {b"release": 2, b"pause-tube": 1, b"reserve-with-timeout": 0}
_NAMES = [
    b"a", b"default", b"x" * 199, b"x" * 200, b"x" * 201, b"-a", b"a-", b"a/b;c.$_()+", b"a,b",
    b"\xc3\xbc", b"A", b"a\0b", b"..", b"(", b"",
]  # fmt: skip
_SPACES = [*[b" "] * 30, b"  ", b"   ", b"\t", b" \t", b"", b"\r", b"\n", b"\0", b"\v"]
_ENDS = [*[b"\r\n"] * 40, *(b" \r\n", b"\r\r\n", b"\n\r\n", b"\n", b"\t\r\n", b" x\r\n", b"\r")]
# Around the buffer of 224 bytes and its multiples.
_LENGTHS = [222, 223, 224, 225, 226, 446, 447, 448, 449, 450, 672, 673, 674, 1000]


def mutated(pick: random.Random, line: bytes) -> bytes:
    """A good line with one thing wrong."""
    at = pick.randrange(len(line))
    kind = pick.randrange(9)
    if kind == 0:
        return line.upper()
    if kind == 1:
        return line.replace(b" ", pick.choice([b"  ", b"\t", b"", b" \t", b" +", b" -"]), 1)
    if kind == 2:
        return line[:at] + pick.choice([b"\0", b"\r", b"\n", b"\t", b"9", b" "]) + line[at:]
    if kind == 3:
        return line[:at] + line[at + 1 :]
    if kind == 4:
        return line.replace(b"\r\n", pick.choice([b" \r\n", b" 1\r\n", b"x\r\n"]), 1)
    if kind == 5:
        return line.partition(b" ")[0] + b"\r\n"
    if kind == 6:
        return line.rpartition(b" ")[0] + b"\r\n"
    if kind == 7:
        return _long(pick)
    return bytes(pick.choice(b"adeprstu -19\t\r") for _ in range(at)) + b"\r\n"


def almost(pick: random.Random, ids: list[int]) -> bytes:
    """A line, or a put with a body, of a grammar that is almost the protocol's."""
    if pick.random() < 0.03:
        return _long(pick)
    word = pick.choice(list(_ARGUMENTS))
    if word == b"put" and pick.random() < 0.7:
        return _put(pick)
    count = _ARGUMENTS[word]
    if pick.random() < 0.05:
        count = max(0, count + pick.choice([-1, 1]))
    line = _spoilt(pick, word)
    for place in range(count):
        if word in _TAKES_A_TUBE and place == 0:
            argument = pick.choice(_NAMES)
        elif _HAS_A_TIME.get(word) == place:
            argument = pick.choice(_TIMES)
        else:
            argument = _number(pick, ids)
        line += pick.choice(_SPACES) + argument
    return line + pick.choice(_ENDS)


def _spoilt(pick: random.Random, word: bytes) -> bytes:
    chance, at = pick.random(), pick.randrange(len(word) + 1)
    if chance < 0.04:
        return word[:at] + pick.choice([b" ", b"\t", b"x", b"-", b"1", b"\0"]) + word[at:]
    if chance < 0.06:
        return word[:at]
    return word.upper() if chance < 0.07 else word


def _number(pick: random.Random, ids: list[int]) -> bytes:
    number = b"%d" % pick.choice(ids or [1]) if pick.random() < 0.7 else pick.choice(_NUMBERS)
    return number + (pick.choice([b"x", b" ", b"\t", b"-", b"\0"]) if pick.random() < 0.03 else b"")


def _put(pick: random.Random) -> bytes:
    size = pick.choice([0, 1, 2, 5, 30])
    body = bytes(pick.choice(b"ab\r\n") for _ in range(size))
    arguments = [pick.choice([b"0", b"10", b"1024"]), b"0", b"1000000", b"%d" % size]
    if pick.random() < 0.05:
        arguments[pick.randrange(3)] = pick.choice(_TIMES)
    if pick.random() < 0.04:
        arguments = arguments[:3] if pick.random() < 0.5 else [*arguments, b"x"]
    line = b"put" + b"".join(pick.choice(_SPACES) + argument for argument in arguments)
    after = [*[b"\r\n"] * 20, b"", b"\r", b"\n", b"xx", b"\r\n\r\n"]
    return line + pick.choice(_ENDS) + body + pick.choice(after)


def _long(pick: random.Random) -> bytes:
    """A line about as long as the daemon's buffer, and what it may swallow behind it."""
    length = pick.choice([*_LENGTHS, pick.randrange(2, 1200)])
    word = pick.choice([b"", pick.choice(list(_ARGUMENTS)) + b" "])
    filler = pick.choice([b"y", b" "])
    line = (word + filler * length)[: length - 2]
    if pick.random() < 0.3:
        line = line[:-1] + b"1"
    if pick.random() < 0.1:
        at = pick.randrange(len(line) + 1)
        line = line[:at] + pick.choice([b"\r", b"\n", b"\0"]) + line[at + 1 :]
    return line + b"\r\n" + b"z\r\n" * pick.randrange(4)
