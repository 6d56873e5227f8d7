"""A shop on Django with the Celery app that it has always had: `celery -A shop worker`.

Notice that `celery.py` attaches dagcelery to that app, and that nothing else is set up: the same workers serve the
shop's own tasks and the pieces of its DAGs, and both find Django's models. A run is submitted when the transaction has
been committed, with a key that the row gives it, so it can be done again by whoever finds that it was not done.
"""

from shop.celery import app as celery_app

__all__ = ["celery_app"]
