"""The page as an ASGI application: which address answers what, and what every answer says to the browser."""

from __future__ import annotations

import importlib.metadata
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dagcelery.client import Client, default_client
from dagcelery.client.inspection import MOST_ITEMS
from dagcelery.client.listing import Wanted
from dagcelery.errors import (
    BadSignature,
    BrokerUnavailable,
    CodeMismatch,
    DagceleryError,
    InvalidParameters,
    InvalidSetting,
    NotResumable,
    NotSent,
    RunNotFound,
    StoreUnavailable,
)
from dagcelery.settings import Settings
from dagcelery.text import shown
from dagcelery.web.access import ACTIONS, Access, Authorize, Refused, Token
from dagcelery.web.data import Data, Json, check_run_id
from dagcelery.web.live import EventStream, Watchers

if TYPE_CHECKING:
    from dagcelery.telemetry.exposition import Exposition

STATIC: Final = Path(__file__).parent / "static"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_STATUSES: Final[Sequence[tuple[type[DagceleryError], int]]] = (
    (RunNotFound, 404),
    (InvalidParameters, 400),
    (NotResumable, 409),
    (CodeMismatch, 409),
    (BadSignature, 409),
    (StoreUnavailable, 503),
    (BrokerUnavailable, 503),
    (NotSent, 503),
)
_MOST_CHARACTERS: Final = 2_000
_MOST_BODY: Final = 16 * 1024
_GZIP_BYTES: Final = 4_096

log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


def app(
    client: Client | None = None,
    *,
    actions: bool = False,
    authorize: Authorize | None = None,
    token: str | Token | None = None,
    hosts: Sequence[str] | None = None,
    title: str = "dagcelery",
) -> Starlette:
    """Return the page of a client's runs, by default of the default client's, to be mounted or served.

    It only shows runs, unless `actions` are allowed, or `authorize(request, action)` answers True: it is asked before
    everything is answered, with "read" or an action, "cancel", "resume", "retry" or "delete", and may be a coroutine.
    A page with a `token` shows nothing until a browser has shown that; one without relies on `authorize` and on what it
    is mounted in. Requests for other `hosts` are refused; None: all are answered.

    Raises InvalidSetting for a token that could be guessed.
    """
    if isinstance(token, str):
        if len(token) < 16:
            raise InvalidSetting("token", "has fewer than 16 characters, and could be guessed", "make a random one")
        token = Token(token)
    access = Access(token, authorize, actions=actions, hosts=hosts)
    pages = _Pages(client, access, title)
    return Starlette(
        routes=pages.routes(),
        middleware=[
            Middleware(_Sealed, access=access),
            Middleware(GZipMiddleware, minimum_size=_GZIP_BYTES, compresslevel=4),
        ],
        exception_handlers={
            Refused: _refused,
            DagceleryError: _failed,
            HTTPException: _missing,
            Exception: _broken,
        },
    )


class _Sealed:
    """Adds what every answer says to the browser, and answers no request for another host."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._access.check_host(Request(scope).headers.get("host", ""))
        except Refused as refused:
            await _error(refused.status, refused.kind, refused.message)(scope, receive, sealed)
            return
        await self._app(scope, receive, sealed)


class _Static(StaticFiles):
    """Files that a browser keeps, and asks about each time: the next version of them has the same names."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Pages:
    """What each address answers."""

    def __init__(self, client: Client | None, access: Access, title: str) -> None:
        self._client = client
        self._access = access
        self._title = title
        self._known: tuple[Data, Watchers] | None = None
        self._metrics_of: Exposition | None = None

    def _of_client(self) -> tuple[Data, Watchers]:
        """Find the client late: an application may be mounted before it has attached its app."""
        if self._known is None:
            client = self._client or default_client()
            self._known = Data(client), Watchers(client)
        return self._known

    def routes(self) -> list[Route | Mount]:
        """Return the addresses."""
        reading: Mapping[str, Callable[[Data, Request], Json]] = {
            "/api/runs": _runs,
            "/api/dags/{name:path}": lambda data, request: data.dag(_checked("name", request.path_params["name"])),
            "/api/runs/{run}": lambda data, request: data.whole(_run(request)),
            "/api/runs/{run}/node": _node,
            "/api/runs/{run}/items": _items,
            "/api/runs/{run}/trace": lambda data, request: data.trace(_run(request)),
        }
        return [
            Route("/", self._index),
            Route("/metrics", self._metrics),
            Route("/api/session", self._session),
            Route("/api/login", self._login, methods=["POST"]),
            *(Route(path, self._reading(read)) for path, read in reading.items()),
            Route("/api/runs/{run}/report", self._report),
            Route("/api/runs/{run}/live", self._live),
            Route("/api/runs/{run}/{action}", self._act, methods=["POST"]),
            Mount("/static", _Static(directory=STATIC)),
        ]

    def _reading(self, read: Callable[[Data, Request], Json]) -> Answer:
        async def answer(request: Request) -> Response:
            await self._access.check(request, "read")
            return await run_in_threadpool(lambda: JSONResponse(read(self._of_client()[0], request)))

        return answer

    async def _index(self, request: Request) -> Response:
        if not request.scope["path"].endswith("/"):  # relative addresses would mean those of the folder above
            return RedirectResponse(request.scope.get("root_path", "") + "/")
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def _session(self, request: Request) -> Response:
        await self._access.check(request, "read")
        csrf = self._access.csrf(request)
        data, _ = await run_in_threadpool(self._of_client)
        templates = data.links()
        about = {
            "title": self._title,
            "version": importlib.metadata.version("dagcelery"),
            "actions": await self._access.allowed(request),
            "csrf": csrf,
            "flower": templates["flower"],
            "trace_link": templates["trace"],
            "log_link": templates["log"],
            "now": data.now(),
        }
        response = JSONResponse(about)
        self._access.keep_csrf(request, response, csrf)
        return response

    async def _metrics(self, request: Request) -> Response:
        await self._access.check_scraper(request)
        try:
            from dagcelery.telemetry.exposition import Exposition
        except ModuleNotFoundError as error:
            message = f"metrics need {error.name}, which is not installed here: pip install 'dagcelery[metrics]'"
            raise Refused(501, "NotInstalled", message) from error
        if self._metrics_of is None:
            client = self._client or default_client()
            self._metrics_of = Exposition(lambda: client.store, client.settings.dead_seconds)
        text, kind = await run_in_threadpool(self._metrics_of.text, request.headers.get("accept", ""))
        return Response(text, media_type=kind)

    async def _login(self, request: Request) -> Response:
        return await self._access.login(request, (await _body(request)).get("token"))

    async def _live(self, request: Request) -> Response:
        await self._access.check(request, "read")
        run_id = _run(request)
        data, watchers = await run_in_threadpool(self._of_client)
        await run_in_threadpool(data.is_over, run_id)  # no run, no stream
        return EventStream(watchers, run_id, has_graph=request.query_params.get("graph") == "no")

    async def _report(self, request: Request) -> Response:
        await self._access.check(request, "read")
        run_id = _run(request)
        text = await run_in_threadpool(lambda: self._of_client()[0].report(run_id))
        return HTMLResponse(text, headers={"Content-Disposition": f'attachment; filename="run-{run_id}.html"'})

    async def _act(self, request: Request) -> Response:
        action, run_id = request.path_params["action"], _run(request)
        if action not in ACTIONS:
            raise HTTPException(404)
        await self._access.check(request, action)
        self._access.check_csrf(request)
        body = await _body(request)
        address = _checked("address", body.get("address", ""))
        data, _ = await run_in_threadpool(self._of_client)
        if request.query_params.get("preview") == "1":
            return JSONResponse(await run_in_threadpool(data.preview, run_id, action, address))
        if action == "delete" and not await run_in_threadpool(data.is_over, run_id):
            raise Refused(409, "NotOver", f"run {run_id} goes on; cancel it first")
        allows = body.get("allow_code_change") is True
        told = await run_in_threadpool(lambda: data.act(run_id, action, address, allow_code_change=allows))
        log.info("%s on the page: run %s %s", action, run_id, shown(address), extra={"action": action, "run": run_id})
        return JSONResponse(told)


# -- requests ---------------------------------------------------------------------------------------
def _runs(data: Data, request: Request) -> Json:
    given = {name: _checked(name, request.query_params.get(name, "")) for name in ("dag", "state", "key", "text")}
    wanted = Wanted(given["state"] or None, given["key"] or None, text=given["text"])
    before = _checked("before", request.query_params.get("before", ""))
    return data.runs(given["dag"], wanted, before, _number(request, "limit", 50, 1, 200))


def _node(data: Data, request: Request) -> Json:
    first, limit = _number(request, "from", 0, 0, 10**12), _number(request, "limit", 100, 1, MOST_ITEMS)
    state = _checked("state", request.query_params.get("state", "")) or None
    return data.node(_run(request), _address(request), first, limit, state)


def _items(data: Data, request: Request) -> Json:
    buckets = _number(request, "buckets", 200, 1, 1_000)
    return data.density(_run(request), _address(request), buckets)


def _run(request: Request) -> str:
    return check_run_id(request.path_params["run"])


def _address(request: Request) -> str:
    return _checked("address", request.query_params.get("address", ""))


def _checked(name: str, text: object) -> str:
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS or not text.isprintable():
        problem = f"is no text of at most {_MOST_CHARACTERS:,} characters that can be seen"
        raise InvalidParameters(f"{name}={shown(text)}", problem, "ask for something else")
    return text


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 15 and least <= int(text) <= most):
        raise InvalidParameters(f"{name}={shown(text)}", f"is no number from {least:,} to {most:,}", "give one")
    return int(text)


async def _body(request: Request) -> Json:
    """Read a JSON object, a small one."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BODY:
            raise Refused(413, "TooLarge", f"the body has more than {_MOST_BODY:,} bytes")
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "InvalidParameters", "the body is not a JSON object")
    return found


# -- errors -----------------------------------------------------------------------------------------
def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message}}, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _error(error.status, error.kind, error.message)


async def _failed(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status == 500:
        log.error("the page could not be answered: %s", error)
    return _error(status, type(error).__name__, str(error))


async def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "NotFound" if error.status_code == 404 else "Refused", str(error.detail))


async def _broken(request: Request, error: Exception) -> Response:
    """Say nothing of what broke: it may hold what is not to be shown. Starlette raises it again, for the log.

    Starlette asks for this outside of all other middleware, so that nothing else would add the headers.
    """
    response = _error(500, "InternalError", "this went wrong on the server; its log says more")
    response.headers.update(_HEADERS | {"Cache-Control": "no-store"})
    return response


def setting_token(settings: Settings) -> Token | None:
    """Return the token that the settings give, which every browser may show."""
    return Token(settings.web_token) if settings.web_token else None
