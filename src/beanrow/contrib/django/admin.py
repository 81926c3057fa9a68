"""The tubes in the admin: how many jobs wait, the next of each kind, and what helps them.

Laws: a page looks and changes nothing; what changes is a POST and asks for the permission to
change, or to delete. Each request has a connection of its own, since a used tube is a client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from beanrow.client.sync import Client
from beanrow.contrib.django import app
from beanrow.contrib.django.models import Tube
from beanrow.errors import BadValueError, BeanstalkError, NotFoundError
from beanrow.jobs.search import tubes_of
from beanrow.protocol.values import MAX_UINT32, Job

__all__ = ["TubeAdmin"]

_MOST_SHOWN = 2000
"""Bytes of a body: enough to know it, and a page stays a page."""


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Tube]  # generic for type checkers alone
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(Tube)
class TubeAdmin(_ModelAdmin):
    """Lists the tubes, and shows one."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tell that a tube is made by a put, not here."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Give the two pages."""
        one = path("<path:tube>/", self.admin_site.admin_view(self.tube_view), name="beanrow_tube")
        return [*super().get_urls()[:1], one]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show all tubes with their counts."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        tubes: list[Any] = []
        try:
            with _client() as client:
                tubes = sorted(tubes_of(client), key=lambda one: one.name)
        except BeanstalkError as error:
            messages.error(request, str(error))
        told = {"title": f"Tubes of {app.address}", "tubes": tubes, **(extra_context or {})}
        return self._page(request, "tubes.html", told)

    def tube_view(self, request: HttpRequest, tube: str) -> HttpResponse:
        """Show one tube, or do what its buttons ask."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        try:
            with _client() as client:
                if request.method == "POST":
                    messages.success(request, self._act(client, tube, request))
                    return HttpResponseRedirect(request.path)
                told = {
                    "title": tube,
                    "stats": client.stats_tube(tube),
                    "next": _next(client, tube),
                }
                return self._page(request, "tube.html", told)
        except NotFoundError:
            messages.warning(request, f"tube {tube}: there is no such tube or job any more")
        except BeanstalkError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:beanrow_tube_changelist"))

    def _act(self, client: Client, tube: str, request: HttpRequest) -> str:
        act = request.POST.get("act", "")
        may = self.has_delete_permission if act == "delete" else self.has_change_permission
        if not may(request):
            raise PermissionDenied
        if act == "kick":
            client.use(tube)
            return f"{client.kick(MAX_UINT32)} jobs of {tube} kicked"
        if act in {"pause", "resume"}:
            seconds = _number(request, "seconds") if act == "pause" else 0
            client.pause_tube(tube, seconds)
            return f"tube {tube} is paused for {seconds} s" if seconds else f"tube {tube} goes on"
        if act == "kick-job":
            client.kick_job(_number(request, "job"))
            return f"job {_number(request, 'job')} kicked"
        if act == "delete":
            client.delete(_number(request, "job"))
            return f"job {_number(request, 'job')} deleted"
        raise BadValueError(f"{act!r} is nothing that can be done to a tube")

    def _page(self, request: HttpRequest, name: str, told: dict[str, Any]) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "may_change": self.has_change_permission(request),
            "may_delete": self.has_delete_permission(request),
            **told,
        }
        return TemplateResponse(request, f"admin/beanrow/{name}", context)


def _client() -> Client:
    return Client(app.address.url, timeout=app.timeout, tls=app.tls)


def _next(client: Client, tube: str) -> list[dict[str, Any]]:
    """Look at the next job of each kind."""
    client.use(tube)
    looks = {
        "ready": client.peek_ready,
        "delayed": client.peek_delayed,
        "buried": client.peek_buried,
    }
    found = {state: look() for state, look in looks.items()}
    return [_shown(state, job) for state, job in found.items() if job is not None]


def _shown(state: str, job: Job) -> dict[str, Any]:
    body = job.body[:_MOST_SHOWN].decode(errors="replace")
    return {"state": state, "id": job.id, "size": len(job.body), "body": body}


def _number(request: HttpRequest, name: str) -> int:
    text = request.POST.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise BadValueError(f"{name}: {text!r} is not a whole number")
    return int(text)
