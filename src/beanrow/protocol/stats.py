"""The YAML subset of the protocol, both ways, and typed statistics.

Laws:
- A class's annotations are its schema: the keys on the wire with ``-`` as ``_``,
  in the order in which a server writes them.
- What a value is follows from its key, never from its looks: a tube named
  ``12145``, ``1.5`` or ``null`` stays the string it is.
- Quoted (daemon 1.13) and unquoted (1.12 and older) strings are read alike; ours
  are written as 1.13 does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, TypeVar

from beanrow.errors import StatsParsingError

__all__ = ["JobStats", "ServerStats", "Stats", "TubeStats", "read_list", "write_list"]

StatsT = TypeVar("StatsT", bound="Stats")

_QUOTED = frozenset({"version", "hostname", "os", "platform", "name", "tube"})
"""The keys whose strings daemon 1.13 writes in double quotes."""


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == '"' == text[-1]:
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _truth(text: str) -> bool:
    return text == "true"


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _truth,
    "str": _unquote,
}
_OR_NONE = " | None"
"""Of a key that only our server knows, and tells only who asked."""


def _written(key: str, value: Any) -> str:
    if value.__class__ is bool:
        return "true" if value else "false"
    if value.__class__ is float:
        return f"{value:.6f}"
    return _quote(value) if key in _QUOTED else str(value)


def _lines(document: bytes) -> list[str]:
    lines = document.decode("utf-8", "replace").split("\n")
    if lines[0] != "---":
        raise StatsParsingError(document, f"it begins with {lines[0]!r}, not with '---'")
    return [line for line in lines[1:] if line]


class Stats:
    """One mapping of statistics.

    Attributes are the protocol's keys with ``-`` as ``_``. Keys that this version of
    beanrow does not know are in ``extra``, as text; a key that the server did not
    send is no attribute, and one of our extensions is None.
    """

    _schema: ClassVar[dict[str, tuple[str, Callable[[str], Any]]]]
    extra: dict[str, str]

    def __init_subclass__(cls) -> None:
        own = {
            name.replace("_", "-"): (name, _READERS[kind.removesuffix(_OR_NONE)])
            for name, kind in cls.__annotations__.items()
        }
        cls._schema = {**getattr(cls, "_schema", {}), **own}

    def __init__(self, extra: dict[str, str] | None = None, **values: Any) -> None:
        self.extra = extra or {}
        self.__dict__.update(values)

    @classmethod
    def read(cls, document: bytes) -> Self:
        """Read the document of a stats reply; StatsParsingError if it is none."""
        schema, values, extra = cls._schema, {}, {}
        for line in _lines(document):
            key, colon, text = line.partition(": ")
            if not colon:
                raise StatsParsingError(document, f"no 'key: value' in the line {line!r}")
            if key not in schema:
                extra[key] = _unquote(text)
                continue
            name, reader = schema[key]
            try:
                values[name] = reader(text)
            except ValueError:
                raise StatsParsingError(document, f"{key} is {text!r}") from None
        return cls(extra, **values)

    def write(self) -> bytes:
        """Write the document of a stats reply, keys in the order of the schema."""
        lines = [f"{key}: {_written(key, value)}" for key, value in self.as_dict().items()]
        return "\n".join(["---", *lines, ""]).encode()

    def as_dict(self) -> dict[str, Any]:
        """Give the values by the protocol's own keys, unknown ones at the end."""
        values = self.__dict__
        known = {key: values[name] for key, (name, _) in self._schema.items() if name in values}
        return {**known, **self.extra}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this server sent no {name.replace('_', '-')!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__: ClassVar[None]  # type: ignore[assignment]  # equal by value, and not frozen

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.as_dict().items())
        return f"{type(self).__name__}({values})"


class ServerStats(Stats):
    """What ``stats`` tells. Times in seconds, sizes in bytes; counts since the server started.

    Our server tells ``store`` and ``promise`` (``docs/protocol.md``) who has asked for extensions.
    """

    current_jobs_urgent: int
    current_jobs_ready: int
    current_jobs_reserved: int
    current_jobs_delayed: int
    current_jobs_buried: int
    cmd_put: int
    cmd_peek: int
    cmd_peek_ready: int
    cmd_peek_delayed: int
    cmd_peek_buried: int
    cmd_reserve: int
    cmd_reserve_with_timeout: int
    cmd_delete: int
    cmd_release: int
    cmd_use: int
    cmd_watch: int
    cmd_ignore: int
    cmd_bury: int
    cmd_kick: int
    cmd_touch: int
    cmd_stats: int
    cmd_stats_job: int
    cmd_stats_tube: int
    cmd_list_tubes: int
    cmd_list_tube_used: int
    cmd_list_tubes_watched: int
    cmd_pause_tube: int
    job_timeouts: int
    total_jobs: int
    max_job_size: int
    current_tubes: int
    current_connections: int
    current_producers: int
    current_workers: int
    current_waiting: int
    total_connections: int
    pid: int
    version: str
    rusage_utime: float
    rusage_stime: float
    uptime: int
    binlog_oldest_index: int
    binlog_current_index: int
    binlog_records_migrated: int
    binlog_records_written: int
    binlog_max_size: int
    draining: bool
    id: str
    hostname: str
    os: str
    platform: str
    store: str | None = None
    promise: str | None = None


class TubeStats(Stats):
    """What ``stats-tube`` tells. Times in seconds; counts since the tube came to be.

    Our server tells ``oldest_ready_age`` (how long ago the oldest ready job was put, 0 if none
    is ready) and ``jobs_bytes`` (of the bodies of all its jobs) who has asked for extensions.
    """

    name: str
    current_jobs_urgent: int
    current_jobs_ready: int
    current_jobs_reserved: int
    current_jobs_delayed: int
    current_jobs_buried: int
    total_jobs: int
    current_using: int
    current_watching: int
    current_waiting: int
    cmd_delete: int
    cmd_pause_tube: int
    pause: int
    pause_time_left: int
    oldest_ready_age: int | None = None
    jobs_bytes: int | None = None


class JobStats(Stats):
    """What ``stats-job`` tells. Times in whole seconds, rounded down."""

    id: int
    tube: str
    state: str
    pri: int
    age: int
    delay: int
    ttr: int
    time_left: int
    file: int
    reserves: int
    timeouts: int
    releases: int
    buries: int
    kicks: int


def read_list(document: bytes) -> list[str]:
    """Read the document of a list of names; StatsParsingError if it is none."""
    names = []
    for line in _lines(document):
        if not line.startswith("- "):
            raise StatsParsingError(document, f"no '- name' in the line {line!r}")
        names.append(_unquote(line[2:]))
    return names


def write_list(names: Iterable[str]) -> bytes:
    """Write a list of names; the daemon quotes none of them."""
    return "".join(["---\n", *(f"- {name}\n" for name in names)]).encode()
