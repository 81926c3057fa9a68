"""What gateways count, and the statistics made of that and of the store.

Laws:
- A gateway's own share is live; that of the others is as old as their last heartbeat. What gateways
  that are gone had counted is in the store.
- Gauges of jobs, and what tubes count, are the store's own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from beanrow.cluster.session import DEFAULT_TUBE, References
from beanrow.cluster.store import Gateway, Overview, TubeFigures
from beanrow.engine.counters import HostFacts
from beanrow.protocol import requests
from beanrow.protocol.stats import ServerStats, TubeStats

__all__ = ["Facts", "Figures", "server_stats", "tube_stats"]

_COUNTED: dict[str, tuple[type, ...]] = {
    "cmd_put": (
        requests.Put,
        requests.PutInTube,
        requests.PutUnique,
        requests.PutTooBig,
        requests.PutUnterminated,
    ),
    "cmd_peek": (requests.Peek,),
    "cmd_peek_ready": (requests.PeekReady,),
    "cmd_peek_delayed": (requests.PeekDelayed,),
    "cmd_peek_buried": (requests.PeekBuried,),
    "cmd_reserve": (requests.Reserve,),
    "cmd_reserve_with_timeout": (requests.ReserveWithTimeout,),
    "cmd_delete": (requests.Delete,),
    "cmd_release": (requests.Release,),
    "cmd_use": (requests.Use,),
    "cmd_watch": (requests.Watch,),
    "cmd_ignore": (requests.Ignore,),
    "cmd_bury": (requests.Bury,),
    "cmd_kick": (requests.Kick,),
    "cmd_touch": (requests.Touch,),
    "cmd_stats": (requests.Stats,),
    "cmd_stats_job": (requests.StatsJob,),
    "cmd_stats_tube": (requests.StatsTube,),
    "cmd_list_tubes": (requests.ListTubes,),
    "cmd_list_tube_used": (requests.ListTubeUsed,),
    "cmd_list_tubes_watched": (requests.ListTubesWatched,),
    "cmd_pause_tube": (requests.PauseTube,),
}
_GAUGES = ("connections", "producers", "workers", "waiting")


class Figures:
    """What this gateway counts since its start."""

    __slots__ = ("connections", "jobs", "producers", "requests", "total_connections",
                 "waiting", "workers")  # fmt: skip

    def __init__(self) -> None:
        self.requests: dict[type, int] = dict.fromkeys(requests.Request.__args__, 0)
        self.jobs: int = 0
        self.total_connections: int = 0
        self.connections: int = 0
        self.producers: int = 0
        self.workers: int = 0
        self.waiting: int = 0

    def counts(self) -> dict[str, int]:
        """Give what only grows, and outlives the gateway."""
        counted = self.requests
        return {
            **{key: sum(counted[kind] for kind in kinds) for key, kinds in _COUNTED.items()},
            "total_jobs": self.jobs,
            "total_connections": self.total_connections,
        }

    def gauges(self) -> dict[str, int]:
        """Give what is so just now."""
        return {name: getattr(self, name) for name in _GAUGES}


class Facts:
    """What gateways tell of themselves: ``counts`` and ``gauges`` by name, references by tube."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.name: str = document["name"]
        self.draining: bool = document["draining"]
        self.counts: dict[str, int] = document["counts"]
        self.gauges: dict[str, int] = document["gauges"]
        self.using: dict[str, int] = document["using"]
        self.watching: dict[str, int] = document["watching"]
        self.waiting: dict[str, int] = document["waiting"]

    @classmethod
    def of_gateway(
        cls, name: str, draining: bool, figures: Figures, references: References
    ) -> Facts:
        """Collect those of this gateway."""
        return cls(
            {
                "name": name,
                "draining": draining,
                "counts": figures.counts(),
                "gauges": figures.gauges(),
                "using": references.using,
                "watching": references.watching,
                "waiting": references.waiting,
            }
        )

    @classmethod
    def read(cls, gateways: Iterable[Gateway]) -> list[Facts]:
        """Read those of other gateways; one that has just joined has told nothing yet."""
        return [cls(json.loads(gateway.facts)) for gateway in gateways if gateway.facts]

    def write(self) -> bytes:
        """Write them for the store."""
        return json.dumps(self.__dict__, separators=(",", ":")).encode()


def referenced(everybody: Iterable[Facts]) -> set[str]:
    """Give all tubes that somebody uses or watches."""
    tubes = {DEFAULT_TUBE}
    for facts in everybody:
        tubes |= facts.using.keys() | facts.watching.keys()
    return tubes


def server_stats(
    overviews: Sequence[Overview],
    everybody: Sequence[Facts],
    before: dict[str, int],
    host: HostFacts,
    *,
    max_job_size: int,
    uptime: int,
    draining: bool,
    more: bool,
) -> ServerStats:
    """Make the figures of ``stats``; ``before`` are those of gateways that are gone.

    ``more``: the promise that is in force, too.
    """
    counts, gauges = Counter(before), Counter[str]()
    for facts in everybody:
        counts.update(facts.counts)
        gauges.update(facts.gauges)
    states = [0, 0, 0, 0, 0]
    tubes = referenced(everybody)
    for overview in overviews:
        for name, figures in overview.tubes.items():
            states = [total + part for total, part in zip(states, figures, strict=True)]
            if any(figures[1:]):
                tubes.add(name)
    urgent, ready, reserved, delayed, buried = states
    of_host = host._asdict()
    if not more:
        del of_host["store"], of_host["promise"]
    commands: dict[str, Any] = {key: counts[key] for key in _COUNTED}
    return ServerStats(
        current_jobs_urgent=urgent,
        current_jobs_ready=ready,
        current_jobs_reserved=reserved,
        current_jobs_delayed=delayed,
        current_jobs_buried=buried,
        **commands,
        job_timeouts=sum(overview.timeouts for overview in overviews),
        total_jobs=counts["total_jobs"],
        max_job_size=max_job_size,
        current_tubes=len(tubes),
        current_connections=gauges["connections"],
        current_producers=gauges["producers"],
        current_workers=gauges["workers"],
        current_waiting=gauges["waiting"],
        total_connections=counts["total_connections"],
        uptime=uptime,
        draining=draining,
        **of_host,
    )


def tube_stats(tube: str, figures: TubeFigures, everybody: Sequence[Facts]) -> TubeStats:
    """Make the figures of ``stats-tube``."""
    return TubeStats(
        name=tube,
        current_jobs_urgent=figures.urgent,
        current_jobs_ready=figures.ready,
        current_jobs_reserved=figures.reserved,
        current_jobs_delayed=figures.delayed,
        current_jobs_buried=figures.buried,
        total_jobs=figures.total,
        current_using=sum(facts.using.get(tube, 0) for facts in everybody),
        current_watching=sum(facts.watching.get(tube, 0) for facts in everybody),
        current_waiting=sum(facts.waiting.get(tube, 0) for facts in everybody),
        cmd_delete=figures.deletes,
        cmd_pause_tube=figures.pauses,
        pause=figures.pause,
        pause_time_left=max(0, figures.pause_left - 1) // 1000,
    )
