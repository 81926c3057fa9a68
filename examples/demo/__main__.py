"""See Beanstalk work: python -m examples.demo [--server HOST:PORT] [--pages 2000] [--workers 4].

Exit status: 0 if every job is accounted for; 1 if not, and what is missing is told; 2 if nothing
was begun (wrong arguments, no server, a tube that others use); 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import threading
import time
from contextlib import ExitStack

from beanrow import BadValueError, BeanstalkError, ConnectFailedError, EmbeddedServer
from examples.demo.accounting import BadReportError
from examples.demo.processes import StartError, WebSite
from examples.demo.run import JobsLeftError, Run, StalledError, StoppedError, TubeTakenError
from examples.demo.screen import Screen

SEED = 1  # of the web site: the same pages fail in every run


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # titles are not ASCII, a terminal may be
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: stop.set())
    try:
        return _demonstrate(options, stop)
    except (BadValueError, ConnectFailedError, TubeTakenError) as error:
        return _fail(2, str(error))
    except StoppedError:
        return _fail(130, "stopped; everything it started is ended and its jobs are removed")
    except (BadReportError, BeanstalkError, JobsLeftError, StalledError, StartError) as error:
        return _fail(1, str(error))


def _demonstrate(options: argparse.Namespace, stop: threading.Event) -> int:
    began = time.monotonic()
    with ExitStack() as stack:
        screen = stack.enter_context(Screen())
        address = options.server
        if address in {None, "embedded:"}:
            server = stack.enter_context(EmbeddedServer())
            address = server.address
        site = stack.enter_context(WebSite(options.pages, SEED))
        screen.say(f"{options.pages} pages at {site.urls[0]} and on; queue server at {address}")
        run = stack.enter_context(Run(address, site, options.workers, stop, screen.show))
        account, problems, crew = run.go()
        screen.summarize(run.progress, account, crew)
        if problems:
            screen.complain(problems)
            return 1
    screen.say(f"Every job is accounted for. {time.monotonic() - began:.1f} s in all.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Put the pages of a web site into a tube, let workers fetch them, and account "
        "for every job.",
        epilog="Exit status: 0 every job is accounted for; 1 not; 2 nothing was begun; "
        "130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="a running beanstalkd; else it brings its own server"
    )
    parser.add_argument("--pages", type=_count, default=2000, help="default 2000")
    parser.add_argument("--workers", type=_count, default=4, help="processes, default 4")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "positive number"  # argparse names the type in its errors


def _fail(status: int, text: str) -> int:
    print(f"demo: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
