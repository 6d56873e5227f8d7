"""A team's Celery app whose workers log as JSON, with a formatter of the team's own."""

from __future__ import annotations

import json
import logging
import os

from celery import Celery
from celery.signals import after_setup_logger

from dagcelery import PieceFilter, attach

FIELDS = ("run", "dag", "node", "item", "attempt", "queue", "action", "state", "seconds")


class AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"level": record.levelname, "message": record.getMessage()}
        fields |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


@after_setup_logger.connect
def use_json(logger: logging.Logger, **_: object) -> None:
    for handler in logger.handlers:
        handler.setFormatter(AsJson())
        handler.addFilter(PieceFilter())


app = Celery("team", broker=os.environ["DAGCELERY_BROKER_URL"])
attach(app)
