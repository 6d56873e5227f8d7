"""The target of a command: ``pkg.mod:name`` becomes a DAG or a task, and texts become its parameters.

The command uses the Celery app that ``-A`` names, or that of ``celery -A shop dag``. Characters that a terminal would
obey, such as those for colours, are escaped in other people's text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar, Union, get_args, get_origin

import click

from dagcelery import client
from dagcelery.frontends.functional import DagFunction, TaskFunction, build
from dagcelery.importing import Unimportable, import_named
from dagcelery.model import DAG, Buildable, Task
from dagcelery.model.buildable import not_buildable
from dagcelery.model.options import IfFailed
from dagcelery.planner.plan import DEFAULT_QUEUE
from dagcelery.settings import Settings
from dagcelery.signatures import bare, hints

if TYPE_CHECKING:
    from celery import Celery

    from dagcelery.planner.plan import Plan


C = TypeVar("C", bound=Callable[..., Any])


def plain(text: str) -> str:
    """Return `text` with every character that cannot be seen escaped as in Python, but for tabs and ends of lines."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


OWN: Final = "dagcelery"

_APP: Final = "dagcelery.app"

_NAME: Final = "dagcelery.app.name"


def choose(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """Load the app that ``-A`` names, at once: the modules of targets may need what it sets up."""
    if name:
        use(ctx, find_app(name), name)


def add_option(command: click.Command) -> None:
    """Give a command, and those below it, the option ``-A``."""
    about = "A Celery app with dagcelery attached; by default dagcelery's own, configured by the environment."
    option = click.Option(
        ["-A", "--app"], metavar="APP", is_eager=True, expose_value=False, callback=choose, help=about
    )
    command.params.append(option)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_option(each)


def use(ctx: click.Context, app: Celery, name: str) -> None:
    """Let a command be about an app; its client is the default one until the command is over."""
    from dagcelery.worker.app import app_context_of

    app_context = app_context_of(app)
    ctx.meta[_APP], ctx.meta[_NAME] = app, name
    replaced = client.set_default(client.Client(app_context.settings, app))
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
        app = find_app(name)
    except Exception as error:  # a module's body raises what it likes
        message = str(error) if isinstance(error, AttributeError | ImportError) else f"{type(error).__name__}: {error}"
        raise click.BadParameter(f"'{name}' cannot be imported: {message}", param_hint="--app") from error
    finally:
        client.set_default(replaced)
    return attached(app, name)


def attached(app: Celery, name: str) -> Celery:
    """Return an app, unless dagcelery is not attached to it."""
    from dagcelery.worker.app import find_app_context

    if find_app_context(app) is None:
        message = f"dagcelery is not attached to '{name}'; call dagcelery.attach(app) in its module"
        raise click.BadParameter(message, param_hint="--app")
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
    from dagcelery.worker.app import app_context_of

    app = chosen_app()
    return Settings.from_environment() if app is None else app_context_of(app).settings


def default_queue() -> str:
    """Return the queue of what is not tainted."""
    app = chosen_app()
    return settings().queue or (DEFAULT_QUEUE if app is None else str(app.conf.task_default_queue))


def plan_of(node: client.Submittable) -> Plan:
    """Return the plan that submitting a DAG would make."""
    return client.plan_of(node, queue=default_queue(), settings=settings())


@dataclass(frozen=True)
class Target:
    """A DAG or a task as its module holds it: decorated, or declared; `name` is the text that named it."""

    found: Buildable[..., Any] | DAG | Task
    name: str = ""

    def submit(
        self,
        params: dict[str, Any],
        *,
        key: str | None = None,
        if_failed: IfFailed = "return",
        deadline: float | None = None,
    ) -> client.Run[Any]:
        """Start a run on the default client's workers, or find the one that has this key."""
        if isinstance(self.found, DagFunction):
            return self.found.options(key=key, if_failed=if_failed, deadline=deadline).submit(**params)
        if isinstance(self.found, TaskFunction) and key is None and deadline is None and if_failed == "return":
            return self.found.submit(**params)
        return client.submit(self.found, params, key=key, if_failed=if_failed, deadline=deadline)

    def invoke(self, params: dict[str, Any]) -> Any:
        """Run it in this process."""
        if isinstance(self.found, DagFunction | TaskFunction):
            return self.found.invoke(**params)
        return client.invoke(self.found, params)

    def dag(self, params: dict[str, Any]) -> DAG | Task:
        """Return the model; `params` matter only where some are static."""
        if isinstance(self.found, DagFunction):
            return build(self.found, **{name: params[name] for name in self.found.static if name in params})
        return client.dag_of(self.found)

    def node(self, name: str) -> Target:
        """Return a node within it, for its annotations; itself where static parameters say what is within."""
        if not name or (isinstance(self.found, DagFunction) and self.found.static):
            return self
        return Target(client.found_at(client.dag_of(self.found), name)[0])

    def annotations(self) -> dict[str, object]:
        """Return the annotations of its parameters by name; a declared DAG has none."""
        match self.found:
            case DagFunction() | TaskFunction():
                return hints(self.found.fn)
            case Task():
                return hints(self.found.func)
            case _:
                return {}


def load(ctx: click.Context | None, param: click.Parameter | None, text: str) -> Target:
    """Import the module of ``pkg.mod:name`` and find the DAG in it."""
    prepare_modules()
    try:
        target = import_named(text)
    except Unimportable as error:
        if error.has_failed:
            raise click.ClickException(str(error)) from error
        raise click.BadParameter(f"'{text}': {error}", ctx, param) from error
    if not isinstance(target, DAG | Task | Buildable):
        raise not_buildable(target, "is neither a DAG nor a task", "decorate it with @dag or @task", f"'{text}'")
    return Target(target, text)


def given(command: C) -> C:
    """Give a command a target and its parameters: the arguments `target` and `params`."""
    options = [
        click.argument("target", callback=load),
        click.option(
            "-p",
            "pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help="A parameter, as JSON, or as plain text if the parameter is annotated as str.",
        ),
        click.option(
            "--params", "file", type=click.File("r"), help="A JSON file with all parameters; - is standard input."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def parameters(target: Target, pairs: Iterable[str], file: TextIO | None) -> dict[str, Any]:
    """Return a run's parameters: those of a JSON file, and over them ``name=value`` pairs."""
    params: dict[str, Any] = {}
    if file is not None:
        try:
            params = json.load(file)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"{file.name} is not JSON: {error}", param_hint="--params") from error
        if not isinstance(params, dict):
            raise click.BadParameter(f'{file.name} is not an object; write {{"name": value}}', param_hint="--params")
    annotations = target.annotations()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"'{pair}' has no value; write {pair}=VALUE", param_hint="-p")
        params[name] = value(name, text, annotations.get(name))
    return params


def value(name: str, text: str, annotation: object) -> Any:
    """Read a parameter's value: raw text where it is annotated as such, else JSON."""
    kind = bare(annotation)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if str in kinds:
        return None if NoneType in kinds and text == "null" else text
    try:
        return json.loads(text)
    except RecursionError:
        raise click.BadParameter(f"{name} is nested too deeply for JSON; make it flatter", param_hint="-p") from None
    except ValueError:
        raise click.BadParameter(
            f"{name}={text} is not JSON; for a text write -p '{name}={json.dumps(text)}' "
            "or annotate the parameter as str",
            param_hint="-p",
        ) from None
