"""Responses to clients for the errors that Django and dagcelery raise."""

from collections.abc import Callable

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from dagcelery import errors

STATUSES: dict[type, int] = {
    ValidationError: 400,
    errors.RunNotFound: 404,
    errors.StoreUnavailable: 503,
    errors.BrokerUnavailable: 503,
}


class Answers:
    """A middleware of Django."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> JsonResponse | None:
        """Return a response for a view's exception; None leaves it to Django."""
        status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
        return JsonResponse({"error": type(error).__name__}, status=status) if status else None
