"""The tasks that the workers of these tests run, and the ledger outside of them.

The environment says where: BEANSTALKD_URL, TUBE (what all tube names begin with) and LEDGER, a
file to which each run appends a line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

from beanrow import App, Middleware, Retry, Run, current_job

TUBE = os.environ["TUBE"]
LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def tell(*words: object) -> None:
    """Append a line: one write, so that lines of several processes never mix."""
    os.write(LEDGER, (" ".join(map(str, words)) + "\n").encode())


class Tell(Middleware):
    def on_bury(self, run: Run, why: str) -> None:
        tell("buried", run.id, why)

    def on_crash(self, run: Run) -> None:
        tell("crash", run.id)

    def on_lease_lost(self, run: Run) -> None:
        tell("lost", run.id)


app = App(middleware=[Tell()])
small = App(middleware=[Tell()])


@app.task(tube=f"{TUBE}-note")
def note(n: int) -> None:
    tell("ran", n, os.getpid())


@small.task(tube=f"{TUBE}-tiny", ttr=1, batch=16)
def tiny(n: int, seconds: float = 0) -> None:
    if seconds:
        tell("began", n, os.getpid())
        time.sleep(seconds)
    tell("ran", n, os.getpid())


@app.task(tube=f"{TUBE}-fail")
def fail(n: int) -> None:
    raise ValueError("no good")


@app.task(tube=f"{TUBE}-sleep", ttr=1)
def sleep(n: int, seconds: float) -> None:
    tell("began", n, os.getpid())
    time.sleep(seconds)
    tell("ran", n, os.getpid())


@app.task(tube=f"{TUBE}-hog", ttr=1)
def hog(n: int, seconds: float) -> None:
    """Hold the interpreter: one long step of C, in which no other thread runs."""
    tell("began", n, os.getpid())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pow(7, 10**6 * 2)
    tell("ran", n, os.getpid())


@app.task(tube=f"{TUBE}-stuck")
def stuck(n: int) -> None:
    """Hold the interpreter for minutes: no other thread of the process runs again."""
    tell("began", n, os.getpid())
    sum(range(10**11))


@app.task(tube=f"{TUBE}-later", ttr=1)
async def later(n: int, seconds: float) -> None:
    tell("began", n, os.getpid())
    await asyncio.sleep(seconds)
    tell("ran", n, os.getpid())


@app.task(tube=f"{TUBE}-block", ttr=1)
async def block(n: int, seconds: float) -> None:
    """Block the loop, as nobody should."""
    tell("began", n, os.getpid())
    time.sleep(seconds)  # noqa: ASYNC251
    tell("ran", n, os.getpid())


@app.task(tube=f"{TUBE}-kill", retry=Retry(9, delay=0))
def kill(n: int) -> None:
    tell("began", n, os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(tube=f"{TUBE}-soft", time_limit=0.3)
def soft(n: int) -> None:
    tell("began", n, os.getpid())
    time.sleep(20)


@app.task(tube=f"{TUBE}-hard", hard_time_limit=0.5)
def hard(n: int) -> None:
    tell("began", n, os.getpid())
    while True:
        time.sleep(1)


@app.task(tube=f"{TUBE}-until")
def until_lost(n: int) -> None:
    tell("began", n, os.getpid())
    while not current_job().lease_lost:
        time.sleep(0.01)
    tell("told", n, os.getpid())
