"""Several servers as one: jobs are spread over them by a key, and taken from whichever has one.

python -m examples.pool --server HOST:PORT --server HOST:PORT
Stop one of the servers meanwhile, and start it again: the others take its part.
"""

import argparse
import sys
import time

from beanrow import BeanstalkError, ConnectionLostError, Pool

TUBE = "orders"
CUSTOMERS = 25


def put_orders(pool: Pool, count: int) -> dict[str, int]:
    """Put orders; those of one customer go to one server, while it is there."""
    per_server: dict[str, int] = {}
    for number in range(count):
        customer = f"customer-{number % CUSTOMERS}"
        try:
            job_id = pool.put(f"order {number} of {customer}", tube=TUBE, key=customer)
        except ConnectionLostError as error:
            print(f"order {number}: {error.outcome}: {error}", file=sys.stderr)
            continue
        per_server[job_id.server] = per_server.get(job_id.server, 0) + 1
    return per_server


def take_orders(pool: Pool) -> int:
    taken = 0
    while (job := pool.reserve(timeout=1)) is not None:  # waits on all servers at once
        pool.delete(job)  # goes to the server that gave it
        taken += 1
    return taken


def tell_away(server: str, error: BeanstalkError) -> None:
    print(f"{time.strftime('%X')} {server} is away: {error}", file=sys.stderr)


def tell_back(server: str) -> None:
    print(f"{time.strftime('%X')} {server} is back", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put and take jobs on several servers.")
    parser.add_argument("--server", action="append", required=True, metavar="HOST:PORT")
    parser.add_argument("--orders", type=int, default=200)
    arguments = parser.parse_args()
    with Pool(arguments.server, on_server_away=tell_away, on_server_back=tell_back) as pool:
        pool.watch(TUBE)
        for server, count in sorted(put_orders(pool, arguments.orders).items()):
            print(f"{count} orders on {server}")
        print(f"{take_orders(pool)} orders taken")


if __name__ == "__main__":
    main()
