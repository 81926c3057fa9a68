"""The server's figures as Prometheus reads them (text format 0.0.4).

Laws:
- Names are stable: what is here is an interface; a figure keeps its name and its meaning.
- A tube's times are in buckets that each end at four times the one before: half of those that are
  counted, so that a tube is 34 lines of histograms and not 60.
- The text comes in shares, so that many tubes make no pause; a tube's figures are those of
  the moment in which its share is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any

from beanrow.engine.counters import HostFacts, oldest_ready_age, server_stats, tube_times
from beanrow.engine.engine import Engine
from beanrow.engine.limited import LimitedEngine
from beanrow.engine.tube import Tube
from beanrow.protocol.times import Histogram, TubeTimes, bucket_end
from beanrow.server.loop import Loop

__all__ = ["write_metrics"]

_TUBES_A_SHARE = 200
_HISTOGRAMS_A_SHARE = 20
_STATES = ("ready", "reserved", "delayed", "buried")

Sample = tuple[str, int | float]
"""Labels as they are written, and a value."""
_Family = tuple[str, str, str, Sequence[Sample]]
"""A name, its kind, words about it, and what there is of it."""
_Figures = Mapping[str, Any]
"""What ``stats`` tells, by its keys."""

_TUBE_FAMILIES: tuple[tuple[str, str, str, Callable[[Tube, int], Iterable[Sample]]], ...] = (
    (
        "beanrow_tube_jobs",
        "gauge",
        "Jobs of a tube by state.",
        lambda tube, _: (
            (',state="ready"', tube.ready.count),
            (',state="reserved"', tube.reserved),
            (',state="delayed"', tube.delayed.count),
            (',state="buried"', len(tube.buried)),
        ),
    ),
    (
        "beanrow_tube_jobs_bytes",
        "gauge",
        "Bytes of the bodies of all jobs of a tube.",
        lambda tube, _: (("", tube.bytes),),
    ),
    (
        "beanrow_tube_jobs_urgent",
        "gauge",
        "Ready jobs of a tube with a priority below 1024.",
        lambda tube, _: (("", tube.urgent),),
    ),
    (
        "beanrow_tube_waiting",
        "gauge",
        "Connections that wait for a job of a tube.",
        lambda tube, _: (("", len(tube.waiting)),),
    ),
    (
        "beanrow_tube_watching",
        "gauge",
        "Connections that watch a tube.",
        lambda tube, _: (("", tube.watching),),
    ),
    (
        "beanrow_tube_paused",
        "gauge",
        "1 while a tube is paused.",
        lambda tube, _: (("", int(tube.paused_until > 0)),),
    ),
    (
        "beanrow_tube_oldest_ready_seconds",
        "gauge",
        "How long ago the oldest ready job of a tube was put.",
        lambda tube, now: (("", oldest_ready_age(tube, now)),),
    ),
    (
        "beanrow_tube_puts_total",
        "counter",
        "Jobs put into a tube since it came to be.",
        lambda tube, _: (("", tube.total_jobs),),
    ),
    (
        "beanrow_tube_deletes_total",
        "counter",
        "Jobs deleted from a tube since it came to be.",
        lambda tube, _: (("", tube.cmd_delete),),
    ),
)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[TubeTimes], Histogram]], ...] = (
    (
        "beanrow_tube_wait_seconds",
        "How long jobs of a tube had been ready when they were reserved.",
        lambda times: times.waits,
    ),
    (
        "beanrow_tube_run_seconds",
        "How long jobs of a tube were held until their holder deleted, released or buried them.",
        lambda times: times.runs,
    ),
)
_BUCKETS = range(0, 27, 2)
"""From a millisecond to 19 hours."""
_ENDS = [(bucket, f'le="{bucket_end(bucket):.9g}"') for bucket in _BUCKETS]


def write_metrics(engine: Engine, loop: Loop, host: Callable[[], HostFacts]) -> Iterator[bytes]:
    """Write all figures, a share at a time."""
    yield "".join(_server_lines(engine, loop, host())).encode()
    tubes = list(engine.tube_order)
    for name, kind, words, samples in _TUBE_FAMILIES:
        yield _family(name, kind, words).encode()
        left = iter(tubes)
        while share := list(islice(left, _TUBES_A_SHARE)):
            yield "".join(
                f'{name}{{tube="{tube.name}"{labels}}} {value}\n'
                for tube in share
                for labels, value in samples(tube, loop.now)
            ).encode()
    for name, words, pick in _HISTOGRAMS:
        yield _family(name, "histogram", words).encode()
        left = iter(tubes)
        while share := list(islice(left, _HISTOGRAMS_A_SHARE)):
            text = "".join(_histogram(name, pick(tube_times(tube)), tube.name) for tube in share)
            yield text.encode() or b"\n"  # an empty share would be the end of the answer


def _histogram(name: str, times: Histogram, tube: str) -> str:
    """Write the times of a tube; one that has none yet is left out."""
    if not times.counts:
        return ""
    number = times.number
    below = [*accumulate(times.counts), *[number] * _BUCKETS.stop]
    label = f'tube="{tube}"'
    return "".join(
        [
            *(f"{name}_bucket{{{label},{end}}} {below[bucket]}\n" for bucket, end in _ENDS),
            f'{name}_bucket{{{label},le="+Inf"}} {number}\n',
            f"{name}_sum{{{label}}} {times.seconds:.9g}\n",
            f"{name}_count{{{label}}} {number}\n",
        ]
    )


def _family(name: str, kind: str, words: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n"


def _server_lines(engine: Engine, loop: Loop, host: HostFacts) -> Iterator[str]:
    figures = server_stats(engine, host, loop.now).as_dict()
    families = chain(
        _of_process(figures, host),
        _of_jobs(engine, figures),
        _of_connections(engine, loop, figures),
    )
    for name, kind, words, samples in families:
        lines = [f"{name}{labels} {value}\n" for labels, value in samples]
        yield _family(name, kind, words) + "".join(lines)


def _plain(figures: _Figures, key: str) -> list[Sample]:
    return [("", int(figures[key]))]


def _of_process(figures: _Figures, host: HostFacts) -> Iterator[_Family]:
    yield (
        "beanrow_info",
        "gauge",
        "The version, as a label.",
        [(f'{{version="{host.version}"}}', 1)],
    )
    yield "beanrow_uptime_seconds", "gauge", "Since the start.", _plain(figures, "uptime")
    yield "beanrow_draining", "gauge", "1 in drain mode.", _plain(figures, "draining")
    yield (
        "beanrow_cpu_seconds_total",
        "counter",
        "CPU used, of user and system.",
        [
            ('{mode="user"}', host.rusage_utime),
            ('{mode="system"}', host.rusage_stime),
        ],
    )


def _of_jobs(engine: Engine, figures: _Figures) -> Iterator[_Family]:
    states = [(f'{{state="{state}"}}', figures[f"current-jobs-{state}"]) for state in _STATES]
    yield "beanrow_jobs", "gauge", "Jobs by state.", states
    words = "Ready jobs with a priority below 1024."
    yield "beanrow_jobs_urgent", "gauge", words, _plain(figures, "current-jobs-urgent")
    yield "beanrow_jobs_put_total", "counter", "Jobs taken.", _plain(figures, "total-jobs")
    words = "Puts refused in drain mode or for want of room."
    yield "beanrow_puts_refused_total", "counter", words, [("", engine.counters.refused_puts)]
    words = "Jobs whose ttr ended."
    yield "beanrow_job_timeouts_total", "counter", words, _plain(figures, "job-timeouts")
    if isinstance(engine, LimitedEngine):
        words = "What --max-memory counts: bodies, and a constant for each job."
        yield "beanrow_memory_bytes", "gauge", words, [("", engine.memory)]
    yield "beanrow_tubes", "gauge", "Tubes.", _plain(figures, "current-tubes")
    yield (
        "beanrow_commands_total",
        "counter",
        "Commands by name.",
        [
            (f'{{command="{key.removeprefix("cmd-")}"}}', value)
            for key, value in figures.items()
            if key.startswith("cmd-")
        ],
    )
    slow = engine.slow_commands[-1].number if engine.slow_commands else 0
    words = "Commands that --slow-log has told."
    yield "beanrow_slow_commands_total", "counter", words, [("", slow)]


def _of_connections(engine: Engine, loop: Loop, figures: _Figures) -> Iterator[_Family]:
    yield "beanrow_connections", "gauge", "Connections.", _plain(figures, "current-connections")
    words = "Those that have put."
    yield "beanrow_producers", "gauge", words, _plain(figures, "current-producers")
    words = "Those that have reserved."
    yield "beanrow_workers", "gauge", words, _plain(figures, "current-workers")
    words = "Those that wait for a job."
    yield "beanrow_waiting", "gauge", words, _plain(figures, "current-waiting")
    absent = sum(1 for _ in engine.tokens.absent())
    words = "Lost connections whose jobs are kept for their grace."
    yield "beanrow_absent_sessions", "gauge", words, [("", absent)]
    words = "Connections since the start."
    opened = _plain(figures, "total-connections")
    yield "beanrow_connections_opened_total", "counter", words, opened
    words, refused = "Connections beyond --max-connections.", loop.refused_connections
    yield "beanrow_connections_refused_total", "counter", words, [("", refused)]
    yield (
        "beanrow_connections_closed_total",
        "counter",
        "Connections closed by a limit.",
        [
            ('{limit="slow-timeout"}', loop.slow_connections),
            ('{limit="idle-timeout"}', loop.idle_connections),
        ],
    )
