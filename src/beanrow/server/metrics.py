"""The server's figures as Prometheus reads them (text format 0.0.4).

Laws:
- Names are stable: what is here is an interface; a figure keeps its name and its meaning.
- A tube's times are in buckets that each end at four times the one before: half of those that are
  counted, so that a tube is 34 lines of histograms and not 60.
- The text comes in shares, so that many tubes make no pause; a tube's figures are those of
  the moment in which its share is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice

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

    def one(name: str, kind: str, words: str, *samples: Sample) -> str:
        return _family(name, kind, words) + "".join(
            f"{name}{labels} {value}\n" for labels, value in samples
        )

    def plain(key: str) -> Sample:
        return "", int(figures[key])

    yield one(
        "beanrow_info", "gauge", "The version, as a label.", (f'{{version="{host.version}"}}', 1)
    )
    yield one("beanrow_uptime_seconds", "gauge", "Since the start.", plain("uptime"))
    yield one("beanrow_draining", "gauge", "1 in drain mode.", plain("draining"))
    yield one(
        "beanrow_cpu_seconds_total",
        "counter",
        "CPU used, of user and system.",
        ('{mode="user"}', host.rusage_utime),
        ('{mode="system"}', host.rusage_stime),
    )
    yield one(
        "beanrow_jobs",
        "gauge",
        "Jobs by state.",
        *((f'{{state="{state}"}}', figures[f"current-jobs-{state}"]) for state in _STATES),
    )
    yield one(
        "beanrow_jobs_urgent",
        "gauge",
        "Ready jobs with a priority below 1024.",
        plain("current-jobs-urgent"),
    )
    yield one("beanrow_jobs_put_total", "counter", "Jobs taken.", plain("total-jobs"))
    yield one(
        "beanrow_puts_refused_total",
        "counter",
        "Puts refused in drain mode or for want of room.",
        ("", engine.counters.refused_puts),
    )
    yield one(
        "beanrow_job_timeouts_total", "counter", "Jobs whose ttr ended.", plain("job-timeouts")
    )
    if isinstance(engine, LimitedEngine):
        yield one(
            "beanrow_memory_bytes",
            "gauge",
            "What --max-memory counts: bodies, and a constant for each job.",
            ("", engine.memory),
        )
    yield one("beanrow_tubes", "gauge", "Tubes.", plain("current-tubes"))
    yield one(
        "beanrow_commands_total",
        "counter",
        "Commands by name.",
        *(
            (f'{{command="{key.removeprefix("cmd-")}"}}', value)
            for key, value in figures.items()
            if key.startswith("cmd-")
        ),
    )
    slow = engine.slow_commands[-1].number if engine.slow_commands else 0
    yield one(
        "beanrow_slow_commands_total", "counter", "Commands that --slow-log has told.", ("", slow)
    )
    yield one("beanrow_connections", "gauge", "Connections.", plain("current-connections"))
    yield one("beanrow_producers", "gauge", "Those that have put.", plain("current-producers"))
    yield one("beanrow_workers", "gauge", "Those that have reserved.", plain("current-workers"))
    yield one("beanrow_waiting", "gauge", "Those that wait for a job.", plain("current-waiting"))
    yield one(
        "beanrow_absent_sessions",
        "gauge",
        "Lost connections whose jobs are kept for their grace.",
        ("", sum(1 for _ in engine.tokens.absent())),
    )
    yield one(
        "beanrow_connections_opened_total",
        "counter",
        "Connections since the start.",
        plain("total-connections"),
    )
    yield one(
        "beanrow_connections_refused_total",
        "counter",
        "Connections beyond --max-connections.",
        ("", loop.refused_connections),
    )
    yield one(
        "beanrow_connections_closed_total",
        "counter",
        "Connections closed by a limit.",
        ('{limit="slow-timeout"}', loop.slow_connections),
        ('{limit="idle-timeout"}', loop.idle_connections),
    )
