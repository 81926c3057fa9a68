"""The table of all jobs: a mapping by id that grows and shrinks in small steps."""

from __future__ import annotations

import random

import pytest

from beanrow.engine.job import Job, new_job
from beanrow.engine.jobs import Jobs
from beanrow.engine.tube import Tube
from beanrow.protocol.request_stream import RequestStream, _known_lines
from beanrow.protocol.requests import Put

TUBE = Tube("a", 0)


def job(number: int) -> Job:
    return new_job(number, TUBE, 0, 0, 1, b"", 0)


def filled(numbers: range) -> Jobs:
    jobs = Jobs()
    for number in numbers:
        jobs.add(job(number))
    return jobs


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_what_a_dict_would(seed: int) -> None:
    pick = random.Random(seed)
    jobs, plain = Jobs(), {}
    for number in range(5_000):
        if pick.random() < 0.9:  # some ids are never given out
            plain[number] = job(number)
            jobs.add(plain[number])
        if plain and pick.random() < 0.7:
            gone = pick.choice(list(plain)[:50])
            jobs.remove(plain.pop(gone))
            assert jobs.find(gone) is None
    assert list(jobs.items()) == list(plain.items())
    assert len(jobs) == len(plain)
    assert jobs.find(10**12) is None
    after = pick.randrange(5_000)
    assert list(jobs.after(after)) == [one for number, one in plain.items() if number > after]


def test_what_is_not_there_cannot_be_removed() -> None:
    jobs = filled(range(10))
    for absent in (10, 10**9):
        with pytest.raises(KeyError):
            jobs.remove(job(absent))


def test_a_page_goes_with_its_last_job_and_shrinks_before() -> None:
    jobs = filled(range(100_000))
    for number in range(100_000):
        if number % 1_000:
            jobs.remove(jobs[number])
    assert len(jobs) == 100
    pages = list(jobs._pages.values())
    assert len(pages) <= 101, "one for each job that is left, and the newest"
    assert max(page.__sizeof__() for page in pages[:-1]) < 500


def test_lines_that_are_all_different_are_not_remembered() -> None:
    stream = RequestStream(100)
    before = len(_known_lines)
    for priority in range(10_000, 20_000):
        stream.feed(b"put %d 0 77 1\r\nx\r\n" % priority)
        assert stream.next() == Put(priority, 0, 77, b"x")
    assert len(_known_lines) - before < 10


def test_that_many_jobs_have_left_is_told_once() -> None:
    jobs = filled(range(200_000))
    told = []
    for number in range(200_000):
        jobs.remove(jobs[number])
        if jobs.have_emptied():
            told.append(len(jobs))
    assert len(told) == 1
    assert told[0] <= 11_000
    for number in range(200_000, 210_000):
        jobs.add(job(number))
        jobs.remove(jobs[number])
        assert not jobs.have_emptied()
