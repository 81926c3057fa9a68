"""A worker: takes URLs from a tube, fetches them, and tells what it found.

Start as many as you like, on as many machines: python -m examples.fetch_worker --server HOST:PORT
Each page found or failed is a line of JSON. A worker leaves when the tube has no more to give.
"""

import argparse
import json
import time
from html.parser import HTMLParser

import httpx

from beanrow import Client, Job

TUBE = "URLs-to-fetch"
ATTEMPTS = 3
MOST_SECONDS = 30  # for one page; well below the ttr, after which the job is given to another


class Page(HTMLParser):
    """The title and the links of an HTML page, which may come in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def fetch(http: httpx.Client, url: str) -> Page:
    page, end = Page(), time.monotonic() + MOST_SECONDS
    with http.stream("GET", url) as response:
        if not response.is_success:
            raise ValueError(f"HTTP {response.status_code} {response.reason_phrase}")
        kind = response.headers.get("content-type", "of no type")
        if "html" not in kind:
            raise ValueError(f"not HTML but {kind}")
        for text in response.iter_text():
            page.feed(text)
            if time.monotonic() > end:
                raise TimeoutError(f"not finished after {MOST_SECONDS} s")
    page.close()
    return page


def work(client: Client, http: httpx.Client, job: Job) -> None:
    url = job.body.decode(errors="replace")
    try:
        page = fetch(http, url)
    except Exception as error:  # noqa: BLE001  (no page, whatever is in it, may end the worker)
        give_back(client, job, url, str(error) or repr(error))
    else:
        tell(job, url, "done", title=page.title.strip(), links=page.links)
        client.delete(job)  # last: a worker that dies before this has its job done by another


def give_back(client: Client, job: Job, url: str, error: str) -> None:
    """Release the job for another attempt, later each time; bury it after the last one."""
    stats = client.stats_job(job)
    attempt = 1 + stats.releases + stats.timeouts
    if attempt < ATTEMPTS:
        tell(job, url, "released", error=error)
        client.release(job, priority=stats.pri, delay=attempt)
    else:
        tell(job, url, "buried", error=error)
        client.bury(job, priority=stats.pri)


def tell(job: Job, url: str, outcome: str, **found: object) -> None:
    print(json.dumps({"job": job.id, "url": url, "outcome": outcome, **found}), flush=True)


def is_finished(client: Client) -> bool:
    tube = client.stats_tube(TUBE)
    return not (tube.current_jobs_ready or tube.current_jobs_delayed or tube.current_jobs_reserved)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the URLs that wait in a tube.")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    server = parser.parse_args().server
    with Client(server) as client, httpx.Client(timeout=5, follow_redirects=True) as http:
        client.watch(TUBE)
        client.ignore("default")
        while True:
            job = client.reserve(timeout=1)
            if job is not None:
                work(client, http, job)
            elif is_finished(client):
                break


if __name__ == "__main__":
    main()
