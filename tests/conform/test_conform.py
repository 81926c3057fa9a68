"""The conformance suite: whom it finds right, whom it finds wrong, and what it tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from beanrow import Client, ServerStats
from beanrow.conform import report as conform_report
from beanrow.conform.case import Case, read_case_file, read_cases, read_differences
from beanrow.conform.suite import NoServerError, Report, play_all
from beanrow.conform.talk import Place
from beanrow.testing import Beanstalk
from tests.client.scripted import ScriptedServer
from tests.conform.planted import PLANTED
from tests.servers import Daemon, OurServer, Server, find_daemon, free_port
from tests.test_compatibility import listed as rows

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conform.md").read_text()
CASES = read_cases()
KNOWN = read_differences()


def place(server: Server) -> Place:
    return Place(server.host, server.port)


def complaints(report: Report) -> list[str]:
    return [
        "\n".join([f"{one.case.number} {one.case.title}", *one.transcript, one.heard, one.expected])
        for one in report.outcomes
        if one.result == "differs"
    ]


class Played(NamedTuple):
    """A run of all cases, and what the server has after it."""

    report: Report
    tubes: list[str]
    stats: ServerStats


def play_to(server: Server) -> Played:
    report = play_all(place(server), CASES)
    with Client(server.address) as client:
        return Played(report, client.list_tubes(), client.stats())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """All cases played to our server, in memory and with a journal, and to the real daemon."""
    with ExitStack() as running:
        servers: dict[str, Server] = {
            "memory": running.enter_context(OurServer()),
            "journal": running.enter_context(OurServer("-b", str(tmp_path_factory.mktemp("jobs")))),
        }
        if find_daemon() is not None:
            servers["daemon"] = running.enter_context(Daemon())
        with ThreadPoolExecutor(len(servers)) as pool:
            yield dict(zip(servers, pool.map(play_to, servers.values()), strict=True))


@pytest.mark.parametrize("kind", ["memory", "journal"])
def test_our_server_conforms(played: dict[str, Played], kind: str) -> None:
    report = played[kind].report
    assert complaints(report) == []
    assert report.differences == ["capabilities-is-known", "http-closes"]
    assert len(report.outcomes) == len(CASES) > 150
    assert report.seconds < 30
    assert report.version.startswith("beanrow ")


@pytest.mark.daemon
def test_the_real_daemon_conforms_with_what_is_known_of_it(played: dict[str, Played]) -> None:
    report = played["daemon"].report
    assert complaints(report) == []
    always = {"kick-takes-negative", "quit-is-a-prefix", "timeout-reads-anything"}
    assert always <= set(report.differences) <= {*always, "silent-holder-keeps-its-job"}


@pytest.mark.parametrize(
    "kind", ["memory", "journal", pytest.param("daemon", marks=pytest.mark.daemon)]
)
def test_nothing_is_left_behind(played: dict[str, Played], kind: str) -> None:
    _, tubes, stats = played[kind]
    assert tubes == ["default"]
    assert stats.total_jobs > 100
    assert stats.current_jobs_ready == stats.current_jobs_delayed == stats.current_jobs_buried == 0


# -- whom it finds wrong -----------------------------------------------------------------------


def split(beanstalk: Beanstalk) -> tuple[str, int]:
    host, _, port = beanstalk.address.rpartition(":")
    return host, int(port)


def find(
    name: str, beanstalk: Beanstalk, patch: pytest.MonkeyPatch, patience: float, *, all_of: bool
) -> set[int]:
    """Play the cases that are about what is planted, or ``all_of`` their files; those that differ."""
    patch.setattr("beanrow.conform.suite._PATIENCE", patience)
    plant, numbers = PLANTED[name]
    plant(patch)
    beanstalk.reset()  # a new engine, with what was planted in its table
    beanstalk.clock.run()
    hundreds = {number // 100 for number in numbers}
    report = play_all(
        Place(*split(beanstalk)),
        [
            one
            for one in CASES
            if one.number in numbers or (all_of and one.number // 100 in hundreds)
        ],
    )
    return {one.case.number for one in report.outcomes if one.result == "differs"}


TIMED = {name for name, (_, numbers) in PLANTED.items() if max(numbers) > 800}


@pytest.mark.parametrize("name", sorted(PLANTED.keys() - TIMED))
@pytest.mark.long
def test_a_wrong_server_is_found(
    name: str, beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(name, beanstalk, monkeypatch, 0.3, all_of=True)
    assert PLANTED[name][1] & found, found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "waits_end_at_once" else pytest.mark.long)
        for name in sorted(TIMED)
    ],
)
def test_a_server_that_is_wrong_about_time_is_found(
    name: str, beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(name, beanstalk, monkeypatch, 1.0, all_of=name != "waits_end_at_once")
    assert PLANTED[name][1] & found, found


def test_what_is_wrong_now_and_then_is_told(
    beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case for case in CASES if case.number in (101, 102)]
    for _ in range(3):  # once, on a busy machine, the fault struck neither case: why is not known
        beanstalk.faults.cut("peek")
        report = play_all(Place(*split(beanstalk)), cases)
        if any(one.tries > 1 for one in report.outcomes):
            break
    assert [(one.result, one.tries) for one in report.outcomes] == [("agrees", 2), ("agrees", 1)]
    assert "Only at the second try:\n  101 put stores" in conform_report.told(report, KNOWN)


def test_nothing_planted_is_nothing_found(
    beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANTED, "nothing", (lambda _: None, {101, 201, 301, 401, 501}))
    assert find("nothing", beanstalk, monkeypatch, 3.0, all_of=True) == set()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"220 mail.example ESMTP\r\n", "no beanstalk server"),
        (b"", "nothing"),
        (b"OK 100\r\n---\n", "nothing"),
    ],
)
def test_who_is_no_beanstalk_server(
    said: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beanrow.conform.suite._PATIENCE", 0.2)
    with ScriptedServer([(b"stats\r\n", said)]) as server:
        host, _, port = server.address.rpartition(":")
        with pytest.raises(NoServerError, match=told):
            play_all(Place(host, int(port)), CASES)


def test_where_nobody_is() -> None:
    with pytest.raises(NoServerError, match="Connection refused"):
        play_all(Place("127.0.0.1", free_port()), CASES)


# -- the program -------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beanrow.conform", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_runs_on_the_standard_library_alone(our_server: OurServer) -> None:
    program = (
        "import sys; from beanrow.conform.__main__ import main; code = main(sys.argv[1:]); "
        "print(sorted(one for one in sys.modules if one.startswith('beanrow.'))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, our_server.address, "--case", "101"],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1]
    assert "beanrow.conform.suite" in loaded
    assert "beanrow.protocol.lines" not in loaded
    assert "beanrow.server" not in loaded


def test_what_differs_is_told_with_who_says_so(
    beanstalk: Beanstalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTED["release_keeps_the_priority"][0](monkeypatch)
    beanstalk.reset()
    done = run(beanstalk.address, "--case", "408", "--case", "101", "--case", "724")
    assert done.returncode == 1
    told = done.stdout
    assert "  408 release puts a job back with a new priority\n" in told
    assert re.search(r"\n {6}A> release \d 77 0\n {6}A< RELEASED\n {6}A> stats-job \d\n", told)
    assert "      heard: pri: 5\n" in told
    assert "      to be heard: state: ready, pri: 77, releases: 1, reserves: 1\n" in told
    assert "      who says so: protocol.txt release; prot.c dispatch_cmd OP_RELEASE\n" in told
    assert re.search(r"\n3 cases in \d\.\d s: 1 agree, 1 differ as known, 1 differ\n$", told)
    done = run(beanstalk.address, "--case", "408", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["conforms"]) == (1, False)
    (case,) = document["cases"]
    assert (case["number"], case["result"], case["heard"]) == (408, "differs", "pri: 5")
    assert case["transcript"][:2] == ["A> put 5 0 60 1", "A> x"]


def test_json(our_server: OurServer) -> None:
    done = run(our_server.address, "--json", "--case", "724", "--case", "101")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["counts"] == {"agrees": 1, "listed": 1, "differs": 0}
    assert [one["name"] for one in document["known-differences"]] == ["capabilities-is-known"]
    assert [case["number"] for case in document["cases"]] == [101, 724]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["127.0.0.1:1"], 3, "cannot connect to 127.0.0.1:1"),
        (["unix:/nowhere/x"], 3, "cannot connect to unix:/nowhere/x"),
        (["nonsense"], 2, "HOST:PORT"),
        (["unix:"], 2, "HOST:PORT"),
        ([], 2, "say which server"),
        (["--case", "999", "127.0.0.1:1"], 2, "no case 999"),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, word: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_unix_socket(start_ours: Callable[..., OurServer], tmp_path: Path) -> None:
    start_ours("-l", f"unix:{tmp_path}/s")
    assert run(f"unix:{tmp_path}/s", "--case", "101").returncode == 0


def test_list() -> None:
    told = run("--list").stdout
    assert told.startswith("101 put stores a job and tells its id\n    protocol.txt put;")
    assert len(re.findall(r"^\d{3} ", told, re.MULTILINE)) == len(CASES)


# -- the cases and what is said of them --------------------------------------------------------


COMMANDS = [
    "put",
    "use",
    "reserve",
    "reserve-with-timeout",
    "reserve-job",
    "delete",
    "release",
    "bury",
    "touch",
    "watch",
    "ignore",
    "peek",
    "peek-ready",
    "peek-delayed",
    "peek-buried",
    "kick",
    "kick-job",
    "stats",
    "stats-job",
    "stats-tube",
    "list-tubes",
    "list-tube-used",
    "list-tubes-watched",
    "pause-tube",
    "quit",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_more_than_one_case(command: str) -> None:
    using = [
        case.number
        for case in CASES
        if any(
            step.kind in (">", ">>", "~") and step.text.split(" ")[0] == command
            for step in case.steps
        )
    ]
    assert len(using) >= 2


def test_numbers_are_unique_and_in_their_files() -> None:
    numbers = [case.number for case in CASES]
    assert len(set(numbers)) == len(numbers)
    for path in (ROOT / "src/beanrow/conform/cases").iterdir():
        assert len({case.number // 100 for case in read_case_file(path)}) == 1, path


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.number))
def test_each_case_names_its_source_and_known_differences(case: Case) -> None:
    assert re.match(r"(protocol\.txt [a-zA-Z]|prot\.c \w)", case.source), case.source
    for step in case.steps:
        for name, _ in step.others:
            assert name in KNOWN


def test_each_known_difference_is_met_by_a_case_and_told_on_both_pages() -> None:
    met = {name for case in CASES for step in case.steps for name, _ in step.others}
    assert met == set(KNOWN)
    compatibility = {row[0] for row in rows()}
    for known in KNOWN.values():
        assert known.row in compatibility
        assert re.search(rf"^\| `{known.name}` \| {re.escape(known.server)} \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"^\| `([a-z-]+)` \| (?:bean)", PAGE, re.MULTILINE)) == set(KNOWN)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("101 a title\n    source\n    A: stats\n", "cannot read the step 'A: stats'"),
        ("101 a title\n    source\nA> stats\n", "line 3: 'A> stats' is no part of a case"),
        ("101 a title\n\n", "has no steps"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)):
        read_case_file(path)


def test_the_page_tells_how_many_there_are_and_of_what() -> None:
    assert f"{len(CASES)} cases" in PAGE
    assert f"{len(CASES)} readable cases" in (ROOT / "README.md").read_text()
    for path in (ROOT / "src/beanrow/conform/cases").iterdir():
        cases = read_case_file(path)
        hundreds = f"{cases[0].number // 100}xx"
        assert re.search(rf"^\| {hundreds} \| {len(cases)} \|", PAGE, re.MULTILINE), hundreds
