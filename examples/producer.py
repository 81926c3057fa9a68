"""A producer: each line of standard input becomes a job; hundreds share a write.

seq 100000 | python -m examples.producer --server HOST:PORT --tube numbers
"""

import argparse
import sys

from beanrow import BatchError, BeanstalkError, Client, ConnectionLostError


def put_lines(client: Client, tube: str, lines: list[str]) -> int:
    """Put the lines; gives how many were stored, and tells of each that was not."""
    bodies = (line.rstrip("\n") for line in lines)
    try:
        return len(client.put_many(bodies, tube=tube, ttr=120, progress=tell_progress))
    except BatchError as error:
        for line, result in zip(lines, error.results, strict=False):
            if isinstance(result, BeanstalkError):
                maybe = isinstance(result, ConnectionLostError) and result.outcome == "unknown"
                told = "may be stored, look before you put it again" if maybe else "not stored"
                print(f"{line.rstrip()}: {told}: {result}", file=sys.stderr)
        for line in lines[len(error.results) :]:
            print(f"{line.rstrip()}: not stored: not reached", file=sys.stderr)
        return sum(isinstance(result, int) for result in error.results)


def tell_progress(count: int) -> None:
    print(f"\r{count:,} put", end="", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Put each line of standard input as a job.")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    parser.add_argument("--tube", default="default")
    arguments = parser.parse_args()
    lines = sys.stdin.readlines()
    with Client(arguments.server) as client:
        stored = put_lines(client, arguments.tube, lines)
    print(f"\r{stored:,} of {len(lines):,} put", file=sys.stderr)
    return 0 if stored == len(lines) else 1


if __name__ == "__main__":
    sys.exit(main())
