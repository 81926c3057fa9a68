"""What Django is told of this app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

__all__ = ["BeanrowConfig"]


class BeanrowConfig(AppConfig):
    """Finds the tasks when all apps are there."""

    name = "beanrow.contrib.django"
    label = "beanrow"
    verbose_name: str = "Work queue"

    def ready(self) -> None:
        """Import the module ``tasks`` of each installed app that has one."""
        autodiscover_modules("tasks")
