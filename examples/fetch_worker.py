"""A worker: reserves URLs, fetches them, and prints what it found as lines of JSON.

Start as many as you like, on as many machines: python -m examples.fetch_worker --server HOST:PORT
"""

import argparse
import json
import time
from html.parser import HTMLParser

import httpx

from beanrow import Client, Job

TUBE = "URLs-to-fetch"
ATTEMPTS = 3
MOST_SECONDS = 30  # for one page; less than the ttr, after which another worker gets the job


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title, self.in_title = "", False
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_title = tag == "title"
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        self.in_title = False

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title += data


def fetch(http: httpx.Client, url: str) -> Page:
    page, end = Page(), time.monotonic() + MOST_SECONDS
    with http.stream("GET", url) as response:
        if not response.is_success:
            raise ValueError(f"HTTP {response.status_code} {response.reason_phrase}")
        if "html" not in (kind := response.headers.get("content-type", "of no type")):
            raise ValueError(f"not HTML but {kind}")
        for text in response.iter_text():
            page.feed(text)
            if time.monotonic() > end:
                raise TimeoutError(f"not finished after {MOST_SECONDS} s")
    page.close()
    return page


def work(client: Client, http: httpx.Client, job: Job) -> None:
    try:
        page = fetch(http, job.text)
    except Exception as error:  # noqa: BLE001  (whatever is wrong with a page, the next one waits)
        stats = client.stats_job(job)
        attempt = 1 + stats.releases + stats.timeouts
        if attempt < ATTEMPTS:
            tell(job, "released", error=str(error) or repr(error))
            client.release(job, priority=stats.pri, delay=attempt)
        else:
            tell(job, "buried", error=str(error) or repr(error))
            client.bury(job, priority=stats.pri)
    else:
        tell(job, "done", title=page.title.strip(), links=page.links)
        client.delete(job)  # last: if this worker dies before it, another one gets the job


def tell(job: Job, outcome: str, **found: object) -> None:
    url = job.body.decode(errors="replace")
    print(json.dumps({"job": job.id, "url": url, "outcome": outcome, **found}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the URLs that wait in a tube.")
    parser.add_argument("--server", help="HOST:PORT; else BEANSTALKD_URL, else localhost:11300")
    server = parser.parse_args().server
    with Client(server) as client, httpx.Client(timeout=5, follow_redirects=True) as http:
        client.watch(TUBE)
        client.ignore("default")
        while True:
            if (job := client.reserve(timeout=1)) is not None:
                work(client, http, job)
                continue
            tube = client.stats_tube(TUBE)
            if not tube.current_jobs_ready + tube.current_jobs_delayed + tube.current_jobs_reserved:
                break  # and nothing will come back


if __name__ == "__main__":
    main()
