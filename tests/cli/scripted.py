"""A server that gives what no healthy server can be made to give."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Scripted:
    """Answers a command by its first words; closes the connection where there is none, or b"".

    One that is asked the same again gives its last answer again: `{"put": [b"INSERTED 1\\r\\n"]}`.
    """

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join(timeout=5)
        self._listener.close()

    def _serve(self) -> None:
        """Serve one connection."""
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as requests, contextlib.suppress(OSError):
            for line in requests:
                words = line.decode().split()
                if words[0] == "put":
                    requests.read(int(words[4]) + 2)
                answers = self._answers.get(" ".join(words)) or self._answers.get(words[0])
                answer = answers.pop(0) if answers and len(answers) > 1 else (answers or [b""])[0]
                if not answer:
                    return
                connection.sendall(answer)
