"""A consumer: threads that share one client, each reserving over a connection of its own.

python -m examples.consumer --server HOST:PORT --tube numbers --threads 4
"""

import argparse
import sys
import threading

from beanrow import BeanstalkError, Client, Job, JobLost

IDLE_SECONDS = 2  # without a job for so long, a thread is done: a service would go on


def work(job: Job) -> int:
    """The work itself: here, to count the letters."""
    return len(job.text)


def consume(client: Client) -> None:
    while (job := client.reserve(timeout=IDLE_SECONDS)) is not None:
        try:
            result = work(job)
        except ValueError as error:  # a body that is no text: for a person to look at
            client.bury(job)
            print(f"job {job.id}: buried: {error}", file=sys.stderr)
            continue
        try:
            client.delete(job)
        except JobLost as error:
            # The connection broke, and the server gives the job to the next worker: whatever
            # was done for it will be done again. Undo it here, or make it harmless to repeat.
            print(f"job {job.id}: {error}", file=sys.stderr)
        else:
            # One write a line: print makes two of it, and those of threads would mix.
            sys.stdout.write(f"{threading.current_thread().name} {job.id} {job.text} {result}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Take jobs in several threads.")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    parser.add_argument("--tube", default="default")
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    failed: list[BeanstalkError] = []

    def run() -> None:
        try:
            consume(client)
        except BeanstalkError as error:  # the server stayed away for longer than the timeout
            failed.append(error)

    with Client(arguments.server) as client:
        client.watch(arguments.tube)  # holds for all threads
        names = [f"thread-{number}" for number in range(arguments.threads)]
        threads = [threading.Thread(target=run, name=name) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in failed:
        print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
