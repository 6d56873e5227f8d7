"""A team's Celery app whose workers log as README.md shows: its example is what runs here."""

from __future__ import annotations

import os
import re
from pathlib import Path

from celery import Celery

from dagcelery import attach

README = Path(__file__).parents[4] / "README.md"
found = re.search(r"^```python\n# jsonlog\.py\n(.*?)^```", README.read_text(), re.M | re.S)
assert found is not None
exec(compile(found[1], str(README), "exec"), globals())

app = Celery("team", broker=os.environ["DAGCELERY_BROKER_URL"])
attach(app)
