"""A tube as the admin sees it: there is no table, the server has all there is."""

from __future__ import annotations

from django.db import models

__all__ = ["Tube"]


class Tube(models.Model):
    """Gives the admin a place in its index and permissions: to view, change, and delete jobs."""

    name: models.CharField[str, str] = models.CharField(max_length=200, primary_key=True)

    class Meta:
        """No table, and nobody adds one."""

        managed = False
        default_permissions: tuple[str, ...] = ("view", "change", "delete")

    def __str__(self) -> str:
        return self.name
