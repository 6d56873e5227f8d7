"""A month's bill as a DAG; its tasks use models like any code of the shop."""

from django.db.models import Sum

from billing.models import Bill, Order
from dagcelery import Run, dag, task


@task
def customers(month: str) -> list[str]:
    found = Order.objects.filter(month=month).order_by("customer").values_list("customer", flat=True)
    return list(found.distinct())


@task
def owed(customer: str, month: str) -> int:
    found = Order.objects.filter(customer=customer, month=month).aggregate(cents=Sum("cents"))
    return int(found["cents"])


@task
def close(month: str, cents: list[int]) -> int:
    """Store the total. A task may be executed again when a worker dies, so this sets a value, and does not add."""
    total = sum(cents)
    Bill.objects.filter(month=month).update(total=total)
    return total


@dag
def bill(month: str) -> int:
    """Compute a month's total of all customers."""
    return close(month, [owed(customer, month) for customer in customers(month)])


def start(month: str) -> Run[int]:
    """Start the run of a month's bill, or find it: its key makes it unique, however often this is called."""
    run = bill.options(key=f"bill {month}").submit(month)
    Bill.objects.filter(month=month).update(run=run.id)
    return run
