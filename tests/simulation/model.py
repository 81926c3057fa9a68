"""A beanstalk queue too simple to be wrong: the engine is compared with it reply by reply.

Everything is a plain list that is searched and sorted anew each time; nothing is kept that can be
counted. Where several peers or tubes become due at the same time, any order is right: the caller
of ``wake`` chooses it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from beanrow.engine.counters import HostFacts
from beanrow.protocol import replies, requests
from beanrow.protocol.capabilities import CAPABILITIES
from beanrow.protocol.holders import Connected, Lease, write_rows
from beanrow.protocol.listing import ListedJob, write_page
from beanrow.protocol.requests import Request
from beanrow.protocol.stats import JobStats, ServerStats, TubeStats, write_list
from beanrow.protocol.times import Histogram, TubeTimes, bucket_end

SECOND = 1_000_000_000

ALSO_COUNTED = {
    "cmd_put": ("put_in_tube", "put_unique", "put_too_big", "put_unterminated", "malformed put"),
    "cmd_pause_tube": ("malformed pause-tube",),
}

T = TypeVar("T")

Due = tuple[str, int | str]
"""What becomes due: ("peer", its number) or ("tube", its name)."""


@dataclass
class ModelJob:
    id: int
    tube: str
    pri: int
    delay: int
    ttr: int
    body: bytes
    created: int
    state: str = ""
    deadline: int = 0
    holder: int = 0
    since: int = 0  # when it came into its state, as a serial number
    turned: int = 0  # the same, as a time
    reserves: int = 0
    timeouts: int = 0
    releases: int = 0
    buries: int = 0
    kicks: int = 0


@dataclass
class ModelTube:
    name: str
    pause: int = 0
    paused_until: int = 0
    total_jobs: int = 0
    cmd_delete: int = 0
    cmd_pause_tube: int = 0
    waits: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


@dataclass
class ModelKey:
    job_id: int
    lifetime: int
    until: int


@dataclass
class ModelPeer:
    number: int = 0
    name: str = ""
    used: str = "default"
    watched: list[str] = field(default_factory=lambda: ["default"])
    waits_since: int = 0  # a serial number; 0 while it does not wait
    wait_until: int | None = None
    half_closed: bool = False
    producer: bool = False
    worker: bool = False
    words: set[str] = field(default_factory=set)
    token: str = ""
    grace: int = 0
    said: list[bytes] = field(default_factory=list)


@dataclass
class Absent:
    """A session whose connection is gone; its number goes on being the holder of its jobs."""

    peer: ModelPeer
    until: int


class Model:
    """``peers`` by the numbers that their driver gave them."""

    def __init__(self, now: int, max_job_size: int) -> None:
        self.started = now
        self.max_job_size = max_job_size
        self.draining = False
        self.has_room = True  # of a journal, which the model has none of: its driver says
        self.file_of: Callable[[int], int] = no_file
        self.jobs: list[ModelJob] = []
        self.tubes = [ModelTube("default")]
        self.peers: dict[int, ModelPeer] = {}
        self.keys: dict[tuple[str, str], ModelKey] = {}  # also those that are free again
        self.tokens: dict[str, int] = {}  # by whom they are held, there or absent
        self.absent: dict[int, Absent] = {}
        self.tokens_drawn = 0
        self.ids_used = 0
        self.job_timeouts = 0
        self.total_jobs = 0
        self.total_connections = 0
        self.commands: Counter[str] = Counter()
        self._serial = 0

    # -- finding ------------------------------------------------------------------

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def tube(self, name: str) -> ModelTube | None:
        return next((tube for tube in self.tubes if tube.name == name), None)

    def job(self, number: int) -> ModelJob | None:
        return next((job for job in self.jobs if job.id == number), None)

    def jobs_of(self, tube: str, state: str) -> list[ModelJob]:
        """The jobs of a tube in one state, next first."""
        jobs = [job for job in self.jobs if job.tube == tube and job.state == state]
        if state == "ready":
            return sorted(jobs, key=lambda job: (job.pri, job.id))
        if state == "delayed":
            return sorted(jobs, key=lambda job: (job.deadline, job.since))
        return sorted(jobs, key=lambda job: job.since)

    def held_by(self, number: int) -> list[ModelJob]:
        held = [job for job in self.jobs if job.state == "reserved" and job.holder == number]
        return sorted(held, key=lambda job: job.since)

    def available(self, number: int) -> list[ModelJob]:
        """The jobs that a peer could reserve, best first."""
        tubes = [self.tube(name) for name in self.peers[number].watched]
        names = [tube.name for tube in tubes if tube is not None and not tube.paused_until]
        jobs = [job for name in names for job in self.jobs_of(name, "ready")]
        return sorted(jobs, key=lambda job: (job.pri, job.id))

    def waiting(self) -> list[int]:
        """The peers that wait, in the order of their arrival."""
        numbers = [number for number, peer in self.peers.items() if peer.waits_since]
        return sorted(numbers, key=lambda number: self.peers[number].waits_since)

    def in_last_second(self, number: int, now: int) -> bool:
        return any(job.deadline - SECOND <= now for job in self.held_by(number))

    # -- moving jobs --------------------------------------------------------------

    def into(self, job: ModelJob, state: str, now: int) -> None:
        """Bring a job into a state; one that becomes ready goes to who waits for it."""
        job.state = state
        job.since = self.serial()
        job.turned = now
        job.holder = 0
        if state == "delayed":
            job.deadline = now + job.delay * SECOND
        if state == "ready":
            self.settle(now)

    def settle(self, now: int) -> None:
        """Hand out jobs until nobody waits beside a ready one."""
        for number in self.waiting():
            available = self.available(number)
            if available:
                self.take(available[0], number, now)

    def take(self, job: ModelJob, number: int, now: int) -> None:
        """Hand out a job whose turn it is."""
        tube = self.tube(job.tube)
        assert tube is not None, "a job keeps its tube"
        tube.waits.append(now - job.turned)
        self.hand(job, number, now)

    def note_run(self, job: ModelJob, now: int) -> None:
        """Note that a holder ends its reservation."""
        tube = self.tube(job.tube)
        assert tube is not None, "a job keeps its tube"
        tube.runs.append(now - job.turned)

    def hand(self, job: ModelJob, number: int, now: int) -> None:
        self.into(job, "reserved", now)
        job.holder = number
        job.deadline = now + job.ttr * SECOND
        job.reserves += 1
        if "jobs-with-tube" in self.peers[number].words:
            self.answer(number, replies.reserved_in(job.tube, job.id, job.body))
        else:
            self.answer(number, replies.reserved(job.id, job.body))

    def answer(self, number: int, reply: bytes) -> None:
        peer = self.peers[number]
        peer.waits_since = 0
        peer.said.append(reply)

    def forget(self, job: ModelJob) -> None:
        self.jobs.remove(job)
        self.drop_tube(job.tube)

    def drop_tube(self, name: str) -> None:
        """Drop a tube unless somebody needs it; the last one takes its place."""
        tube = self.tube(name)
        needed = {"default", *(job.tube for job in self.jobs)}
        for peer in self.peers.values():
            needed |= {peer.used, *peer.watched}
        if tube is not None and name not in needed:
            replace(self.tubes, tube)

    def make_tube(self, name: str) -> None:
        if self.tube(name) is None:
            self.tubes.append(ModelTube(name))

    # -- time ---------------------------------------------------------------------

    def times(self) -> dict[Due, int]:
        """When each peer and tube is due next."""
        times: dict[Due, int] = {}
        for number, peer in self.peers.items():
            ends = [job.deadline for job in self.held_by(number)]
            if peer.waits_since:
                ends = [end - SECOND for end in ends]
                ends += [] if peer.wait_until is None else [peer.wait_until]
            if ends:
                times["peer", number] = min(ends)
        for number, absent in self.absent.items():
            ends = [job.deadline for job in self.held_by(number)]
            times["peer", number] = min([*ends, absent.until])
        for tube in self.tubes:
            ends = [job.deadline for job in self.jobs_of(tube.name, "delayed")]
            ends += [tube.paused_until] if tube.paused_until else []
            if ends:
                times["tube", tube.name] = min(ends)
        return times

    def wake(self, due: Due, now: int) -> None:
        kind, which = due
        if kind == "peer":
            self.wake_peer(int(which), now)
        else:
            self.wake_tube(str(which), now)

    def wake_peer(self, number: int, now: int) -> None:
        peer = self.peers.get(number, ModelPeer())
        if peer.waits_since and self.in_last_second(number, now):
            self.answer(number, replies.DEADLINE_SOON)
        over = [job for job in self.held_by(number) if job.deadline <= now]
        for job in sorted(over, key=lambda job: job.deadline):
            job.timeouts += 1
            self.job_timeouts += 1
            self.into(job, "ready", now)
        if peer.waits_since and peer.wait_until is not None and peer.wait_until <= now:
            self.answer(number, replies.TIMED_OUT)
        absent = self.absent.get(number)
        if absent is not None and (absent.until <= now or not self.held_by(number)):
            self.give_back(number, now)

    def give_back(self, number: int, now: int) -> None:
        """Make all jobs of a session ready, and end it."""
        for job in self.held_by(number):
            self.into(job, "ready", now)
        self.absent.pop(number, None)
        self.tokens = {token: one for token, one in self.tokens.items() if one != number}

    def wake_tube(self, name: str, now: int) -> None:
        tube = self.tube(name)
        assert tube is not None, "a tube with a pause or delayed jobs that is due"
        if tube.paused_until <= now:
            tube.pause = tube.paused_until = 0
            self.settle(now)
        for job in self.jobs_of(name, "delayed"):
            if job.deadline <= now:
                self.into(job, "ready", now)
        self.drop_tube(name)  # its pause was all that kept it since a restart

    # -- connections --------------------------------------------------------------

    def open(self, number: int) -> None:
        self.total_connections += 1
        self.peers[number] = ModelPeer(self.total_connections)

    def close(self, number: int, now: int) -> None:
        peer = self.peers.pop(number)
        if peer.token and self.held_by(number):
            self.absent[number] = Absent(peer, now + peer.grace * SECOND)
        else:
            self.give_back(number, now)
        for name in (peer.used, *peer.watched):
            self.drop_tube(name)

    def half_close(self, number: int) -> None:
        peer = self.peers[number]
        peer.half_closed = True
        if peer.waits_since:
            self.answer(number, replies.TIMED_OUT)

    # -- commands -----------------------------------------------------------------

    def execute(self, number: int, request: Request, now: int) -> None:
        """Carry out a request; what is said goes to ``peers[number].said``."""
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", type(request).__name__).lower()
        self.commands[name] += 1
        reply = getattr(self, name)(number, self.peers[number], request, now)
        if reply is not None:
            self.answer(number, reply)

    def put(self, number: int, peer: ModelPeer, request: requests.Put, now: int) -> bytes:
        peer.producer = True
        self.ids_used += 1
        if self.draining:
            return replies.DRAINING
        if not self.has_room:
            return replies.OUT_OF_MEMORY
        job = ModelJob(self.ids_used, peer.used, *request, created=now)
        job.ttr = max(1, job.ttr)
        self.jobs.append(job)
        self.total_jobs += 1
        tube = self.tube(peer.used)
        assert tube is not None, "a used tube exists"
        tube.total_jobs += 1
        self.into(job, "delayed" if job.delay else "ready", now)
        return replies.inserted(job.id)

    def put_in_tube(
        self, number: int, peer: ModelPeer, request: requests.PutInTube, now: int
    ) -> bytes:
        used, peer.used = peer.used, request.tube
        self.make_tube(request.tube)
        reply = self.put(number, peer, requests.Put(*request[1:]), now)
        peer.used = used
        self.drop_tube(request.tube)
        return reply

    def put_unique(
        self, number: int, peer: ModelPeer, request: requests.PutUnique, now: int
    ) -> bytes:
        peer.producer = True
        if (peer.used, request.key) in self.taken_keys(now):
            return replies.exists(self.keys[peer.used, request.key].job_id)
        reply = self.put(number, peer, requests.Put(*request[2:]), now)
        if reply.startswith(b"INSERTED"):
            until = now + request.lifetime * SECOND
            self.keys[peer.used, request.key] = ModelKey(self.ids_used, request.lifetime, until)
        return reply

    def taken_keys(self, now: int) -> set[tuple[str, str]]:
        """The keys of jobs that exist, and those that are younger than their lifetime."""
        return {
            place
            for place, key in self.keys.items()
            if key.until > now or self.job(key.job_id) is not None
        }

    def put_too_big(self, *_: object) -> bytes:
        return replies.JOB_TOO_BIG

    def put_unterminated(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        peer.producer = True
        self.ids_used += 1
        return replies.EXPECTED_CRLF

    def use(self, number: int, peer: ModelPeer, request: requests.Use, now: int) -> bytes:
        before, peer.used = peer.used, request.tube
        self.make_tube(request.tube)
        self.drop_tube(before)
        return replies.using(request.tube)

    def reserve(self, number: int, peer: ModelPeer, request: object, now: int) -> None:
        self.reserve_until(number, peer, None, now)

    def reserve_with_timeout(
        self, number: int, peer: ModelPeer, request: requests.ReserveWithTimeout, now: int
    ) -> None:
        self.reserve_until(number, peer, now + request.timeout * SECOND, now)

    def reserve_until(self, number: int, peer: ModelPeer, until: int | None, now: int) -> None:
        peer.worker = True
        available = self.available(number)
        if available:
            self.take(available[0], number, now)
        elif self.in_last_second(number, now):
            self.answer(number, replies.DEADLINE_SOON)
        elif peer.half_closed or until == now:
            self.answer(number, replies.TIMED_OUT)
        else:
            peer.waits_since = self.serial()
            peer.wait_until = until

    def reserve_job(
        self, number: int, peer: ModelPeer, request: requests.ReserveJob, now: int
    ) -> bytes | None:
        job = self.job(request.id)
        if job is None or job.state == "reserved":
            return replies.NOT_FOUND
        peer.worker = True
        self.hand(job, number, now)
        return None

    def delete(self, number: int, peer: ModelPeer, request: requests.Delete, now: int) -> bytes:
        job = self.job(request.id)
        if job is None or (job.state == "reserved" and job.holder != number):
            return replies.NOT_FOUND
        tube = self.tube(job.tube)
        assert tube is not None, "a job keeps its tube"
        if job.state == "reserved":
            self.note_run(job, now)
        tube.cmd_delete += 1
        self.forget(job)
        return replies.DELETED

    def held(self, number: int, job_id: int) -> ModelJob | None:
        return next((job for job in self.held_by(number) if job.id == job_id), None)

    def release(self, number: int, peer: ModelPeer, request: requests.Release, now: int) -> bytes:
        job = self.held(number, request.id)
        if job is None:
            return replies.NOT_FOUND
        self.note_run(job, now)
        job.pri, job.delay = request.priority, request.delay
        job.releases += 1
        self.into(job, "delayed" if job.delay else "ready", now)
        return replies.RELEASED

    def bury(self, number: int, peer: ModelPeer, request: requests.Bury, now: int) -> bytes:
        job = self.held(number, request.id)
        if job is None:
            return replies.NOT_FOUND
        self.note_run(job, now)
        job.pri = request.priority
        job.buries += 1
        self.into(job, "buried", now)
        return replies.BURIED

    def touch(self, number: int, peer: ModelPeer, request: requests.Touch, now: int) -> bytes:
        job = self.held(number, request.id)
        if job is None:
            return replies.NOT_FOUND
        job.deadline = now + job.ttr * SECOND
        return replies.TOUCHED

    def watch(self, number: int, peer: ModelPeer, request: requests.Watch, now: int) -> bytes:
        self.make_tube(request.tube)
        if request.tube not in peer.watched:
            peer.watched.append(request.tube)
        return replies.watching(len(peer.watched))

    def ignore(self, number: int, peer: ModelPeer, request: requests.Ignore, now: int) -> bytes:
        if peer.watched == [request.tube]:
            return replies.NOT_IGNORED
        if request.tube in peer.watched:
            replace(peer.watched, request.tube)
            self.drop_tube(request.tube)
        return replies.watching(len(peer.watched))

    def peek(self, number: int, peer: ModelPeer, request: requests.Peek, now: int) -> bytes:
        job = self.job(request.id)
        return found(peer, [] if job is None else [job])

    def peek_ready(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        return found(peer, self.jobs_of(peer.used, "ready"))

    def peek_delayed(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        return found(peer, self.jobs_of(peer.used, "delayed"))

    def peek_buried(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        return found(peer, self.jobs_of(peer.used, "buried"))

    def kick(self, number: int, peer: ModelPeer, request: requests.Kick, now: int) -> bytes:
        buried, delayed = (self.jobs_of(peer.used, state) for state in ("buried", "delayed"))
        jobs = (buried or delayed)[: request.bound]
        for job in jobs:
            job.kicks += 1
            self.into(job, "ready", now)
        return replies.kicked(len(jobs))

    def kick_job(self, number: int, peer: ModelPeer, request: requests.KickJob, now: int) -> bytes:
        job = self.job(request.id)
        if job is None or job.state not in ("buried", "delayed"):
            return replies.NOT_FOUND
        job.kicks += 1
        self.into(job, "ready", now)
        return replies.KICKED

    def pause_tube(
        self, number: int, peer: ModelPeer, request: requests.PauseTube, now: int
    ) -> bytes:
        tube = self.tube(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        tube.cmd_pause_tube += 1
        tube.pause = request.delay
        tube.paused_until = now + request.delay * SECOND if request.delay else 0
        self.settle(now)
        if not tube.paused_until:
            self.drop_tube(tube.name)
        return replies.PAUSED

    def truncate(self, number: int, peer: ModelPeer, request: requests.Truncate, now: int) -> bytes:
        tube = self.tube(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        jobs = [job for job in self.jobs if job.tube == tube.name and job.state != "reserved"]
        tube.cmd_delete += len(jobs)
        for job in jobs:
            self.forget(job)
        return replies.truncated(len(jobs))

    def list_jobs(
        self, number: int, peer: ModelPeer, request: requests.ListJobs, now: int
    ) -> bytes:
        if self.tube(request.tube) is None:
            return replies.NOT_FOUND
        jobs = sorted(self.jobs_of(request.tube, request.state), key=lambda job: job.id)
        jobs = [job for job in jobs if job.id > request.after][: request.limit]
        lines = [
            ListedJob(**self.figures_of(job, now).__dict__, bytes=len(job.body)) for job in jobs
        ]
        is_full = len(jobs) == request.limit
        return replies.ok(write_page(lines, jobs[-1].id if is_full else None))

    def list_times(
        self, number: int, peer: ModelPeer, request: requests.ListTimes, now: int
    ) -> bytes:
        tube = self.tube(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        times = TubeTimes(tube.name, histogram(tube.waits), histogram(tube.runs))
        return replies.ok(times.write())

    def list_leases(
        self, number: int, peer: ModelPeer, request: requests.ListLeases, now: int
    ) -> bytes:
        held = [job for job in self.jobs if job.state == "reserved" and job.id > request.after]
        page = sorted(held, key=lambda job: job.id)[: request.limit]
        rows = []
        for job in page:
            figures = self.figures_of(job, now)
            there = self.peers.get(job.holder)
            holder = self.absent[job.holder].peer if there is None else there
            rows.append(
                Lease(
                    job.id,
                    job.tube,
                    holder.number,
                    "",
                    holder.name,
                    (now - job.turned) // SECOND,
                    figures.time_left,
                    job.ttr,
                    job.reserves,
                )
            )
        return replies.ok(write_rows(rows, page[-1].id if len(held) > len(page) else None))

    def list_clients(
        self, number: int, peer: ModelPeer, request: requests.ListClients, now: int
    ) -> bytes:
        rows = [
            Connected(
                one.number,
                "",
                one.name,
                one.producer,
                one.worker,
                one.waits_since > 0,
                one.used,
                len(one.watched),
                tuple(one.watched),
                len(self.held_by(place)),
            )
            for place, one in self.peers.items()
            if one.number > request.after
        ]
        rows.sort()
        page = rows[: request.limit]
        more = page[-1].connection if len(rows) > len(page) else None
        return replies.ok(write_rows(page, more))

    def list_slow(self, *_: object) -> bytes:
        return replies.ok(b"")

    def client_name(
        self, number: int, peer: ModelPeer, request: requests.ClientName, now: int
    ) -> bytes:
        peer.name = request.name
        return replies.named(request.name)

    def capabilities(
        self, number: int, peer: ModelPeer, request: requests.Capabilities, now: int
    ) -> bytes:
        peer.words |= CAPABILITIES.intersection(request.words)
        return replies.ok(write_list(sorted(CAPABILITIES)))

    def session(self, number: int, peer: ModelPeer, request: requests.Session, now: int) -> bytes:
        if not peer.token:
            self.tokens_drawn += 1
            peer.token = f"t{self.tokens_drawn}"
            self.tokens[peer.token] = number
        peer.grace = request.grace
        return replies.session(peer.token)

    def resume(self, number: int, peer: ModelPeer, request: requests.Resume, now: int) -> bytes:
        other = self.tokens.get(request.token)
        if other is None:
            return replies.NOT_FOUND
        jobs = self.held_by(other)
        if other != number:
            self.tokens.pop(peer.token, None)
            self.tokens[request.token], peer.token = number, request.token
            for job in jobs:
                job.holder, job.since = number, self.serial()
            if other in self.absent:
                peer.grace = self.absent.pop(other).peer.grace
            else:
                peer.grace = self.peers[other].grace
                self.peers[other].token = ""
                self.answer(other, b"")
        return replies.resumed(len(jobs), write_list(str(job.id) for job in jobs))

    def stats(self, number: int, peer: ModelPeer, request: object, now: int) -> bytes:
        peers = self.peers.values()
        commands: dict[str, Any] = {
            name: sum(self.commands[kind] for kind in (name[4:], *ALSO_COUNTED.get(name, ())))
            for name in ServerStats.__annotations__
            if name.startswith("cmd_")
        }
        host = HostFacts()._asdict()
        if "more-stats" not in peer.words:
            del host["store"], host["promise"]
        figures = ServerStats(
            **commands,
            **by_state(self.jobs),
            **host,
            job_timeouts=self.job_timeouts,
            total_jobs=self.total_jobs,
            max_job_size=self.max_job_size,
            current_tubes=len(self.tubes),
            current_connections=len(peers),
            current_producers=sum(peer.producer for peer in peers),
            current_workers=sum(peer.worker for peer in peers),
            current_waiting=len(self.waiting()),
            total_connections=self.total_connections,
            uptime=(now - self.started) // SECOND,
            draining=self.draining,
        )
        return replies.ok(figures.write())

    def stats_tube(
        self, number: int, peer: ModelPeer, request: requests.StatsTube, now: int
    ) -> bytes:
        tube = self.tube(request.tube)
        if tube is None:
            return replies.NOT_FOUND
        peers = self.peers.values()
        figures = TubeStats(
            name=tube.name,
            **by_state([job for job in self.jobs if job.tube == tube.name]),
            total_jobs=tube.total_jobs,
            current_using=sum(peer.used == tube.name for peer in peers),
            current_watching=sum(tube.name in peer.watched for peer in peers),
            current_waiting=sum(
                tube.name in self.peers[number].watched for number in self.waiting()
            ),
            cmd_delete=tube.cmd_delete,
            cmd_pause_tube=tube.cmd_pause_tube,
            pause=tube.pause,
            pause_time_left=seconds_left(tube.paused_until, now),
        )
        if "more-stats" in peer.words:
            ages = [now - job.created for job in self.jobs_of(tube.name, "ready")]
            sizes = [len(job.body) for job in self.jobs if job.tube == tube.name]
            figures.oldest_ready_age = max(ages, default=0) // SECOND
            figures.jobs_bytes = sum(sizes)
        return replies.ok(figures.write())

    def stats_job(
        self, number: int, peer: ModelPeer, request: requests.StatsJob, now: int
    ) -> bytes:
        job = self.job(request.id)
        if job is None:
            return replies.NOT_FOUND
        return replies.ok(self.figures_of(job, now).write())

    def figures_of(self, job: ModelJob, now: int) -> JobStats:
        timed = job.state in ("reserved", "delayed")
        same = ("id", "tube", "state", "pri", "delay", "ttr")
        counts = ("reserves", "timeouts", "releases", "buries", "kicks")
        return JobStats(
            **{name: getattr(job, name) for name in same + counts},
            age=(now - job.created) // SECOND,
            time_left=seconds_left(job.deadline, now) if timed else 0,
            file=self.file_of(job.id),
        )

    def list_tubes(self, *_: object) -> bytes:
        return replies.ok(write_list(tube.name for tube in self.tubes))

    def list_tubes_watched(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        return replies.ok(write_list(peer.watched))

    def list_tube_used(self, number: int, peer: ModelPeer, *_: object) -> bytes:
        return replies.using(peer.used)

    def quit(self, number: int, peer: ModelPeer, *_: object) -> None:
        """The driver closes the peer."""
        self.tokens.pop(peer.token, None)
        peer.token = ""

    def bad_format(
        self, number: int, peer: ModelPeer, request: requests.BadFormat, now: int
    ) -> bytes:
        if request.counted:
            self.commands["malformed " + request.counted] += 1
        return replies.BAD_FORMAT

    def unknown_command(self, *_: object) -> bytes:
        return replies.UNKNOWN_COMMAND


def replace(things: list[T], gone: T) -> None:
    """Take one out of a list; the last one takes its place."""
    last = things.pop()
    if last != gone:
        things[things.index(gone)] = last


def no_file(_job_id: int) -> int:
    return 0


def found(peer: ModelPeer, jobs: list[ModelJob]) -> bytes:
    if not jobs:
        return replies.NOT_FOUND
    if "jobs-with-tube" in peer.words:
        return replies.found_in(jobs[0].tube, jobs[0].id, jobs[0].body)
    return replies.found(jobs[0].id, jobs[0].body)


def seconds_left(until: int, now: int) -> int:
    """Whole seconds, rounded down; 60 s are shown as 59 at once."""
    return max(0, until - now - 1) // SECOND


def by_state(jobs: list[ModelJob]) -> dict[str, Any]:
    counts = {
        f"current_jobs_{state}": sum(job.state == state for job in jobs)
        for state in ("ready", "reserved", "delayed", "buried")
    }
    urgent = sum(job.state == "ready" and job.pri < 1024 for job in jobs)
    return {"current_jobs_urgent": urgent, **counts}


def histogram(times: list[int]) -> Histogram:
    """Put times into buckets, one by one."""
    buckets = [next(n for n in count() if time < bucket_end(n) * SECOND) for time in times]
    counts = tuple(buckets.count(number) for number in range(max(buckets, default=-1) + 1))
    return Histogram(counts, sum(times))
