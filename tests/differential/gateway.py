"""A gateway whose ids are those of a single server, and the twin that says what it must say.

The twin is the engine of our server, which ``test_agreement`` holds to the daemon's own answers. It
differs from that in what a gateway does otherwise on purpose (docs/compatibility.md).
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator

from beanrow.cluster.__main__ import main
from beanrow.cluster.layout import Layout
from beanrow.engine.counters import HostFacts
from beanrow.engine.engine import Engine
from beanrow.engine.job import Job
from beanrow.engine.session import Session
from beanrow.engine.tube import Tube
from beanrow.protocol import replies, requests
from beanrow.protocol.stats import write_list
from beanrow.protocol.values import MAX_JOB_SIZE

DENSE = Layout(partitions=1, id_units=0)


class GatewayTwin(Engine):
    """Refusals use up no id, tubes are listed by name, and there is no journal to be told of.

    Jobs that become ready by one command are ready all at once: who waits gets the best of them, not
    the first.
    """

    def __init__(
        self,
        now: int,
        *,
        max_job_size: int = MAX_JOB_SIZE,
        host: Callable[[], HostFacts] = HostFacts,
    ) -> None:
        self._ready_at_once: dict[Tube, None] | None = None
        super().__init__(now, max_job_size=max_job_size)

    def _make_ready(self, job: Job, now: int) -> None:
        tube = job.tube
        if self._ready_at_once is not None and tube.waiting:
            self._ready_at_once[tube] = None
            waiting, tube.waiting = tube.waiting, OrderedDict()
            super()._make_ready(job, now)
            tube.waiting = waiting
        else:
            super()._make_ready(job, now)

    @contextlib.contextmanager
    def _all_at_once(self, now: int) -> Iterator[None]:
        tubes = self._ready_at_once = {}
        yield
        self._ready_at_once = None
        for tube in tubes:
            while tube.waiting and (best := self._best(session := next(iter(tube.waiting)))):
                self._serve(self._take(best, now), session, now)

    def close(self, session: Session, now: int) -> None:
        with self._all_at_once(now):
            super().close(session, now)

    def _kick(self, session: Session, request: requests.Kick, now: int) -> bytes:
        with self._all_at_once(now):
            return super()._kick(session, request, now)

    def _put(self, session: Session, request: requests.Put, now: int) -> bytes:
        reply = super()._put(session, request, now)
        self._next_id -= reply is replies.DRAINING
        return reply

    def _put_unterminated(
        self, session: Session, request: requests.PutUnterminated, now: int
    ) -> bytes:
        self._next_id -= 1
        return super()._put_unterminated(session, request, now)

    def _list_tubes(self, session: Session, request: requests.ListTubes, now: int) -> bytes:
        return replies.ok(write_list(sorted(self.tubes)))


if __name__ == "__main__":
    sys.exit(main(layout=DENSE))
