"""A whole cluster on this machine: three shards of three Redis nodes, and two gateways.

python -m examples.cluster            (Ctrl-C ends it, and nothing is left)

On machines of your own the same commands do, with addresses in place of ports: see docs/cluster.md.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOST = "127.0.0.1"
SHARDS, NODES_A_SHARD = 3, 3
LOWEST, HIGHEST = 20_000, 50_000  # the nodes talk to each other on port + 10,000


def free_ports(count: int) -> list[int]:
    """Ports that are free, and 10,000 above them too."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in range(LOWEST, HIGHEST):
            if len(ports) == count:
                break
            with contextlib.suppress(OSError):
                for one in (port, port + 10_000):
                    probe = held.enter_context(socket.socket())
                    probe.bind((HOST, one))
                ports.append(port)
    return ports


def start_node(port: int, directory: Path, running: contextlib.ExitStack) -> None:
    """Start a node that keeps its jobs in an append-only file, and never evicts any."""
    directory.mkdir()
    flags = {
        "port": port,
        "bind": HOST,
        "dir": directory,
        "cluster-enabled": "yes",
        "cluster-node-timeout": 2000,  # a failover takes about a second more than this
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "logfile": "log",
    }
    command = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    start(["redis-server", *command], running)


def start(command: list[str], running: contextlib.ExitStack) -> None:
    process = subprocess.Popen(command)
    running.callback(process.wait)
    running.callback(process.terminate)


def wait_for(port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.01)
    sys.exit(f"nothing listens on {port}")


def make_cluster(ports: list[int]) -> None:
    """Have the nodes form a cluster: each master with two replicas."""
    nodes = [f"{HOST}:{port}" for port in ports]
    replicas = str(NODES_A_SHARD - 1)
    command = ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", replicas]
    subprocess.run([*command, "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
    for port in ports[:SHARDS]:  # the masters: a gateway refuses them while they have no replicas
        wait = ["redis-cli", "-p", str(port), "wait", replicas, "20000"]
        subprocess.run(wait, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        sys.exit("this needs redis-server and redis-cli 7.0: apt-get install redis-server")
    *ports, one, other = free_ports(SHARDS * NODES_A_SHARD + 2)
    with tempfile.TemporaryDirectory() as files, contextlib.ExitStack() as running:
        for port in ports:
            start_node(port, Path(files, str(port)), running)
        for port in ports:
            wait_for(port)
        make_cluster(ports)
        store = f"redis-cluster://{HOST}:{ports[0]},{HOST}:{ports[1]},{HOST}:{ports[2]}?ack=1"
        for port in (one, other):
            gateway = [sys.executable, "-m", "beanrow.cluster", "--store", store, "-p", str(port)]
            start(gateway, running)
            wait_for(port)
        print(f"two gateways: {HOST}:{one} and {HOST}:{other}")
        print(f"look at it:   beanrow cluster status '{store}'")
        print(f"kill a node:  redis-cli -p {ports[0]} debug segfault", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
