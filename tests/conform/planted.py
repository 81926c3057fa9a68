"""One thing wrong in our server, each: the suite must find it, by a case that is about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from beanrow.engine import queue
from beanrow.engine.engine import Engine
from beanrow.engine.job import BURIED, DELAYED, READY
from beanrow.engine.queue import Queue
from beanrow.engine.timers import SECOND
from beanrow.protocol import lines, replies, request_stream, requests
from beanrow.protocol.request_stream import RequestStream

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, tuple[Plant, set[int]]] = {}
"""Each with the numbers of cases of which at least one must find it."""


def planted(*cases: int) -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        PLANTED[plant.__name__] = (plant, set(cases))
        return plant

    return add


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    patch.setattr(owner, name, make(getattr(owner, name)))


# -- quick ones ----------------------------------------------------------------------------------


@planted(302, 304, 504)
def the_largest_priority_comes_first(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def put(self: Engine, session: Any, request: requests.Put, now: int) -> bytes:
            turned = request._replace(priority=2**32 - 1 - request.priority)
            return original(self, session, turned, now)  # type: ignore[no-any-return]

        return put

    wrap(patch, Engine, "_put", make)


@planted(405)
def anyone_deletes_a_reserved_job(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def delete(self: Engine, session: Any, request: requests.Delete, now: int) -> bytes:
            job = self.jobs.get(request.id)
            holder = job.holder if job is not None and job.holder is not None else session
            return original(self, holder, request, now)  # type: ignore[no-any-return]

        return delete

    wrap(patch, Engine, "_delete", make)


@planted(412)
def anyone_releases_a_reserved_job(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def release(self: Engine, session: Any, request: requests.Release, now: int) -> bytes:
            job = self.jobs.get(request.id)
            holder = job.holder if job is not None and job.holder is not None else session
            return original(self, holder, request, now)  # type: ignore[no-any-return]

        return release

    wrap(patch, Engine, "_release", make)


@planted(408)
def release_keeps_the_priority(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def release(self: Engine, session: Any, request: requests.Release, now: int) -> bytes:
            job = session.held.get(request.id)
            kept = request if job is None else request._replace(priority=job.priority)
            return original(self, session, kept, now)  # type: ignore[no-any-return]

        return release

    wrap(patch, Engine, "_release", make)


@planted(510)
def kick_takes_the_last_buried_first(patch: pytest.MonkeyPatch) -> None:
    last = lambda _self, tube: next(reversed(tube.buried.values()), None)  # noqa: E731
    patch.setattr(Engine, "_first_buried", last)


@planted(512)
def kick_takes_delayed_jobs_beside_buried_ones(patch: pytest.MonkeyPatch) -> None:
    def kick(self: Engine, session: Any, request: requests.Kick, now: int) -> bytes:
        tube, kicked = session.used, 0
        while kicked < request.bound:
            job = self._first_buried(tube) or self._first_delayed(tube)
            if job is None:
                break
            self._kick_one(job, now)
            kicked += 1
        return replies.kicked(kicked)

    patch.setattr(Engine, "_kick", kick)


@planted(521)
def kick_job_kicks_ready_ones(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def kick_job(self: Engine, session: Any, request: requests.KickJob, now: int) -> bytes:
            job = self.jobs.get(request.id)
            if job is not None and job.state is READY:
                return replies.KICKED
            return original(self, session, request, now)  # type: ignore[no-any-return]

        return kick_job

    wrap(patch, Engine, "_kick_job", make)


@planted(208)
def watch_counts_a_tube_twice(patch: pytest.MonkeyPatch) -> None:
    def watch(self: Engine, session: Any, request: requests.Watch, now: int) -> bytes:
        tube = self._tube(request.tube)
        tube.watching += 1
        session.watched.append(tube)
        return replies.watching(len(session.watched))

    patch.setattr(Engine, "_watch", watch)


@planted(210)
def the_last_tube_may_be_ignored(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def ignore(self: Engine, session: Any, request: requests.Ignore, now: int) -> bytes:
            told = original(self, session, request, now)
            return replies.watching(0) if told == replies.NOT_IGNORED else told

        return ignore

    wrap(patch, Engine, "_ignore", make)


@planted(202)
def names_of_any_length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(request_stream, "_known_lines", {})  # which outlives a connection
    patch.setattr(lines, "is_tube_name", lambda name: name[:1] not in b"- " and b" " not in name)


@planted(108, 109)
def what_is_behind_a_body_does_not_matter(patch: pytest.MonkeyPatch) -> None:
    def unterminated(self: Engine, session: Any, request: Any, now: int) -> bytes:
        return self._put(session, requests.Put(0, 0, 60, b"?"), now)

    patch.setattr(Engine, "_put_unterminated", unterminated)


@planted(107)
def a_body_over_the_limit_is_taken(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def init(self: RequestStream, _size: int) -> None:
            original(self, 1 << 30)

        return init

    wrap(patch, RequestStream, "__init__", make)


@planted(721)
def a_paused_tube_hands_out_jobs(patch: pytest.MonkeyPatch) -> None:
    def pause(self: Engine, session: Any, request: requests.PauseTube, now: int) -> bytes:
        return replies.PAUSED if request.tube in self.tubes else replies.NOT_FOUND

    patch.setattr(Engine, "_pause_tube", pause)


@planted(324, 326)
def the_jobs_of_one_who_leaves_are_buried(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def close(self: Engine, session: Any, now: int) -> None:
            for job in list(session.held.values()):
                self._let_go(job)
                self._bury_job(job)
            original(self, session, now)

        return close

    wrap(patch, Engine, "close", make)


@planted(508)
def peek_ready_looks_into_every_tube(patch: pytest.MonkeyPatch) -> None:
    def peek(self: Engine, session: Any, request: Any, now: int) -> bytes:
        firsts = [tube.ready.first() for tube in self.tube_order]
        found = [job for job in firsts if job is not None]
        return replies.found(found[0].id, found[0].body) if found else replies.NOT_FOUND

    patch.setattr(Engine, "_peek_ready", peek)


@planted(606)
def stats_tube_lacks_a_key(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def stats(self: Engine, session: Any, request: Any, now: int) -> bytes:
            told: bytes = original(self, session, request, now)
            _, _, document = told.partition(b"\r\n")
            kept = [one for one in document[:-2].split(b"\n") if not one.startswith(b"cmd-delete")]
            return replies.ok(b"\n".join(kept)) if told.startswith(b"OK") else told

        return stats

    wrap(patch, Engine, "_stats_tube", make)


@planted(607)
def a_priority_of_1024_is_urgent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queue, "URGENT_PRIORITY", 1025)


@planted(211, 212, 213)
def tubes_stay_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "_drop_if_unused", lambda _self, _tube: None)


@planted(328)
def a_half_close_ends_no_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "half_close", lambda _self, _session: None)


@planted(701)
def what_is_unknown_is_badly_formed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Engine, "_unknown_command", lambda _self, _session, _request, _now: replies.BAD_FORMAT
    )


@planted(714)
def quit_says_goodbye(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_quit", lambda _self, _session, _request, _now: b"GOODBYE\r\n")


@planted(319, 320)
def reserve_job_takes_ready_jobs_alone(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def reserve(self: Engine, session: Any, request: requests.ReserveJob, now: int) -> bytes:
            job = self.jobs.get(request.id)
            if job is not None and job.state in (DELAYED, BURIED):
                return replies.NOT_FOUND
            return original(self, session, request, now)  # type: ignore[no-any-return]

        return reserve

    wrap(patch, Engine, "_reserve_job", make)


@planted(310, 327)
def a_job_is_shown_to_who_waits_and_stays(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def hand(self: Engine, job: Any, session: Any, now: int) -> bytes:
            told: bytes = original(self, job, session, now)
            self._let_go(job)
            job.state = READY
            job.tube.ready.push(job)
            return told

        return hand

    wrap(patch, Engine, "_hand", make)


@planted(614)
def who_reserves_is_no_worker(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_make_worker", lambda _self, _session: None)


# -- those that take time ------------------------------------------------------------------------


@planted(810, 811)
def no_deadline_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "_deadline_soon", lambda _self, _session, _now: False)


@planted(806, 807, 808)
def a_ttr_never_ends(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def hand(self: Engine, job: Any, session: Any, now: int) -> bytes:
            told: bytes = original(self, job, session, now)
            job.deadline = now + 1000 * SECOND
            return told

        return hand

    wrap(patch, Queue, "_hand", make)


@planted(803, 804)
def delays_are_twice_as_long(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def put(self: Engine, session: Any, request: requests.Put, now: int) -> bytes:
            return original(self, session, request._replace(delay=2 * request.delay + 1), now)  # type: ignore[no-any-return]

        return put

    wrap(patch, Engine, "_put", make)


@planted(809, 816)
def touch_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    def touch(self: Engine, session: Any, request: requests.Touch, now: int) -> bytes:
        return replies.TOUCHED if request.id in session.held else replies.NOT_FOUND

    patch.setattr(Engine, "_touch", touch)


@planted(819)
def a_pause_never_ends(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def pause(self: Engine, session: Any, request: requests.PauseTube, now: int) -> bytes:
            longer = request._replace(delay=request.delay * 1000)
            return original(self, session, longer, now)  # type: ignore[no-any-return]

        return pause

    wrap(patch, Engine, "_pause_tube", make)


@planted(801, 802)
def waits_end_at_once(patch: pytest.MonkeyPatch) -> None:
    def make(original: Any) -> Any:
        def reserve(self: Engine, session: Any, _request: Any, now: int) -> bytes | None:
            return original(self, session, requests.ReserveWithTimeout(0), now)  # type: ignore[no-any-return]

        return reserve

    wrap(patch, Engine, "_reserve", make)
