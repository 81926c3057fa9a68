"""A client in Flask: one for each app, named in its configuration.

    queue = Beanrow(app)  # or Beanrow(), and queue.init_app(app) in a factory

    @app.post("/orders")
    def order():
        return str(queue.client.put(request.get_data(), tube="orders"))

``BEANROW_SERVER`` of the app's configuration is the address; without it BEANSTALKD_URL, else
localhost:11300. Tasks need nothing of this: they have an app of their own.

Law: nothing is connected before the first command, so the app starts though the server is away,
and a process that was forked has connections of its own.
"""

from __future__ import annotations

from flask import Flask, current_app

from beanrow.client.address import read_address
from beanrow.client.sync import Client

__all__ = ["Beanrow"]

_NAME = "beanrow"


class Beanrow:
    """The extension."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give this app a client; BadValueError if its BEANROW_SERVER is no address."""
        address = app.config.setdefault("BEANROW_SERVER", None)
        app.extensions[_NAME] = Client(read_address(address).url)

    @property
    def client(self) -> Client:
        """The client of the current app, for all its threads; RuntimeError outside of an app."""
        client: Client | None = current_app.extensions.get(_NAME)
        if client is None:
            raise RuntimeError(f"app {current_app.name} has no beanrow client: call init_app")
        return client
