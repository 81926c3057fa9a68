"""Make the model known; no table is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """The first."""

    initial: ClassVar[bool | None] = True
    operations: ClassVar[Sequence[Operation]] = (
        migrations.CreateModel(
            name="Tube",
            fields=[("name", models.CharField(max_length=200, primary_key=True, serialize=False))],
            options={"managed": False, "default_permissions": ("view", "change", "delete")},
        ),
    )
