"""`dagorama.serializer`: objects with a state that workers have by themselves."""

from dagcelery.frontends.workflow import register_definition

__all__ = ["register_definition"]
