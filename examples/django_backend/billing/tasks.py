"""The shop's own Celery tasks, which are independent of dagcelery and run on the same workers."""

from celery import shared_task

from billing.models import Order


@shared_task
def confirm(order: int) -> None:
    """Confirm an order to its customer."""
    Order.objects.filter(pk=order).update(is_confirmed=True)
