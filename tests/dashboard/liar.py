"""A server that tells whatever a test wants it to: no real one has such names."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Answer = Callable[[bytes], bytes | None]
"""Gives the document that answers a line, or None for a command that is not known."""


class Liar:
    """Answers each line of each connection with ``OK`` and a document, or knows it not."""

    def __init__(self, answer: Answer) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    document = answer(line.strip())
                    if document is None:
                        self.wfile.write(b"UNKNOWN_COMMAND\r\n")
                        continue
                    self.wfile.write(b"OK %d\r\n%b\r\n" % (len(document), document))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
