"""Our extensions on a virtual clock: what they do, and that who has not asked sees none of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beanrow.engine import looking
from beanrow.engine import ready as ready_module
from beanrow.engine.engine import Engine
from beanrow.engine.limited import LimitedEngine, Room
from beanrow.errors import JobTooBigError, NotFoundError, UnknownCommandError
from beanrow.protocol.capabilities import AUTH, CAPABILITIES
from beanrow.protocol.commands import (
    bury,
    delete,
    list_tube_used,
    list_tubes,
    peek,
    peek_ready,
    put,
    release,
    reserve,
    reserve_job,
    reserve_with_timeout,
    touch,
    use,
    watch,
)
from beanrow.protocol.extensions import (
    ExistingId,
    capabilities,
    list_jobs,
    put_in_tube,
    put_unique,
    resume,
    session,
    truncate,
)
from beanrow.protocol.listing import STATES
from beanrow.protocol.values import Job
from tests.engine.peers import WAITING, Peer, VirtualQueue

TABLE = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.fixture(autouse=True)
def _asked(peer: Peer) -> None:
    """The first peer has asked for everything, the other for nothing."""
    assert peer(capabilities(*CAPABILITIES)) == CAPABILITIES


def asking(queue: VirtualQueue) -> Peer:
    """A new peer that has asked for everything."""
    peer = queue.peer()
    peer(capabilities(*CAPABILITIES))
    return peer


def taken(peer: Peer) -> Job:
    job = peer(reserve_with_timeout(0))
    assert job is not None
    return job


def test_the_document_has_every_word() -> None:
    words = re.findall(r"^\| `([a-z-]+)` \|", TABLE.read_text(), re.MULTILINE)
    assert sorted(words) == sorted({*CAPABILITIES, AUTH})


# -- capabilities -----------------------------------------------------------------


def test_without_words_it_only_tells(other: Peer) -> None:
    assert other(capabilities()) == CAPABILITIES
    with pytest.raises(UnknownCommandError):
        other(truncate("default"))


def test_a_word_is_switched_on_alone_and_for_one_connection(peer: Peer, other: Peer) -> None:
    third = peer.queue.peer()
    other(capabilities("truncate", "no-such-word"))
    assert other(truncate("default")) == 0
    assert other.send(b"put-in-tube a 0 0 1 7\r\n") == b"UNKNOWN_COMMAND\r\n"
    assert third.send(b"truncate default\r\n") == b"UNKNOWN_COMMAND\r\n"
    other(capabilities("put-in-tube"))
    assert other(put_in_tube("a", b"x")) == 1
    assert other(truncate("a")) == 1


def test_a_body_behind_a_word_that_is_not_switched_on_is_commands(other: Peer) -> None:
    said = other.send(b"put-in-tube a 0 0 60 7\r\nuse abc\r\n")
    assert said == b"UNKNOWN_COMMAND\r\nUSING abc\r\n"


def test_who_has_not_asked_meets_no_line_that_another_has_sent(peer: Peer, other: Peer) -> None:
    line = b"put-in-tube a 0 0 60 3\r\n"
    for _ in range(2):
        assert peer.send(line + b"abc\r\n").startswith(b"INSERTED ")
        assert other.send(line) == b"UNKNOWN_COMMAND\r\n"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"capabilities ", b"BAD_FORMAT"),
        (b"capabilities a  b", b"BAD_FORMAT"),
        (b"capabilities a\tb", b"BAD_FORMAT"),
        (b"capabilitiesx", b"UNKNOWN_COMMAND"),
        (b"put-in-tube", b"BAD_FORMAT"),
        (b"put-in-tube ", b"BAD_FORMAT"),
        (b"put-in-tube -a 0 0 1 1", b"BAD_FORMAT"),
        (b"put-in-tube a 0 0 1", b"BAD_FORMAT"),
        (b"put-in-tube a 0 0 1 1 ", b"BAD_FORMAT"),
        (b"put-in-tube a 0 0 1 -1", b"BAD_FORMAT"),
        (b"put-in-tube a 0 0 1 4294967296", b"BAD_FORMAT"),
        (b"put-in-tube " + b"a" * 201 + b" 0 0 1 1", b"BAD_FORMAT"),
        (b"put-unique k 0 0 0 1", b"BAD_FORMAT"),
        (b"put-unique -k 0 0 0 1 1", b"BAD_FORMAT"),
        (b"put-unique k -1 0 0 1 1", b"BAD_FORMAT"),
        (b"put-unique k 4294967296 0 0 1 1", b"BAD_FORMAT"),
        (b"list-jobs a", b"BAD_FORMAT"),
        (b"list-jobs a gone 0 1", b"BAD_FORMAT"),
        (b"list-jobs a ready 0 0", b"BAD_FORMAT"),
        (b"list-jobs a ready 0 1001", b"BAD_FORMAT"),
        (b"list-jobs a ready 18446744073709551616 1", b"BAD_FORMAT"),
        (b"session", b"BAD_FORMAT"),
        (b"session 0", b"BAD_FORMAT"),
        (b"session 86401", b"BAD_FORMAT"),
        (b"session -1", b"BAD_FORMAT"),
        (b"session 1 ", b"BAD_FORMAT"),
        (b"session " + b"0" * 200 + b"1", b"BAD_FORMAT"),
        (b"resume", b"BAD_FORMAT"),
        (b"resume a b", b"BAD_FORMAT"),
        (b"resume no-such-token", b"NOT_FOUND"),
        (b"truncate", b"BAD_FORMAT"),
        (b"truncate a b", b"BAD_FORMAT"),
        (b"truncate a\0b", b"BAD_FORMAT"),
        (b"truncatea", b"UNKNOWN_COMMAND"),
        (b"truncate \xff", b"BAD_FORMAT"),
        (b"\xff truncate", b"UNKNOWN_COMMAND"),
    ],
)
def test_a_malformed_line(peer: Peer, line: bytes, word: bytes) -> None:
    assert peer.send(line + b"\r\nlist-tube-used\r\n") == word + b"\r\nUSING default\r\n"


# -- more-stats -------------------------------------------------------------------


def test_who_asked_is_told_more(peer: Peer, other: Peer) -> None:
    first = peer(put_in_tube("a", b"12345", 9))
    peer.queue.pass_time(10)
    peer(put_in_tube("a", b"67", 1))
    peer(put_in_tube("a", b"8", 0, 100))
    figures = peer.tube("a")
    assert (figures.oldest_ready_age, figures.jobs_bytes) == (10, 8)
    assert list(figures.as_dict())[-2:] == ["oldest-ready-age", "jobs-bytes"]
    assert (other.tube("a").oldest_ready_age, other.tube("a").jobs_bytes) == (None, None)
    peer(delete(first))
    figures = peer.tube("a")
    assert (figures.oldest_ready_age, figures.jobs_bytes) == (0, 3)
    assert (peer.tube().oldest_ready_age, peer.tube().jobs_bytes) == (0, 0)
    server = peer.server()
    assert (server.store, server.promise) == ("memory", "none")
    assert (other.server().store, other.server().promise) == (None, None)


def test_the_oldest_is_found_behind_what_has_left_out_of_turn(peer: Peer) -> None:
    """Nothing is lost by looking: all jobs leave afterwards, in their order."""
    jobs = []
    for number in range(3000):
        peer.queue.pass_time(1)
        jobs.append(peer(put_in_tube("a", b"", 5 + number % 3)))
    for job in jobs[:1500]:
        peer(delete(job))
    assert peer.tube("a").oldest_ready_age == 1499
    peer(watch("a"))
    peer(reserve_job(jobs[1500]))
    assert peer.tube("a").oldest_ready_age == 1498
    peer(release(jobs[1500], 7, 0))
    assert peer.tube("a").oldest_ready_age == 1499
    left = [taken(peer).id for _ in range(1500)]
    by_priority = [7 if job == jobs[1500] else 5 + number % 3 for number, job in enumerate(jobs)]
    assert left == sorted(jobs[1500:], key=lambda job: (by_priority[job - jobs[0]], job))
    assert peer(reserve_with_timeout(0)) is None
    assert peer.tube("a").oldest_ready_age == 0


def test_so_many_priorities_that_not_all_are_looked_at(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_module, "_MOST_PRIORITIES", 10)
    for number in range(30):
        peer(put_in_tube("a", b"", number))
    peer.queue.pass_time(3)
    assert peer.tube("a").oldest_ready_age == 3


# -- jobs-with-tube ---------------------------------------------------------------


def test_a_job_comes_with_its_tube(peer: Peer, other: Peer) -> None:
    jobs = [peer(put_in_tube("a", b"x")) for _ in range(3)]
    peer(watch("a"))
    other(watch("a"))
    found = taken(peer)
    assert (found.id, found.tube, found.body) == (jobs[0], "a", b"x")
    assert peer(reserve_job(jobs[1])).tube == "a"
    assert peer(peek(jobs[2])).tube == "a"
    peer(use("a"))
    seen = peer(peek_ready())
    assert seen is not None
    assert seen.tube == "a"
    assert other(peek(jobs[0])).tube is None
    assert taken(other).tube is None
    assert other.send(b"peek %d\r\n" % jobs[0]) == b"FOUND %d 1\r\nx\r\n" % jobs[0]


def test_a_waiter_is_told_the_tube_if_it_has_asked(peer: Peer, other: Peer) -> None:
    for one in (peer, other):
        one(watch("a"))
        one.begin(reserve())
    third = peer.queue.peer()
    third(use("a"))
    for _ in range(2):
        third(put(b"x" * 5000))
    assert (peer.answer().tube, other.answer().tube) == ("a", None)


# -- put-in-tube ------------------------------------------------------------------


def test_a_job_goes_into_the_named_tube(peer: Peer, other: Peer) -> None:
    peer(use("mine"))
    job = peer(put_in_tube("a", b"body", 5, 0, 7))
    assert peer(list_tube_used()) == "mine"
    stats = peer.job(job)
    assert (stats.tube, stats.pri, stats.ttr, stats.state) == ("a", 5, 7, "ready")
    assert peer.tube("a").current_using == 0
    assert peer.server().cmd_put == peer.server().total_jobs == 1
    peer(delete(job))
    assert "a" not in peer(list_tubes())


def test_a_waiter_is_served(peer: Peer, other: Peer) -> None:
    other(watch("a"))
    other.begin(reserve())
    peer(put_in_tube("a", b"x"))
    assert other.answer().body == b"x"


def test_a_refused_put_leaves_no_tube(peer: Peer) -> None:
    peer.queue.engine.draining = True
    assert peer.send(b"put-in-tube a 0 0 1 1\r\nx\r\n") == b"DRAINING\r\n"
    assert peer.send(b"put-in-tube a 0 0 1 1\r\nxyz") == b"EXPECTED_CRLF\r\n"
    assert peer(list_tubes()) == ["default"]
    with pytest.raises(JobTooBigError) as refused:
        peer(put_in_tube("a", b"x" * 65536))
    assert "65536" in str(refused.value)


def test_limits_are_those_of_the_named_tube() -> None:
    queue = VirtualQueue()
    queue.engine = LimitedEngine(queue.now, room=Room(tube_jobs=1), max_job_size=100)
    peer = queue.peer()
    peer(capabilities(*CAPABILITIES))
    assert peer(put_in_tube("a", b"x")) == 1
    assert peer.send(b"put-in-tube a 0 0 1 1\r\nx\r\n") == b"OUT_OF_MEMORY\r\n"
    assert peer(put(b"x")) == 2
    assert peer(truncate("a")) == 1
    assert peer(put_in_tube("a", b"x")) == 3


# -- put-unique -------------------------------------------------------------------


def test_a_key_is_taken_while_its_job_exists(peer: Peer, other: Peer) -> None:
    job = peer(put_unique("k", b"x"))
    again = peer(put_unique("k", b"y"))
    assert again == job
    assert isinstance(again, ExistingId)
    assert not isinstance(job, ExistingId)
    assert peer(put_unique("l", b"y")) == job + 1  # EXISTS uses up no id
    other(reserve_job(job))
    assert peer(put_unique("k", b"y")) == job
    other(delete(job))
    assert peer(put_unique("k", b"y")) == job + 2
    assert (peer.server().cmd_put, peer.server().total_jobs, peer.tube().total_jobs) == (5, 3, 3)


def test_a_key_is_taken_until_its_lifetime_is_over(peer: Peer) -> None:
    job = peer(put_unique("k", b"x", lifetime=10))
    peer(delete(job))
    peer.queue.pass_time(9.9)
    assert peer(put_unique("k", b"x")) == job
    peer.queue.pass_time(0.1)
    assert peer(put_unique("k", b"x")) == job + 1
    peer.queue.pass_time(100)
    assert peer(put_unique("k", b"x")) == job + 1


def test_nothing_is_left_of_a_key_that_is_free(peer: Peer) -> None:
    keys = peer.queue.engine.keys
    for number in range(3000):
        peer(delete(peer(put_unique(f"k{number}", b"x", lifetime=number % 5))))
    assert len(keys.by_name) > 1000
    peer.queue.pass_time(4)
    assert (len(keys.by_name), len(keys.of_job), keys.size) == (0, 0, 0)
    assert peer.queue.engine.next_deadline() is None


def test_each_tube_has_its_own_keys_and_they_outlive_it(peer: Peer) -> None:
    first = peer(put_unique("k", b"x", lifetime=10))
    peer(use("a"))
    second = peer(put_unique("k", b"x", lifetime=10))
    assert second == first + 1
    peer(truncate("a"))
    peer(use("default"))
    assert peer(list_tubes()) == ["default"]
    peer(use("a"))
    assert peer(put_unique("k", b"x")) == second


def test_a_refused_put_takes_no_key(peer: Peer) -> None:
    peer(put_unique("k", b"x"))
    peer.queue.engine.draining = True
    assert peer.send(b"put-unique l 9 0 0 1 1\r\nx\r\n") == b"DRAINING\r\n"
    assert peer.send(b"put-unique k 9 0 0 1 1\r\nx\r\n") == b"EXISTS 1\r\n"
    peer.queue.engine.draining = False
    assert not isinstance(peer(put_unique("l", b"x")), ExistingId)


def test_keys_count_where_memory_is_limited() -> None:
    queue = VirtualQueue()
    queue.engine = LimitedEngine(queue.now, room=Room(memory=10_000), max_job_size=100)
    peer = queue.peer()
    peer(capabilities(*CAPABILITIES))
    kept = 0
    while peer.send(b"put-unique k%d 9 0 0 1 1\r\nx\r\n" % kept).startswith(b"INSERTED"):
        kept += 1
        peer(truncate("default"))
    assert 10 < kept < 30
    assert peer.send(b"put-unique k0 9 0 0 1 1\r\nx\r\n") == b"EXISTS 1\r\n"
    peer(put(b"x"))
    queue.pass_time(9)
    assert peer.send(b"put-unique k 9 0 0 1 1\r\nx\r\n").startswith(b"INSERTED")


# -- list-jobs --------------------------------------------------------------------


def test_jobs_are_listed_by_state_and_id(peer: Peer, other: Peer) -> None:
    jobs = [peer(put_in_tube("a", b"x" * size, 9 - size)) for size in range(5)]
    peer(put_in_tube("b", b"x"))
    held, delayed = jobs[1], peer(put_in_tube("a", b"", delay=9))
    other(reserve_job(held))
    found = {state: peer(list_jobs("a", state)) for state in STATES}
    assert [job.id for job in found["ready"].jobs] == [jobs[0], *jobs[2:]]
    assert [job.bytes for job in found["ready"].jobs] == [0, 2, 3, 4]
    assert [job.id for job in found["reserved"].jobs] == [held]
    assert [job.time_left for job in found["delayed"].jobs] == [peer.job(delayed).time_left]
    assert found["buried"] == ([], None)
    listed = found["ready"].jobs[0]
    assert listed.as_dict() == {**peer.job(jobs[0]).as_dict(), "bytes": 0}
    with pytest.raises(NotFoundError):
        peer(list_jobs("c", "ready"))


def test_pages_follow_each_other(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_MOST_LOOKED_AT", 7)
    monkeypatch.setattr(looking, "_FEW", 0)
    jobs = [peer(put_in_tube("ab"[number % 5 == 0], b"x")) for number in range(50)]
    seen: list[int] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        page = peer(list_jobs("b", "ready", after, 2))
        seen += [job.id for job in page.jobs]
        after, pages = page.after, pages + 1
    assert seen == jobs[::5]
    assert pages >= 50 // 7


# -- session and resume -----------------------------------------------------------


def test_a_lost_connection_keeps_its_jobs_for_its_grace(peer: Peer, other: Peer) -> None:
    jobs = [peer(put(b"x", ttr=60)) for _ in range(2)]
    token = peer(session(10))
    for job in jobs:
        peer(reserve_job(job))
    peer.close()
    peer.queue.pass_time(9)
    assert other.job(jobs[0]).state == "reserved"
    with pytest.raises(NotFoundError):
        other(delete(jobs[0]))
    third = asking(peer.queue)
    assert third(resume(token)) == jobs
    third.queue.pass_time(20)  # the grace was for the connection that is gone
    third(touch(jobs[0]))
    third(delete(jobs[1]))
    assert other.server().current_jobs_reserved == 1


def test_jobs_go_back_when_the_grace_is_over(peer: Peer, other: Peer) -> None:
    first = peer(put(b"x", 5))
    second = peer(put(b"x", 5))
    token = peer(session(10))
    peer(reserve_job(second))
    peer(reserve_job(first))
    other.begin(reserve())
    peer.close()
    assert other.answer() is WAITING
    peer.queue.pass_time(10)
    assert other.answer().id == second  # in the order of their reservation
    third = asking(peer.queue)
    with pytest.raises(NotFoundError, match="its grace is over, or the server was restarted"):
        third(resume(token))
    stats = third.job(first)
    assert (stats.state, stats.timeouts, stats.releases) == ("ready", 0, 0)


def test_ttr_runs_on_while_nobody_is_there(peer: Peer, other: Peer) -> None:
    short, long = peer(put(b"x", ttr=3)), peer(put(b"x", ttr=60))
    token = peer(session(10))
    peer(reserve_job(short))
    peer(reserve_job(long))
    peer.close()
    peer.queue.pass_time(5)
    assert (other.job(short).state, other.job(short).timeouts) == ("ready", 1)
    third = asking(peer.queue)
    assert third(resume(token)) == [long]
    peer.queue.pass_time(55)
    assert other.job(long).timeouts == 1  # also by an alarm of who took over


def test_a_session_is_over_with_its_last_job(peer: Peer) -> None:
    """So that nobody can leave more of them behind than there are jobs."""
    peer(put(b"x", ttr=3))
    peer(session(86_400))
    taken(peer)
    peer.close()
    peer.queue.pass_time(3)
    assert list(peer.queue.engine.tokens.sessions()) == []
    assert peer.queue.engine.next_deadline() is None


def test_a_session_goes_over_while_its_first_connection_lives(peer: Peer, other: Peer) -> None:
    job = peer(put(b"x"))
    token = peer(session(10))
    peer(reserve_job(job))
    peer.begin(reserve())  # and is dead, which nobody knows
    third = asking(peer.queue)
    assert third(resume(token)) == [job]
    assert peer.session.closing
    peer.close()
    third(put(b"y"))
    assert taken(third).body == b"y"
    assert other.server().current_connections == 2
    third.close()
    fourth = asking(peer.queue)
    assert len(fourth(resume(token))) == 2


def test_who_takes_leave_keeps_nothing(peer: Peer, other: Peer) -> None:
    job = peer(put(b"x"))
    token = peer(session(10))
    peer(reserve_job(job))
    peer.send(b"quit\r\n")
    peer.close()
    assert other.job(job).state == "ready"
    with pytest.raises(NotFoundError):
        asking(peer.queue)(resume(token))


def test_a_session_without_jobs_ends_with_its_connection(peer: Peer) -> None:
    token = peer(session(10))
    peer.close()
    assert list(peer.queue.engine.tokens.sessions()) == []
    assert peer.queue.engine.next_deadline() is None
    with pytest.raises(NotFoundError):
        asking(peer.queue)(resume(token))


def test_a_connection_has_one_session(peer: Peer) -> None:
    job = peer(put(b"x"))
    token = peer(session(10))
    assert peer(session(1)) == token  # with another grace
    peer(reserve_job(job))
    assert peer(resume(token)) == [job]
    third = asking(peer.queue)
    own = third(session(5))
    third(reserve_job(third(put(b"y"))))
    peer.close()
    assert third(resume(token)) == [job]
    assert third.session.token == token
    with pytest.raises(NotFoundError):
        asking(peer.queue)(resume(own))


def test_an_engine_that_can_draw_no_tokens_has_no_sessions() -> None:
    queue = VirtualQueue()
    queue.engine = Engine(queue.now)
    peer = queue.peer()
    assert peer(capabilities(*CAPABILITIES)) == CAPABILITIES - {"session", "resume"}
    with pytest.raises(UnknownCommandError):
        peer(session(1))


# -- truncate ---------------------------------------------------------------------


def test_all_but_the_reserved_are_deleted(peer: Peer, other: Peer) -> None:
    ready, delayed, buried, held = (
        peer(put_in_tube("a", b"x", 5 + delay, delay)) for delay in (0, 9, 0, 0)
    )
    elsewhere = peer(put(b"x", 5))
    other(reserve_job(buried))
    other(bury(buried, 0))
    other(reserve_job(held))
    assert peer(truncate("a")) == 3
    figures = peer.tube("a")
    assert (figures.current_jobs_reserved, figures.cmd_delete) == (1, 3)
    left = figures.current_jobs_ready, figures.current_jobs_delayed, figures.current_jobs_buried
    assert left == (0, 0, 0)
    assert (figures.current_jobs_urgent, peer.server().current_jobs_urgent) == (0, 1)
    for job in (ready, delayed, buried):
        with pytest.raises(NotFoundError):
            peer.job(job)
    assert peer.job(elsewhere).state == "ready"
    other(delete(held))
    assert "a" not in peer(list_tubes())
    with pytest.raises(NotFoundError, match="no such tube"):
        peer(truncate("a"))


def test_nothing_comes_back_when_its_time_comes(peer: Peer) -> None:
    peer(put_in_tube("a", b"x", 0, 3))
    peer(watch("a"))
    assert peer(truncate("a")) == 1
    peer.queue.pass_time(5)
    assert peer(reserve_with_timeout(0)) is None


def test_a_tube_that_is_used_stays(peer: Peer) -> None:
    peer(use("a"))
    peer(put(b"x"))
    assert peer(truncate("a")) == 1
    assert peer(truncate("a")) == 0
    assert peer.tube("a").total_jobs == 1
