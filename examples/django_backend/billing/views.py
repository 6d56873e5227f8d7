"""The shop's responses over HTTP."""

from functools import partial

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST

from billing.models import Bill, Order
from billing.pipelines import start
from billing.tasks import confirm
from dagcelery import Run


@require_POST
def order(request: HttpRequest) -> JsonResponse:
    """Take an order; the shop's own Celery task confirms it."""
    made = Order(**{name: request.POST.get(name) for name in ("customer", "month", "cents")})
    made.full_clean()
    with transaction.atomic():
        made.save()
        transaction.on_commit(partial(confirm.delay, made.pk))
    return JsonResponse({"id": made.pk}, status=201)


@require_http_methods(["GET", "POST"])
def bill(request: HttpRequest, month: str) -> JsonResponse:
    """POST starts a month's bill, once; GET says how far it is.

    If it were submitted before the commit, it could be executed before the row exists, or although it never will. A
    process that dies after the commit leaves a bill without a run; the command `bill` or the next POST starts it.
    """
    if request.method == "POST":
        with transaction.atomic():
            Bill.objects.get_or_create(month=month)
            transaction.on_commit(partial(start, month))
    found = get_object_or_404(Bill, month=month)
    state = Run[int](found.run).state if found.run else "not started"
    return JsonResponse({"run": found.run, "state": state, "total": found.total})
