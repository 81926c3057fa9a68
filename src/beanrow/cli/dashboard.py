"""The verb ``dashboard``: a web page for one server or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from beanrow.cli.cluster import STORE
from beanrow.cli.options import checked, shared_servers
from beanrow.client.address import Address
from beanrow.errors import BadValueError
from beanrow.server.listeners import Place, read_place

if TYPE_CHECKING:
    from beanrow.cluster.address import StoreAddress

__all__ = ["dashboard"]

_LIBRARIES = ("starlette", "uvicorn", "jinja2", "markupsafe")
_FILE = click.Path(dir_okay=False, path_type=Path)


def _place(text: str) -> Place:
    try:
        return read_place(text)
    except ValueError as error:
        raise BadValueError(str(error)) from error


@click.command(
    epilog="""\b
Examples:
  beanrow dashboard
  beanrow dashboard --listen 8080 --server queue1 --server queue2
  beanrow dashboard --listen 10.0.0.5:8080 --rights rights.toml \\
      --audit audit.log --tls-cert cert.pem --tls-key key.pem"""
)
@click.option(
    "--listen",
    type=checked("[addr:]port", _place),
    default="127.0.0.1:11381",
    show_default=True,
    help="Port 0 takes a free one.",
)
@click.option("--rights", type=_FILE, help="Who may see and do what (docs/server.md).")
@click.option("--audit", type=_FILE, help="Append who came and what was changed, as JSON.")
@click.option("--read-only", is_flag=True, help="Show, and change nothing.")
@click.option(
    "--undo",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep here what is taken away, for 'restore'. Default: until this ends.",
)
@click.option("--store", type=STORE, help="Show the machines behind gateways (docs/cluster.md).")
@click.option("--tls-cert", type=_FILE, help="Serve inside TLS with this certificate.")
@click.option("--tls-key", type=_FILE, help="Its key. Default: in --tls-cert.")
@shared_servers
def dashboard(
    listen: Place,
    rights: Path | None,
    audit: Path | None,
    read_only: bool,
    undo: Path | None,
    store: StoreAddress | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    servers: tuple[Address, ...],
) -> None:
    """Serve a web page that shows servers and lets people act on them.

    Its address is printed. Without --rights everybody who reaches it may do everything, so it
    listens on this machine only. SIGHUP reads the rights anew.
    """
    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key goes with --tls-cert")
    try:
        from beanrow.dashboard.app import Settings
        from beanrow.dashboard.serving import Certificate, serve
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise click.UsageError(
            f"needs {library}, which is not installed: pip install 'beanrow[dashboard]'"
        ) from error
    certificate = None if tls_cert is None else Certificate(tls_cert, tls_key)
    try:
        serve(Settings(servers, rights, audit, undo, read_only, store), listen, certificate)
    except OSError as error:
        raise click.ClickException(
            f"cannot serve on {listen}: {error.strerror or error}"
        ) from error
