"""Log records as jobs: a handler that puts each into a tube, for whoever collects them.

    handler = TubeHandler("log", "localhost:11300")
    logging.getLogger().addHandler(handler)

A record is one line of JSON; a formatter of one's own may write another. A put is a round trip
to the server: where the program must not wait for it, put the handler behind a
``logging.handlers.QueueListener``, as for any handler that uses the network.

Laws: what beanrow itself logs is not put, since a put may log; a failed put is reported the way
the standard library reports failures of handlers, and does not reach who logged.
"""

from __future__ import annotations

import logging

from beanrow.client.sync import Client
from beanrow.protocol.durations import Duration
from beanrow.protocol.values import tube_name
from beanrow.worker.logs import JsonFormatter

__all__ = ["TubeHandler"]

_PRIORITIES = {logging.CRITICAL: 0, logging.ERROR: 100, logging.WARNING: 1000}
"""The worst first where a collector is behind; whatever is below has the default."""


class TubeHandler(logging.Handler):
    """Puts each record into ``tube``.

    ``address`` is that of ``Client``; ``timeout`` in seconds is how long one record may hold
    its thread. BadValueError for a name that is no tube's.
    """

    def __init__(
        self,
        tube: str,
        address: str | None = None,
        *,
        level: int | str = logging.NOTSET,
        timeout: Duration = 2.0,
    ) -> None:
        super().__init__(level)
        tube_name(tube)
        self.tube = tube
        self.setFormatter(JsonFormatter())
        self.addFilter(_of_the_program)
        self._client = Client(address, timeout=timeout)

    def emit(self, record: logging.LogRecord) -> None:
        """Put one record."""
        try:
            priority = _PRIORITIES.get(record.levelno, 2**16)
            self._client.put(self.format(record), tube=self.tube, priority=priority)
        except Exception:  # noqa: BLE001  (told by handleError, as every handler does)
            self.handleError(record)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        super().close()


def _of_the_program(record: logging.LogRecord) -> bool:
    return record.name != "beanrow" and not record.name.startswith("beanrow.")
