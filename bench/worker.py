"""`python -m bench.worker`: our worker beside the task queues of Python, in one run.

Laws:
- Each job's last act appends a record to one file: done, lost and double are counted there, by
  the same 2 us for all. A queue that looks empty proves nothing.
- Each framework in the layout that suits it on two cores, ten slots in all, results off, its
  server in memory on loopback. Workers are not pinned: ten processes need both cores.
- A producer is, to its server's core.
- The outer loop is the round, so that a slow minute falls on all. Medians.
- What is started is ended by its process id. A peer that is not installed is left out, by name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.child import ROOT, end, pin
from bench.contender import HOST, Contender, Running, running
from bench.goals import Goal, Verdict, summary
from bench.machine import BenchError, cores, facts, find_program
from bench.workers.record import Ran, read

SLOTS = 10
NAPPING = 100
PATIENCE = 90.0
PY = sys.executable


class Peer(NamedTuple):
    """One framework in one layout: its package and module, its server, and its worker.

    ``worker`` is a command with {python}, {bin}, {slots}, {half} (of the slots), {tube}, {url}.
    """

    name: str
    package: str
    module: str
    server: str
    worker: str
    jobs: int = 20_000
    naps: bool = False
    produces: bool = False

    def command(self, slots: int, tube: str, url: str) -> list[str]:
        places = {
            "python": sys.executable, "bin": Path(sys.executable).parent, "slots": slots,
            "half": slots // 2, "tube": tube, "url": url,
        }  # fmt: skip
        return [word.format(**places) for word in self.worker.split()]


_OURS = "{python} -m beanrow.worker bench.workers.beanrow_peer:app_{tube} --log-level warning "
_OURS_BATCH = _OURS.replace("beanrow_peer", "beanrow_batch_peer")
_OURS_ASYNC = _OURS.replace("beanrow_peer", "beanrow_async_peer")
_BARE = "{python} -m bench.workers.greenstalk_peer "
_CELERY = (
    "{python} -m celery -A bench.workers.celery_peer worker -l ERROR -c {slots} "
    "--without-gossip --without-mingle --without-heartbeat -P "
)
_DRAMATIQ = "{python} -m dramatiq bench.workers.dramatiq_peer -p 1 -t {slots}"
_HUEY = "{python} {bin}/huey_consumer bench.workers.huey_peer.huey -q -w {slots} -k "
_RQ = "{bin}/rq worker-pool bench -n {slots} -q -u {url} -w rq.worker.SimpleWorker"
_TASKIQ = (
    "{bin}/taskiq worker bench.workers.taskiq_peer:broker --log-level ERROR --workers 2 "
    "--max-async-tasks {half}"
)

OURS_THREADS = Peer(
    "beanrow threads", "beanrow", "beanrow_peer", "beanstalkd", _OURS + "--threads {slots}",
    naps=True, produces=True,
)  # fmt: skip
OURS_PROCESSES = Peer(
    "beanrow processes", "beanrow", "beanrow_peer", "beanstalkd",
    _OURS + "--processes {slots}",
)  # fmt: skip
OURS_TASKS = Peer(
    "beanrow tasks", "beanrow", "beanrow_async_peer", "beanstalkd",
    _OURS_ASYNC + "--tasks {slots}", naps=True,
)  # fmt: skip
# One slot, and held against no goal: no peer takes several jobs at a time and loses none.
OURS_BATCHES = Peer(
    "beanrow 1 thr. batch",
    "beanrow",
    "beanrow_batch_peer",
    "beanstalkd",
    _OURS_BATCH + "--threads 1",
)
BARE = Peer(
    "greenstalk threads", "greenstalk", "greenstalk_peer", "beanstalkd", _BARE + "threads {slots} {tube}",
    naps=True, produces=True,
)  # fmt: skip
BARE_PROCESSES = Peer(
    "greenstalk proc.",
    "greenstalk",
    "greenstalk_peer",
    "beanstalkd",
    _BARE + "processes {slots} {tube}",
)
HUEY_PROCESSES = Peer("Huey processes", "huey", "huey_peer", "redis", _HUEY + "process")
TASKIQ = Peer(
    "Taskiq 2x5", "taskiq_redis", "taskiq_peer", "redis", _TASKIQ, naps=True, produces=True
)
FRAMEWORKS = (
    Peer("RQ 10 simple", "rq", "rq_peer", "redis", _RQ, jobs=3000, produces=True),
    Peer(
        "Celery threads", "celery", "celery_peer", "redis", _CELERY + "threads", jobs=5000,
        naps=True, produces=True,
    ),
    Peer("Celery prefork", "celery", "celery_peer", "redis", _CELERY + "prefork", jobs=5000),
    Peer("Dramatiq 1x10", "dramatiq", "dramatiq_peer", "redis", _DRAMATIQ, naps=True, produces=True),
    Peer("Huey threads", "huey", "huey_peer", "redis", _HUEY + "thread", naps=True, produces=True),
    HUEY_PROCESSES,
    TASKIQ,
)  # fmt: skip
OURS = (OURS_THREADS, OURS_PROCESSES, OURS_TASKS, OURS_BATCHES)
PEERS = (*OURS, BARE, BARE_PROCESSES, *FRAMEWORKS)


# -- one run ----------------------------------------------------------------------


class Drained(NamedTuple):
    """How a worker emptied the queue: jobs a second from the first record to the last."""

    rate: float
    start: float
    """Seconds from launch to the first record."""


class Light(NamedTuple):
    """A worker under light load: latency in ms, CPU in percent, memory in MB (PSS)."""

    p50: float
    p99: float
    cpu: float
    pss: float


def redis() -> Contender:
    program = find_program("redis-server")
    return Contender(
        "redis", (program, "--save", "", "--appendonly", "no", "--bind", HOST, "--port")
    )


def daemon() -> Contender:
    return Contender("beanstalkd", (find_program("beanstalkd"), "-l", HOST, "-p"))


@contextlib.contextmanager
def _redis_running() -> Iterator[Running]:
    """A fresh Redis; it tells no pid in the way that `running` asks, so it is waited for here."""
    import socket

    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [*redis().command, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                break
            time.sleep(0.01)
        else:
            raise BenchError("redis-server did not start")
        yield Running(process.pid, port)
    finally:
        end(process)


class Bench:
    """A fresh server of a peer's kind, and a file of records."""

    def __init__(self, peer: Peer, file: str, url: str, server: int) -> None:
        self.peer = peer
        self.server = server
        self.file = file
        self._url = url
        self._environment = {
            **os.environ, "BENCH_FILE": file, "BENCH_URL": url, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def produce(self, way: str, count: int, core: int | None = None) -> float:
        """Put so many jobs; gives the seconds it took. With ``core``, the producer stays there."""
        process = subprocess.Popen(
            [PY, "-m", "bench.workers.producer", f"bench.workers.{self.peer.module}", way, str(count)],
            cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if core is not None:
            pin(process, core)
        told, errors = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise BenchError(f"{self.peer.name} cannot put: {errors.strip()[-1500:]}")
        return float(dict(word.split("=") for word in told.split())["seconds"])

    @contextlib.contextmanager
    def working(self, slots: int, tube: str) -> Iterator[subprocess.Popen[str]]:
        """A worker, in a process group of its own, which is ended as a whole."""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                self.peer.command(slots, tube, self._url), cwd=ROOT, env=self._environment,
                stdout=output, stderr=output, text=True, process_group=0,
            )  # fmt: skip
            try:
                yield process
                if process.poll() is not None:
                    output.seek(0)
                    raise BenchError(f"{self.peer.name} ended: {output.read()[-1500:]}")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_for(self, count: int, process: subprocess.Popen[str]) -> None:
        give_up = time.monotonic() + PATIENCE
        while os.path.getsize(self.file) < 32 * count:
            if process.poll() is not None or time.monotonic() > give_up:
                done = os.path.getsize(self.file) // 32
                raise BenchError(f"{self.peer.name}: only {done} of {count} jobs ran")
            time.sleep(0.002)

    def records(self, count: int) -> list[Ran]:
        ran = [one for one in read(self.file) if one.id >= 0]
        if len({one.id for one in ran}) != count or len(ran) != count:
            raise BenchError(
                f"{self.peer.name}: {len(ran)} runs of {count} jobs, "
                f"{len({one.id for one in ran})} different ones"
            )
        return ran


@contextlib.contextmanager
def bench(peer: Peer) -> Iterator[Bench]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file, contextlib.ExitStack() as stack:
        if peer.server == "redis":
            server = stack.enter_context(_redis_running())
            url = f"redis://{HOST}:{server.port}/0"
        else:
            server = stack.enter_context(running(daemon(), cores().server))
            os.sched_setaffinity(server.pid, os.sched_getaffinity(0))
            url = f"{HOST}:{server.port}"
        yield Bench(peer, file.name, url, server.pid)


def drain(peer: Peer, way: str, slots: int, jobs: int) -> Drained:
    """Put the jobs, then start the worker."""
    with bench(peer) as one:
        one.produce(way, jobs)
        began = time.monotonic_ns()
        with one.working(slots, "nap" if way == "nap" else "noop") as process:
            # A worker of ours, or a bare loop, watches one tube; the warm-up job is in `noop`.
            warm_up = 0 if way == "nap" and peer.server != "redis" else 1
            one.wait_for(jobs + warm_up, process)
        ran = one.records(jobs)
    first, last = min(one.ran_at for one in ran), max(one.ran_at for one in ran)
    return Drained((len(ran) - 1) / ((last - first) / 1e9), (first - began) / 1e9)


def enqueue(peer: Peer, way: str, jobs: int) -> float:
    """Jobs put a second, producer and server on one core.

    Across cores a put one by one is mostly waking the other side up, 25 or 90 us by chance.
    """
    core = cores().load
    with bench(peer) as one:
        os.sched_setaffinity(one.server, {core})
        return jobs / one.produce(way, jobs, core)


def light(peer: Peer, jobs: int) -> Light:
    """A worker that waits, and now and then gets a job."""
    with bench(peer) as one, one.working(SLOTS, "noop") as process:
        one.produce("loop", 100)  # all slots have run
        one.wait_for(101, process)
        time.sleep(1)
        before, clock = _cpu(process.pid), time.monotonic()
        one.produce("light", jobs)
        one.wait_for(102 + jobs, process)
        cpu = (_cpu(process.pid) - before) / (time.monotonic() - clock) * 100
        pss = _pss(process.pid)
        ran = read(one.file)[-jobs:]
    waits = sorted((one.ran_at - one.put_at) / 1e6 for one in ran)
    return Light(statistics.median(waits), waits[int(len(waits) * 0.99)], cpu, pss)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def _cpu(pid: int) -> float:
    ticks = 0
    for one in _tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> float:
    size = 0
    for one in _tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    size += int(line.split()[1])
    return size / 1024


# -- the report -------------------------------------------------------------------


class Results(NamedTuple):
    drained: dict[str, list[Drained]]
    napped: dict[str, list[float]]
    put: dict[str, list[float]]
    bulk: dict[str, list[float]]
    light: dict[str, list[Light]]


def measure(peers: Sequence[Peer], rounds: int, jobs: int, tell: Callable[[str], None]) -> Results:
    results = Results({}, {}, {}, {}, {})
    for turn in range(rounds):
        for peer in peers:
            tell(f"round {turn + 1}/{rounds}: {peer.name}")
            count = min(jobs, peer.jobs)
            results.drained.setdefault(peer.name, []).append(drain(peer, "loop", SLOTS, count))
            if peer.naps:
                napped = drain(peer, "nap", NAPPING, min(jobs, 5000)).rate
                results.napped.setdefault(peer.name, []).append(napped)
            if peer.produces:
                results.put.setdefault(peer.package, []).append(enqueue(peer, "loop", 5000))
                module = importlib.import_module(f"bench.workers.{peer.module}")
                if module.bulk is not None:
                    results.bulk.setdefault(peer.package, []).append(enqueue(peer, "bulk", 20_000))
            if turn == 0:
                results.light.setdefault(peer.name, []).append(light(peer, 60))
    return results


def report(peers: Sequence[Peer], results: Results) -> list[str]:
    head = f"{'':20}{'no-op jobs/s':>24}{'10 ms jobs/s':>14}{'put/s':>9}{'bulk/s':>9}"
    head += f"{'start s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU %':>7}{'PSS MB':>8}"
    lines = [head]
    for peer in peers:
        drained = results.drained[peer.name]
        rates = [one.rate for one in drained]
        shown = f"{_middle(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
        line = f"{peer.name:20}{shown:>24}{_cell(results.napped.get(peer.name)):>14}"
        puts = results.put.get(peer.package) if peer.produces else None
        bulks = results.bulk.get(peer.package) if peer.produces else None
        line += f"{_cell(puts):>9}{_cell(bulks):>9}{_middle([one.start for one in drained]):>9.2f}"
        one = results.light[peer.name][0]
        lines.append(line + f"{one.p50:>8.2f}{one.p99:>8.2f}{one.cpu:>7.2f}{one.pss:>8.1f}")
    return lines


def verdicts(results: Results) -> list[Verdict]:
    """Hold our figures against the goals, as far as the peers were there."""
    rate = {name: _middle([one.rate for one in runs]) for name, runs in results.drained.items()}
    put = {name: _middle(runs) for name, runs in results.put.items()}
    bulk = {name: _middle(runs) for name, runs in results.bulk.items()}
    others = [one.name for one in FRAMEWORKS if one.name in rate]
    found: list[Verdict] = []

    def add(what: str, ours: float, theirs: float | None, goal: Goal, unit: str = "x") -> None:
        if theirs is not None:
            found.append(Verdict(what, ours / theirs, goal, unit))

    best = max((rate[name] for name in others), default=None)
    threads, processes = rate[OURS_THREADS.name], rate[OURS_PROCESSES.name]
    add("threads / best framework", threads, best, Goal(1.5))
    add("threads / bare greenstalk", threads, rate.get(BARE.name), Goal(1.2))
    add("processes / best framework", processes, best, Goal(2.0))
    add("tasks / Taskiq 2x5", rate[OURS_TASKS.name], rate.get(TASKIQ.name), Goal(2.5))
    ideal = NAPPING / 0.01
    add("10 ms in tasks / ideal", _middle(results.napped[OURS_TASKS.name]), ideal, Goal(0.85))
    add("10 ms in threads / ideal", _middle(results.napped[OURS_THREADS.name]), ideal, Goal(0.6))
    frameworks = {one.package for one in FRAMEWORKS}
    ours = "beanrow"
    puts = [value for name, value in put.items() if name in frameworks]
    bulks = [value for name, value in bulk.items() if name in frameworks]
    add("put / best framework", put[ours], max(puts, default=None), Goal(2.0))
    add("put_many / best bulk call", bulk[ours], max(bulks, default=None), Goal(5.0))
    for peer in (OURS_THREADS, OURS_PROCESSES, OURS_TASKS):
        one = results.light[peer.name][0]
        start = _middle([run.start for run in results.drained[peer.name]])
        add(f"{peer.name}: latency p50", one.p50, 1, Goal(0.7, at_most=True), "ms")
        add(f"{peer.name}: latency p99", one.p99, 1, Goal(5.0, at_most=True), "ms")
        add(f"{peer.name}: CPU under light load", one.cpu, 1, Goal(0.5, at_most=True), "%")
        add(f"{peer.name}: start to first job", start, 1, Goal(0.15, at_most=True), "s")
        most = 60.0 if peer is OURS_PROCESSES else 30.0
        add(f"{peer.name}: memory", one.pss, 1, Goal(most, at_most=True), "MB")
    return found


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def _cell(values: Sequence[float] | None) -> str:
    return f"{_middle(values):,.0f}" if values else "-"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--only", help="peers whose name holds this, and ours")
    options = parser.parse_args()
    peers = [
        one
        for one in PEERS
        if importlib.util.find_spec(one.package) is not None
        and (not options.only or one.package == "beanrow" or options.only in one.name)
    ]
    left_out = sorted({one.name for one in PEERS} - {one.name for one in peers})
    print("\n".join(["WORKER: beanrow beside the task queues of Python", "", *facts()]))
    print(f"left out: {', '.join(left_out) or 'nobody'}\n", flush=True)

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        results = measure(peers, options.rounds, options.jobs, tell)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    tell("")
    print("\n".join([*report(peers, results), "", *summary(verdicts(results))]))
    for one in verdicts(results):
        print(f"  {one.line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
