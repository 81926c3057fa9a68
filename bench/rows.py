"""The rows of the client's part: what is done, by whom, against which server, what is expected.

A goal is of ours over that contestant: by CPU where client and server share a core, by rate where
each has its own and the two overlap.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.goals import Goal

OURS = "beanrow"
MOST_BYTES_QUEUED = 512 * 2**20
BYTES_PER_JOB = 300
"""What the daemon keeps for a job beside its body, roughly."""


class Contestant(NamedTuple):
    """Who does the work: a module of bench.callers, and which of its clients."""

    label: str
    program: str
    client: str
    operation: str
    goal: Goal | None = None


class Row(NamedTuple):
    """One kind of work. The last contestant is ours, and is compared with each other one.

    ``turns``: runs of each contestant in a round, more where clients lie close together.
    ``client_us``: a goal for the client's own CPU per op.
    """

    title: str
    contestants: tuple[Contestant, ...]
    body: int = 64
    two_cores: bool = False
    our_server: bool = False
    processes: int = 1
    turns: int = 1
    client_us: Goal | None = None
    quick: bool = False

    @property
    def most_ops(self) -> int:
        """Of each process: enough for any rate, and few enough for the server's memory."""
        return MOST_BYTES_QUEUED // (self.body + BYTES_PER_JOB) // self.processes


def _alike(program: str, operation: str, **goals: float | None) -> tuple[Contestant, ...]:
    """Contestants that one program calls the same way: those with their goals, and ours."""
    others = [
        Contestant(name, program, name, operation, None if goal is None else Goal(goal))
        for name, goal in goals.items()
    ]
    return (*others, Contestant(OURS, program, OURS, operation))


ONE_BY_ONE = (
    Row(
        "put 64 B, one by one",
        _alike("one_by_one", "put", raw=0.92, greenstalk=1.05, pystalk=None),
        turns=2,
        quick=True,
    ),
    Row(
        "put + reserve + delete 64 B, one by one",
        _alike("one_by_one", "cycle", raw=0.92, greenstalk=1.05, pystalk=None),
        turns=2,
        quick=True,
    ),
    Row(
        "put 60 KiB, one by one",
        _alike("one_by_one", "put", raw=0.80, greenstalk=1.05, pystalk=None),
        body=60 * 1024,
    ),
    Row(
        "put + reserve + delete 60 KiB, one by one",
        _alike("one_by_one", "cycle", raw=0.80, greenstalk=1.05, pystalk=None),
        body=60 * 1024,
    ),
)

BATCHES = (
    Row(
        "put_many 64 B",
        _alike("batches", "put_many", raw=0.90, greenstalk=2.5),
        client_us=Goal(3.5, at_most=True),
        quick=True,
    ),
    Row(
        "put_many 64 B",
        _alike("batches", "put_many", raw=None, greenstalk=6.0),
        our_server=True,
        quick=True,
    ),
    Row("delete_many of ready jobs", _alike("batches", "delete_many", raw=None, greenstalk=None)),
    Row(
        "reserve_many(100) + delete_many",
        _alike("batches", "reserve_many", raw=None, greenstalk=2.3),
        quick=True,
    ),
    Row(
        "delete + next reserve in one write",
        _alike("batches", "delete_and_reserve", raw=None, greenstalk=1.3),
        quick=True,
    ),
)

TASKS = (
    Row(
        "asyncio: 1 task, put 64 B",
        (
            Contestant("aiostalk, fresh heap", "tasks", "aiostalk", "put", Goal(1.8)),
            Contestant("aiostalk, wide heap", "tasks", "aiostalk-wide", "put"),
            Contestant("greenstalk", "one_by_one", "greenstalk", "put", Goal(0.7)),
            Contestant(OURS, "tasks", OURS, "put"),
        ),
        turns=2,
        quick=True,
    ),
    Row(
        "asyncio: 100 tasks, put 64 B",
        (
            Contestant("raw, 1,000 in one send", "batches", "raw", "put_many", Goal(0.8)),
            Contestant("aiostalk + Lock, 1 conn.", "tasks", "aiostalk-locked", "put", Goal(10)),
            Contestant("aiostalk, 100 c., fresh heap", "tasks", "aiostalk-many", "put", Goal(2.5)),
            Contestant(
                "aiostalk, 100 c., wide heap", "tasks", "aiostalk-many-wide", "put", Goal(2.5)
            ),
            Contestant(OURS, "tasks", "beanrow-shared", "put"),
        ),
        two_cores=True,
        quick=True,
    ),
    Row(
        "asyncio: 100 tasks, put + reserve + delete",
        (
            Contestant("aiostalk + Lock, 1 conn.", "tasks", "aiostalk-locked", "cycle", Goal(10)),
            Contestant(
                "aiostalk, 100 c., fresh heap", "tasks", "aiostalk-many", "cycle", Goal(2.5)
            ),
            Contestant(
                "aiostalk, 100 c., wide heap", "tasks", "aiostalk-many-wide", "cycle", Goal(2.5)
            ),
            Contestant(OURS, "tasks", "beanrow-shared", "cycle"),
        ),
        two_cores=True,
    ),
)

TOGETHER = (
    Row(
        "10 threads, put 64 B, a connection each",
        _alike("threads", "put", greenstalk=1.15),
        turns=2,
        quick=True,
    ),
    Row(
        "10 threads, put 64 B, a connection each",
        _alike("threads", "put", greenstalk=1.15),
        two_cores=True,
    ),
    Row(
        "4 processes, put 64 B",
        _alike("one_by_one", "put", greenstalk=None),
        two_cores=True,
        processes=4,
    ),
)

ROWS = (*ONE_BY_ONE, *BATCHES, *TASKS, *TOGETHER)
