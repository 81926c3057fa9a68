"""Whether two replies are the same, times and the host's own figures aside."""

from __future__ import annotations

_TIMES = frozenset({b"age", b"time-left", b"pause-time-left", b"uptime"})
_TOLERANCE = 1  # second: the servers are asked one after the other
_OF_THE_HOST = frozenset(
    {b"pid", b"version", b"rusage-utime", b"rusage-stime", b"id", b"hostname", b"os", b"platform"}
    # Each has files of its own kind; tests/server tells that without any these are 0.
    | {b"binlog-oldest-index", b"binlog-current-index"}
    | {b"binlog-records-migrated", b"binlog-records-written"}
)

Extra = dict[bytes, int]
"""How much higher a server counts than the twin, since the runner asks it things of its own."""


def same(ours: bytes, theirs: bytes, extra: Extra) -> bool:
    """Tell whether a server's reply is the twin's. Quotes do not count: 1.12 has hardly any."""
    return ours == theirs or not different_lines(ours, theirs, extra)


def different_lines(ours: bytes, theirs: bytes, extra: Extra) -> list[tuple[bytes, bytes]]:
    """Give the lines of two replies that differ, or all of them if they cannot be paired."""
    one, other = ours.split(b"\n"), theirs.split(b"\n")
    if one[0][:3] != b"OK " or other[0][:3] != b"OK " or len(one) != len(other):
        return [(ours, theirs)]
    is_server = any(line.startswith(b"cmd-put: ") for line in one)
    return [
        pair
        for pair in zip(one[1:], other[1:], strict=True)
        if not _same_line(*pair, is_server, extra)
    ]


def _same_line(ours: bytes, theirs: bytes, is_server: bool, extra: Extra) -> bool:
    if ours == theirs or ours.replace(b'"', b"") == theirs:
        return True
    key, _, value = ours.partition(b": ")
    other_key, _, other_value = theirs.partition(b": ")
    if key != other_key:
        return False
    if key in _TIMES:
        return abs(int(value) - int(other_value)) <= _TOLERANCE
    if is_server and key in extra:
        return int(value) + extra[key] == int(other_value)
    return key == b"file" or (is_server and key in _OF_THE_HOST)
