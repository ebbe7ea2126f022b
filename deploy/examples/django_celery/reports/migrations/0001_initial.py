"""The table of reports."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes it."""

    initial = True
    operations: ClassVar = [
        migrations.CreateModel(
            name="Report",
            fields=[
                ("job", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("topic", models.CharField(max_length=200)),
                ("state", models.CharField(max_length=20)),
                ("text", models.TextField(default="")),
            ],
        )
    ]
