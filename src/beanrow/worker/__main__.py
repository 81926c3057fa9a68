"""The program behind ``beanrow work``, also ``python -m beanrow.worker``: standard library only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beanrow.errors import BeanstalkError
from beanrow.worker.shutdown import Signals

if TYPE_CHECKING:
    from beanrow.worker.app import App

__all__ = ["main"]

DEFAULT_THREADS = 10
DEFAULT_GRACE = 30.0


def main(arguments: Sequence[str], prog: str = "python -m beanrow.worker") -> int:
    """Run a worker until it is told to stop; the exit status."""
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    if options.reload:
        from beanrow.worker.reload import run_reloading

        return run_reloading([one for one in arguments if one != "--reload"])
    if options.processes is None and (options.max_jobs or options.max_memory):
        parser.error("--max-jobs and --max-memory replace processes: they go with --processes")
    try:
        app = load(options.app)
        if options.server is not None:
            app.use_server(options.server)
        _log(options.log_level, as_json=options.log_json)
        return _run(app, options)
    except BeanstalkError as error:
        sys.stderr.write(f"{prog}: {error}\n")
        return 2


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run the jobs of an app's tasks.",
        epilog="SIGTERM or Ctrl-C: take no more jobs, let running ones end, give back the rest "
        "after --grace; a second one: now. Example: beanrow work shop.tasks:app --threads 10",
    )
    parser.add_argument("app", metavar="module:app", help="where the App is")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--threads", type=_number, metavar="N", help=f"default {DEFAULT_THREADS}")
    kind.add_argument("--processes", type=_number, metavar="N")
    kind.add_argument("--tasks", type=_number, metavar="N", help="asyncio tasks in one process")
    parser.add_argument("--server", metavar="HOST:PORT", help="instead of the app's own")
    parser.add_argument(
        "--grace", type=float, default=DEFAULT_GRACE, metavar="SECONDS",
        help="that running jobs have to end (default 30)",
    )  # fmt: skip
    parser.add_argument(
        "--max-jobs", type=_number, metavar="N", help="replace a process after so many jobs"
    )
    parser.add_argument(
        "--max-memory", type=_number, metavar="MIB", help="replace a process above this size"
    )
    parser.add_argument(
        "--health", metavar="HOST:PORT", help="answer HTTP there: 200 while all is well"
    )
    parser.add_argument("--reload", action="store_true", help="start anew when a file changes")
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    parser.add_argument("--log-json", action="store_true", help="log lines of JSON")
    return parser


def _number(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("from 1 to 1,000,000")
    return value


def load(name: str) -> App:
    """Import the app at ``module:attribute``; BadValueError if it is none."""
    from beanrow.errors import BadValueError
    from beanrow.worker.app import App

    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise BadValueError(f"{name!r} is not module:app, as in shop.tasks:app")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    __import__(module)
    app = getattr(sys.modules[module], attribute, None)
    if not isinstance(app, App):
        raise BadValueError(f"{attribute!r} in module {module} is not an App: {app!r}")
    if not app.tasks:
        raise BadValueError(f"the App {name} has no tasks; decorate a function with @app.task")
    return app


def _log(level: str, *, as_json: bool) -> None:
    import logging

    from beanrow.worker.logs import JsonFormatter

    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _run(app: App, options: argparse.Namespace) -> int:
    from beanrow.worker.logs import LogHooks

    app.middleware.insert(0, LogHooks())
    if options.processes is not None:
        from beanrow.worker.child import Recycle
        from beanrow.worker.processes import run_processes

        memory = None if options.max_memory is None else options.max_memory * 2**20
        recycle = Recycle(options.max_jobs, memory)
        return run_processes(app, options.processes, options.grace, recycle, options.health)
    if options.tasks is not None:
        from beanrow.worker.tasks import run_tasks

        return _left(in_time=run_tasks(app, options.tasks, options.grace, options.health))
    return run_threads(app, options.threads or DEFAULT_THREADS, options.grace, options.health)


def run_threads(app: App, threads: int, grace: float, health: str | None = None) -> int:
    """Run a worker of threads until it is told to stop."""
    from beanrow.worker.threads import ThreadWorker

    signals = Signals()
    worker = ThreadWorker(app, threads)
    served = None
    if health is not None:
        from beanrow.worker.health import serve_health

        served = serve_health(health, worker.health)
    worker.start()
    while not signals.count:
        signals.wait()
    worker.stop()
    in_time = worker.wait(grace, lambda: signals.count > 1)
    if not in_time:
        worker.give_back()
        in_time = worker.wait(1.0)
    worker.close()
    if served is not None:
        served.close()
    app.close()
    signals.close()
    return _left(in_time=in_time)


def _left(*, in_time: bool) -> int:
    """Give the exit status; end at once if a function still runs in a thread."""
    if not in_time:
        sys.stderr.flush()
        os._exit(0)  # the interpreter would wait for it, or crash under it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
