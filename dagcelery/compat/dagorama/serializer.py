"""`dagorama.serializer`: objects whose state workers already have."""

from dagcelery.frontends.workflow import register_definition

__all__ = ["register_definition"]
