"""A producer: puts URLs into the tube that the workers watch.

python -m examples.put_urls --server HOST:PORT https://example.com/ ...
"""

import argparse
from collections.abc import Iterable, Iterator

from beanrow import Client

TUBE = "URLs-to-fetch"


def put_urls(client: Client, urls: Iterable[str]) -> Iterator[int]:
    """Put each URL as a job; gives their ids as they are put."""
    for url in urls:
        yield client.put(url, tube=TUBE, priority=100, ttr=180)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put URLs into the tube of the workers.")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    parser.add_argument("urls", nargs="+", metavar="URL")
    arguments = parser.parse_args()
    with Client(arguments.server) as client:
        for job_id, url in zip(put_urls(client, arguments.urls), arguments.urls, strict=True):
            print(job_id, url)


if __name__ == "__main__":
    main()
