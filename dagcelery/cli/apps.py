"""The Celery app that a command is about: what ``-A`` names, or the app of ``celery -A shop dag``.

Every verb takes it, behind its own name or before it, and the app's client is the default one while the verb runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from dagcelery import client
from dagcelery.planner.routing import DEFAULT
from dagcelery.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.planner.plan import Plan

OWN: Final = "dagcelery"
_APP: Final = "dagcelery.app"
_NAME: Final = "dagcelery.app.name"


def choose(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """Load the app that ``-A`` names, at once: the modules of targets may need what it sets up."""
    if name:
        use(ctx, find_app(name), name)


def add_option(command: click.Command) -> None:
    """Give a command, and those below it, the option ``-A``."""
    about = "The Celery app that dagcelery is attached to; without it the environment says all."
    option = click.Option(
        ["-A", "--app"], metavar="APP", is_eager=True, expose_value=False, callback=choose, help=about
    )
    command.params.append(option)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_option(each)


def use(ctx: click.Context, app: Celery, name: str) -> None:
    """Let a command be about an app; its client is the default one until the command is over."""
    from dagcelery.runtime.binding import binding_of

    binding = binding_of(app)
    ctx.meta[_APP], ctx.meta[_NAME] = app, name
    replaced = client.set_default(client.Client(binding.settings, app))
    ctx.call_on_close(lambda: client.set_default(replaced))


def take_celerys(ctx: click.Context) -> None:
    """Take the app that ``celery -A shop dag ...`` was given."""
    above = ctx.parent
    name = above.params.get("app") if above is not None else None
    found: Any = getattr(above.obj, "app", None) if above is not None else None
    if name and found is not None:
        use(ctx, attached(found, str(name)), str(name))


def chosen_app() -> Celery | None:
    """Return the app that the command is about, if one was named."""
    found: Celery | None = _meta().get(_APP)
    return found


def chosen_name() -> str:
    """Return what Celery's own command line is to be told after ``-A``."""
    return str(_meta().get(_NAME, OWN))


def _meta() -> dict[str, Any]:
    ctx = click.get_current_context(silent=True)
    return {} if ctx is None else ctx.meta


def some_app() -> Celery:
    """Return the app that the command is about, dagcelery's own if none was named."""
    return chosen_app() or find_app(OWN)


def find_app(name: str) -> Celery:
    """Import the Celery app that ``-A`` names, as Celery does, and take dagcelery's own for that name."""
    from celery.app.utils import find_app

    replaced = client.set_default(None)
    try:
        found = find_app(name)
    except Exception as error:  # a module's body raises what it likes
        message = str(error) if isinstance(error, AttributeError | ImportError) else f"{type(error).__name__}: {error}"
        raise click.BadParameter(f"'{name}' cannot be imported: {message}", param_hint="--app") from error
    finally:
        client.set_default(replaced)
    return attached(found, name)


def attached(app: Celery, name: str) -> Celery:
    """Return an app, unless dagcelery is not attached to it."""
    from dagcelery.runtime.binding import known_binding

    if known_binding(app) is None:
        raise click.BadParameter(f"dagcelery is not attached to '{name}'; call attach(app) in it", param_hint="--app")
    return app


def prepare_modules() -> None:
    """Import the app's own modules, as its worker does, which also makes Django ready."""
    app = chosen_app()
    if app is None:
        return
    try:
        app.loader.import_default_modules()
    except Exception as error:  # a module's body raises what it likes
        message = f"the modules of the app '{chosen_name()}' cannot be imported: {type(error).__name__}: {error}"
        raise click.ClickException(message) from error


def settings() -> Settings:
    """Return the settings that hold for the command."""
    from dagcelery.runtime.binding import binding_of

    app = chosen_app()
    return Settings.from_environment() if app is None else binding_of(app).settings


def default_queue() -> str:
    """Return the queue of what is not tainted."""
    app = chosen_app()
    return settings().queue or (DEFAULT if app is None else str(app.conf.task_default_queue))


def plan_of(node: client.Node) -> Plan:
    """Return the plan that submitting a DAG would make."""
    return client.plan_of(node, queue=default_queue(), settings=settings())
