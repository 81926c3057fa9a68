"""The extensions of our server, for a client: asked for before one is used, never before.

Laws:
- A word is said only over a connection that has been told it and has switched it on: another
  server would take a body behind it for commands. So each connection asks for itself, once.
- A client that uses none of these methods sends not one byte for them.
- What a server does not offer is refused here, before a byte of it is sent. Nothing else is done
  in its place: the error names the other way, if there is one.
"""

from __future__ import annotations

from beanrow.client.batch import Batches
from beanrow.protocol import extensions
from beanrow.protocol.capabilities import TRUNCATE

__all__ = ["Extended"]


class Extended(Batches):
    """The methods that need our server."""

    __slots__ = ()

    def capabilities(self) -> frozenset[str]:
        """Ask which words the server knows beyond the protocol; none if it knows no extensions.

        From then on ``put`` with a ``tube`` uses ``put-in-tube`` where the server has it.
        """
        return self._known_words()

    def truncate(self, tube: str) -> int:
        """Delete all jobs of a tube that nobody has reserved, in one command; gives how many.

        NotFoundError if there is no such tube; NotOfferedError if the server knows no
        ``truncate``: ``drain_tube`` does the same with the commands of every server.
        """
        return self._ask(extensions.truncate(tube), word=TRUNCATE)
