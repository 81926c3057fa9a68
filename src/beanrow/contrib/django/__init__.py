"""Jobs of a Django project.

    INSTALLED_APPS = [..., "beanrow.contrib.django"]
    BEANROW_SERVER = "localhost:11300"  # without it BEANSTALKD_URL, else localhost:11300

    # shop/tasks.py: the modules called tasks of all installed apps are found
    from beanrow.contrib.django import app, put_on_commit

    @app.task(tube="emails")
    def send_welcome(user_id: int) -> None: ...

    # shop/views.py
    put_on_commit(send_welcome, user.pk)

``manage.py beanrow work`` runs the jobs, ``manage.py beanrow VERB`` is the command line for this
server, and the admin shows the tubes.

Laws: a job never sees a database connection that its predecessor broke or that is over its age;
nothing is put for a transaction that was rolled back.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ParamSpec

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections, connections, transaction

from beanrow.errors import BeanstalkError
from beanrow.worker.app import App
from beanrow.worker.events import Middleware
from beanrow.worker.run import Run
from beanrow.worker.task import Put

__all__ = ["DatabaseConnections", "app", "put_on_commit"]

P = ParamSpec("P")


class DatabaseConnections(Middleware):
    """Treats a run as Django treats a request: connections that are broken or too old are closed.

    The app below has it. Connections are those of the thread that runs the job, so tasks that use
    the database belong into a worker of threads or processes.
    """

    def on_start(self, app: App) -> None:
        """Begin without the connections of whoever imported the tasks."""
        connections.close_all()

    def before(self, run: Run) -> None:
        """Close what grew old while the worker waited."""
        close_old_connections()

    def after(self, run: Run) -> None:
        """Close what is not to be kept."""
        close_old_connections()

    def on_failure(self, run: Run, error: BaseException) -> None:
        """Close what the failure broke."""
        close_old_connections()


def put_on_commit(task: Put[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Put this call when the transaction is committed; now, where there is none.

    ``task`` is a task or ``task.options(...)``. Nothing is put after a rollback. What the put
    raises reaches whoever commits, after the commit. A process that dies between commit and put
    leaves a row and no job: where that must not be, write the job's arguments in a table of the
    same transaction and put from there.
    """
    transaction.on_commit(partial(task.put, *args, **kwargs))


def _app() -> App:
    server = getattr(settings, "BEANROW_SERVER", None)
    try:
        return App(server, middleware=[DatabaseConnections()])
    except BeanstalkError as error:
        raise ImproperlyConfigured(f"BEANROW_SERVER: {error}") from error


app: App = _app()
"""The app of this project's tasks."""
