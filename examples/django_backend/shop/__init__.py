"""A shop on Django with a Celery app of its own: `celery -A shop worker`.

Notice that `celery.py` attaches dagcelery to that app, and that nothing else is set up: the same workers execute the
shop's own tasks and the pieces of its DAGs, and both can use Django's models. A run is submitted when the transaction
is committed, with a key made from the row, so a process that finds a row without its run can submit it again.
"""

from shop.celery import app as celery_app

__all__ = ["celery_app"]
