"""The app, for a worker that starts without ``manage.py``.

DJANGO_SETTINGS_MODULE=shop.settings beanrow work beanrow.contrib.django.worker:app
"""

from __future__ import annotations

import django
from django.apps import apps

__all__ = ["app"]

if not apps.ready:
    django.setup()

from beanrow.contrib.django import app
