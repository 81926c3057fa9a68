"""What all tests share: private servers, and what happens where beanstalkd is missing.

Law: a test that needs the real daemon and finds none is skipped with the reason; where CI=true
it fails, since a green run that compared nothing would be a lie.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.need import need
from tests.servers import Daemon, GatewayServer, OurServer, Server, find_daemon

pytest_plugins = ["pytest_beanrow"]  # the checkout's own, whatever is installed

DAEMON_FIXTURES = {"daemon", "fresh_daemon", "start_daemon"}


def pytest_report_header() -> str:
    return f"beanstalkd: {find_daemon() or 'not installed'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that passing tests recorded with `record_property`."""
    for report in terminalreporter.getreports("passed"):
        for name, figure in report.user_properties:
            terminalreporter.write_line(f"{name}: {figure}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a daemon, so that `-m daemon` and the check below find it."""
    for item in items:
        if DAEMON_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.daemon)
        if "[beanstalkd" in item.name:  # of the fixture `server`
            item.add_marker(pytest.mark.daemon)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("daemon") is None or find_daemon() is not None:
        return
    reason = "needs the real beanstalkd, which is not installed: make install-daemon, as root"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; under CI=true this is a failure", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """One daemon for the whole test process: use it with a tube of your own (`tube`)."""
    with Daemon() as running:
        yield running


@pytest.fixture
def fresh_daemon() -> Iterator[Daemon]:
    """A daemon that has seen nothing yet and serves this test alone (about 10 ms)."""
    with Daemon() as running:
        yield running


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """Start daemons with flags: `start_daemon("-z", "100")`. The test's end stops them all."""
    with contextlib.ExitStack() as running:
        yield lambda *args: running.enter_context(Daemon(*args))


_tube_numbers = itertools.count(1)


@pytest.fixture
def tube() -> str:
    """The name of a tube that no other test of this run uses."""
    return f"tube-{os.getpid()}-{next(_tube_numbers)}"


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a module run on gateways that says so."""
    if "server" in metafunc.fixturenames and getattr(metafunc.module, "ON_GATEWAYS_TOO", False):
        every = pytest.mark.parametrize("server", list(KINDS), indirect=True, scope="session")
        metafunc.definition.add_marker(every)


KINDS: dict[str, Callable[[], Server]] = {
    "beanrow": OurServer,
    "beanstalkd": Daemon,
    "gateway": GatewayServer,
}


@pytest.fixture(scope="session", params=["beanrow", "beanstalkd"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each kind of server in turn, for the whole test process: use a tube of your own (`tube`).

    A module that says `ON_GATEWAYS_TOO = True` runs on a gateway as well.
    """
    if request.param == "gateway":
        need("redis")
    with KINDS[request.param]() as running:
        yield running


@pytest.fixture
def our_server() -> Iterator[OurServer]:
    """A server of ours that has seen nothing yet and serves this test alone."""
    with OurServer() as running:
        yield running


@pytest.fixture
def start_ours() -> Iterator[Callable[..., OurServer]]:
    """Start servers of ours with flags: `start_ours("-z", "100")`. The test's end stops them."""
    with contextlib.ExitStack() as running:

        def start(*args: str, environment: dict[str, str] | None = None) -> OurServer:
            return running.enter_context(OurServer(*args, environment=environment))

        yield start
