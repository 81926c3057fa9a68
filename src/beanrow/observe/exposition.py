"""Snapshots of servers as Prometheus reads them: text format 0.0.4, under two kinds of names.

``davidtannock`` has the names of davidtannock/beanstalkd_exporter, with more behind them that it has
not; ``messagebird`` those of messagebird/beanstalkd_exporter. Each name follows from the key of the
protocol by a rule, so that a key of a newer server has one too.

Laws:
- A counter is a counter and a gauge a gauge, whatever its name ends in.
- What is no number is no sample: the version and its like are labels of one.
- A tube that is not there any more has no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

from beanrow.protocol.times import Histogram, TubeTimes, bucket_end

if TYPE_CHECKING:
    from beanrow.observe.snapshot import Snapshot

__all__ = ["NAMINGS", "Family", "Naming", "Seen", "label", "write_families", "write_snapshots"]

Naming = Literal["davidtannock", "messagebird"]
NAMINGS: tuple[Naming, ...] = ("davidtannock", "messagebird")

_WORDS = {
    "current-jobs-urgent": "Ready jobs with a priority below 1024.",
    "current-jobs-ready": "Ready jobs.",
    "current-jobs-reserved": "Jobs that somebody holds.",
    "current-jobs-delayed": "Delayed jobs.",
    "current-jobs-buried": "Buried jobs.",
    "job-timeouts": "Jobs whose ttr ended.",
    "total-jobs": "Jobs put.",
    "max-job-size": "Bytes that a body may have.",
    "current-tubes": "Tubes.",
    "current-connections": "Open connections.",
    "current-producers": "Open connections that have put.",
    "current-workers": "Open connections that have reserved.",
    "current-waiting": "Connections that wait for a job.",
    "current-using": "Connections that put here.",
    "current-watching": "Connections that reserve from here.",
    "total-connections": "Connections since the start.",
    "rusage-utime": "CPU seconds of the server itself.",
    "rusage-stime": "CPU seconds of the system for the server.",
    "uptime": "Seconds since the start.",
    "binlog-oldest-index": "Number of the oldest file of the journal.",
    "binlog-current-index": "Number of the file of the journal that is written to.",
    "binlog-records-migrated": "Records that compaction has moved.",
    "binlog-records-written": "Records written to the journal.",
    "binlog-max-size": "Bytes of a file of the journal.",
    "draining": "1 in drain mode.",
    "pause": "Seconds for which the tube is paused.",
    "pause-time-left": "Seconds until the pause is over.",
    "oldest-ready-age": "How long ago the oldest ready job was put, in seconds.",
    "jobs-bytes": "Bytes of the bodies of all jobs.",
}
_COUNTERS = {
    *("job-timeouts", "total-jobs", "total-connections", "rusage-utime", "rusage-stime"),
    *("binlog-records-migrated", "binlog-records-written"),
}
_NOT_TOLD = {"pid"}
"""Numbers that measure nothing."""
_INFO = ("version", "hostname", "os", "platform")
_OWN_NAMES = {
    "uptime": "uptime_seconds",
    "rusage-utime": "rusage_utime_seconds_total",
    "rusage-stime": "rusage_stime_seconds_total",
    "max-job-size": "max_job_size_bytes",
    "binlog-max-size": "binlog_max_size_bytes",
    "binlog-records-migrated": "binlog_records_migrated_total",
    "binlog-records-written": "binlog_records_written_total",
    "pause": "pause_seconds_total",
    "pause-time-left": "pause_time_left_seconds_total",
    "oldest-ready-age": "oldest_ready_age_seconds",
}
"""Where the rule of ``_own_name`` does not hold, or would leave out the unit."""
_BUCKETS = range(0, 27, 2)
"""Of the server's, each second one: from a millisecond to 19 hours."""
_ENDS = [(bucket, f'le="{bucket_end(bucket):.9g}"') for bucket in _BUCKETS]


class Seen(NamedTuple):
    """A server and what was seen of it; ``server`` is its address, as a label."""

    server: str
    snapshot: Snapshot


class Family(NamedTuple):
    """A metric: its samples are a suffix of the name, labels as they are written, and a value."""

    name: str
    kind: str
    words: str
    samples: Iterable[tuple[str, str, float]]


def label(name: str, value: str) -> str:
    """Write a label."""
    value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{value}"'


def write_families(families: Iterable[Family]) -> Iterator[str]:
    """Write metrics, one by one; one without samples is left out."""
    for name, kind, words, samples in families:
        lines = [
            f"{name}{suffix}{{{labels}}} {value}\n" if labels else f"{name}{suffix} {value}\n"
            for suffix, labels, value in samples
        ]
        if lines:
            yield f"# HELP {name} {words}\n# TYPE {name} {kind}\n" + "".join(lines)


def write_snapshots(seen: Sequence[Seen], naming: Naming, *, several: bool) -> Iterator[str]:
    """Write what was seen. ``several``: each sample tells which server it is of."""
    yield from write_families(_families(seen, naming, several=several))


def _families(seen: Sequence[Seen], naming: Naming, *, several: bool) -> Iterator[Family]:
    named = _own_name if naming == "davidtannock" else _plain_name
    server_label = "server" if naming == "davidtannock" else "instance"
    labelled = several or naming == "messagebird"
    places = [label(server_label, one.server) if labelled else "" for one in seen]
    snapshots = [one.snapshot for one in seen]
    yield from _server_families(places, snapshots, named)
    if naming == "davidtannock":
        yield _info_family(places, snapshots)
    tubes = [
        {name: _joined(place, label("tube", name)) for name in snapshot.tubes}
        for place, snapshot in zip(places, snapshots, strict=True)
    ]
    yield from _tube_families(tubes, snapshots, named)
    prefix = "beanstalkd_" if naming == "davidtannock" else ""
    yield from _histogram_families(tubes, snapshots, prefix)


def _joined(*labels: str) -> str:
    return ",".join(filter(None, labels))


def _own_name(key: str, place: str) -> str:
    """Name a key as davidtannock's exporter does: ``beanstalkd_cmd_put_total``."""
    name = _OWN_NAMES.get(key) or key.replace("-", "_")
    if key.startswith("cmd-"):
        name += "_total"
    elif key.startswith(("current-", "total-", "job-")):
        name += "_count"
    return f"beanstalkd_{place}{name}"


def _plain_name(key: str, place: str) -> str:
    """Name a key as messagebird's exporter does: ``cmd_put``, ``tube_total_jobs``."""
    return place + key.replace("-", "_")


_Named = Callable[[str, str], str]


def _server_families(
    places: Sequence[str], snapshots: Sequence[Snapshot], named: _Named
) -> Iterator[Family]:
    told = [one.stats.as_dict() for one in snapshots]
    for key in dict.fromkeys(key for figures in told for key in figures):
        samples = [
            ("", place, _number(figures[key]))
            for place, figures in zip(places, told, strict=True)
            if _is_number(figures.get(key))
        ]
        if samples and key not in _NOT_TOLD:
            yield Family(named(key, ""), _kind(key), _words(key), samples)


def _tube_families(
    tubes: Sequence[dict[str, str]], snapshots: Sequence[Snapshot], named: _Named
) -> Iterator[Family]:
    told = [
        [(labels[name], stats.as_dict()) for name, stats in snapshot.tubes.items()]
        for labels, snapshot in zip(tubes, snapshots, strict=True)
    ]
    all_of_them = [one for of_server in told for one in of_server]
    keys = dict.fromkeys(
        key for of_server in told for key in (of_server[0][1] if of_server else ())
    )
    for key in keys:
        samples = [
            ("", labels, _number(figures[key]))
            for labels, figures in all_of_them
            if _is_number(figures.get(key))
        ]
        if samples:
            yield Family(named(key, "tube_"), _kind(key), _words(key), samples)


def _histogram_families(
    tubes: Sequence[dict[str, str]], snapshots: Sequence[Snapshot], prefix: str
) -> Iterator[Family]:
    for name, words, pick in _HISTOGRAMS:
        samples = [
            sample
            for labels, snapshot in zip(tubes, snapshots, strict=True)
            for tube, times in snapshot.times.items()
            if tube in labels and pick(times).counts
            for sample in _histogram_samples(labels[tube], pick(times))
        ]
        yield Family(prefix + name, "histogram", words, samples)


_HISTOGRAMS: tuple[tuple[str, str, Callable[[TubeTimes], Histogram]], ...] = (
    (
        "tube_wait_seconds",
        "How long jobs had been ready when they were reserved.",
        lambda times: times.waits,
    ),
    (
        "tube_run_seconds",
        "How long jobs were held until their holder deleted, released or buried them.",
        lambda times: times.runs,
    ),
)


def _histogram_samples(labels: str, times: Histogram) -> Iterator[tuple[str, str, float]]:
    number = times.number
    below = [*accumulate(times.counts), *[number] * _BUCKETS.stop]
    for bucket, end in _ENDS:
        yield "_bucket", f"{labels},{end}", below[bucket]
    yield "_bucket", f'{labels},le="+Inf"', number
    yield "_sum", labels, times.seconds
    yield "_count", labels, number


def _info_family(places: Sequence[str], snapshots: Sequence[Snapshot]) -> Family:
    samples: list[tuple[str, str, float]] = []
    for place, snapshot in zip(places, snapshots, strict=True):
        told = snapshot.stats.as_dict()
        facts = [label(key, told[key]) for key in _INFO if isinstance(told.get(key), str)]
        samples.append(("", _joined(place, *facts), 1))
    return Family("beanstalkd_version_info", "gauge", "What serves, as labels.", samples)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _number(value: float) -> float:
    return int(value) if isinstance(value, bool) else value


def _kind(key: str) -> str:
    return "counter" if key.startswith("cmd-") or key in _COUNTERS else "gauge"


def _words(key: str) -> str:
    if key.startswith("cmd-"):
        return f"Commands {key.removeprefix('cmd-')}."
    return _WORDS.get(key, f"What the server tells as {key}.")
