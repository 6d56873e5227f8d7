"""Who may see the page, and who may act: a token that becomes a cookie, a second one against forged requests, and the
hook of the application that the page is mounted in.

The page itself, its scripts and styles, tells nothing and is served to everyone. The road not taken is a token in the
query of an address, which every log and proxy would keep: it travels behind the ``#``, which no browser sends, and is
posted once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

ACTIONS: Final = ("cancel", "resume", "retry", "delete")
Authorize: TypeAlias = Callable[[Request, str], bool | Awaitable[bool]]
"""Says of a request whether it may do something: "read", or one of the actions."""

_SESSION_SECONDS: Final = 12 * 3600
_REFUSED_SECONDS: Final = 0.2
_SITES: Final = frozenset({"same-origin", "none"})


class Refused(Exception):
    """A request is answered with an error: a status, a type and a sentence."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


class Token:
    """What a browser shows once to get a session. One that is for a `single_use` is refused from then on."""

    def __init__(self, text: str, *, single_use: bool = False) -> None:
        self._text = text.encode()
        self._single_use = single_use
        self._is_used = False
        # Other processes know the sessions of a token that stays. One that was used lets nobody make a session of it.
        self._key = secrets.token_bytes(32) if single_use else self._text
        self._lock = threading.Lock()
        self.name = f"dagcelery-{hashlib.sha256(b'name' + self._text).hexdigest()[:8]}"
        """What the cookie is called: ports share their cookies, and two pages must not."""

    def take(self, text: str) -> None:
        """Accept the token, or raise Refused."""
        with self._lock:
            if not hmac.compare_digest(text.encode(errors="replace"), self._text):
                raise Refused(401, "WrongToken", "this is not the token")
            if self._is_used:
                remedy = "start `dagcelery ui` again for another one, or set DAGCELERY_WEB_TOKEN"
                raise Refused(401, "TokenUsed", f"this token was used, by this browser or another one; {remedy}")
            self._is_used = self._single_use

    def is_shown(self, text: str) -> bool:
        """Whether this is the token, of those that do not serve only once."""
        return not self._single_use and hmac.compare_digest(text.encode(errors="replace"), self._text)

    def session(self) -> str:
        """Return a session, when it ends and a proof of that: any process knows it that has this token, if it stays."""
        until = str(int(time.time()) + _SESSION_SECONDS)
        return f"{until}.{self._proof(until)}"

    def knows(self, session: str) -> bool:
        """Whether this is a session that has not ended."""
        until, _, proof = session.partition(".")
        is_ours = hmac.compare_digest(proof.encode(errors="replace"), self._proof(until).encode())
        return is_ours and until.isdecimal() and time.time() < int(until)

    def _proof(self, until: str) -> str:
        return hmac.new(self._key, f"session {until}".encode(errors="replace"), hashlib.sha256).hexdigest()


class Access:
    """The rules of one page. Without a `token` whoever reaches it may read, as far as `authorize` allows it; actions
    need `authorize` or `actions`. Of requests for other `hosts` none is answered, so that no name that somebody points
    here serves to ask for a browser.
    """

    def __init__(
        self,
        token: Token | None,
        authorize: Authorize | None,
        *,
        actions: bool,
        hosts: Sequence[str] | None,
    ) -> None:
        self._token = token
        self._authorize = authorize
        self._actions = actions
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._csrf = f"{token.name if token else 'dagcelery'}-csrf"

    def check_host(self, header: str) -> None:
        """Raise Refused unless a request is for one of our names."""
        name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
        if self._hosts is not None and name.lower().strip("[]") not in self._hosts:
            raise Refused(400, "WrongHost", "this page has another name; start it with --allow-host if this is one")

    async def check(self, request: Request, action: str) -> None:
        """Raise Refused unless a request may do this."""
        if not self._is_known(request):
            raise Refused(401, "NoSession", "show the token that `dagcelery ui` has printed")
        if not await self._allows(request, action):
            what = "see this" if action == "read" else f"{action} runs here"
            raise Refused(403, "NotAllowed", f"you may not {what}")

    async def check_scraper(self, request: Request) -> None:
        """Raise Refused unless a request may read: a program has no session, and shows the token with each request."""
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        is_shown = self._token is not None and kind.lower() == "bearer" and self._token.is_shown(text.strip())
        if not is_shown and not self._is_known(request):
            await asyncio.sleep(_REFUSED_SECONDS)
            raise Refused(401, "WrongToken", "send the token of this page, DAGCELERY_WEB_TOKEN, as a bearer token")
        if not await self._allows(request, "read"):
            raise Refused(403, "NotAllowed", "you may not see this")

    async def allowed(self, request: Request) -> list[str]:
        """Return the actions that a request may do."""
        return [action for action in ACTIONS if await self._allows(request, action)]

    def _is_known(self, request: Request) -> bool:
        return self._token is None or self._token.knows(request.cookies.get(self._token.name, ""))

    async def _allows(self, request: Request, action: str) -> bool:
        if action != "read" and not self._actions and self._authorize is None:
            return False
        if self._authorize is None:
            return True
        answer = self._authorize(request, action)
        # Only True counts: a hook that forgets to answer allows nothing.
        return (await answer if inspect.isawaitable(answer) else answer) is True

    # -- sessions ---------------------------------------------------------------------------------
    async def login(self, request: Request, text: object) -> Response:
        """Exchange the token for a session."""
        self.check_site(request)
        if self._token is None:
            raise Refused(401, "WrongToken", "this page has no token: who may see it is decided around it")
        try:
            self._token.take(text if isinstance(text, str) else "")
        except Refused:
            await asyncio.sleep(_REFUSED_SECONDS)
            raise
        response = Response(status_code=204)
        self._set(request, response, self._token.name, self._token.session())
        return response

    def csrf(self, request: Request) -> str:
        """Return what actions of this browser have to repeat."""
        return request.cookies.get(self._csrf) or secrets.token_urlsafe(32)

    def keep_csrf(self, request: Request, response: Response, csrf: str) -> None:
        """Let the browser keep it."""
        if request.cookies.get(self._csrf) != csrf:
            self._set(request, response, self._csrf, csrf)

    def check_csrf(self, request: Request) -> None:
        """Raise Refused unless it is our own page that asks."""
        self.check_site(request)
        kept, told = request.cookies.get(self._csrf, ""), request.headers.get("x-csrf-token", "")
        if not kept or not hmac.compare_digest(kept.encode(errors="replace"), told.encode(errors="replace")):
            raise Refused(403, "ForgedRequest", "the header X-CSRF-Token is not what api/session says; reload the page")

    def check_site(self, request: Request) -> None:
        """Raise Refused where a browser says that another site asks, or the body could come from a form."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        is_ours = (
            site in _SITES if site else origin is None or origin.partition("://")[2] == request.headers.get("host")
        )
        if not is_ours:
            raise Refused(403, "ForgedRequest", "this request comes from another site")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(403, "ForgedRequest", "send JSON, as application/json")

    def _set(self, request: Request, response: Response, name: str, value: str) -> None:
        path, is_https = request.scope.get("root_path", "") or "/", request.url.scheme == "https"
        response.set_cookie(name, value, _SESSION_SECONDS, path=path, secure=is_https, httponly=True, samesite="strict")
