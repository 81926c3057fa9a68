"""Make the model known; no table is made."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first."""

    initial = True
    operations = (
        migrations.CreateModel(
            name="Tube",
            fields=[("name", models.CharField(max_length=200, primary_key=True, serialize=False))],
            options={"managed": False, "default_permissions": ("view", "change", "delete")},
        ),
    )
