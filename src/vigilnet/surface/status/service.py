"""The status interface at work: routes, the token, and a look at the node each second."""

import asyncio
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.http.guards import BearerToken, OwnHosts, RateLimit, is_local
from vigilnet.base.http.messages import (
    HTML,
    TEXT,
    Request,
    Response,
    error_response,
    json_response,
    text_response,
)
from vigilnet.base.http.routes import Routes
from vigilnet.base.http.service import HttpServer
from vigilnet.base.store_io import write_file
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.operators.service import DirectoryService
from vigilnet.routing.operators.wire import MAX_BODY
from vigilnet.surface.status.facts import Facts, History, state_of
from vigilnet.surface.status.pages import (
    config_values,
    dashboard,
    prometheus,
    status_text,
    status_values,
)

TOKEN_FILE: Final = "status.token"  # noqa: S105 a file's name
LOOK_S: Final = 1.0
TERMINATE_S: Final = 0.12  # qnet's: the answer is out before the process ends
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_CLOSE: Final = {"Connection": "close"}  # as qnet's, for each answer
_POLICY: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_NOT_FOUND: Final = "directory service not available in this mode"


class Shown(Protocol):
    """What is shown."""

    def facts(self) -> Facts:
        """Return the node of now."""
        ...

    def directory(self) -> DirectoryService | None:
        """Return its directory, if it runs one."""
        ...


def make_token(folder: Path) -> str:
    """Write a new token for what changes something; whoever can read the state folder may."""
    token = secrets.token_urlsafe(32)
    write_file(folder / TOKEN_FILE, token.encode())
    return token


class StatusService:
    """Serves the pages, and the directory's routes.

    Args:
        shown: the node.
        clock: time.
        token: opens what changes something, and all pages from elsewhere.
        on_stop: ends the process.
        compat: whether GET /terminate does, from this machine.
        rate_per_minute: requests of one address to the directory.
    """

    def __init__(
        self,
        shown: Shown,
        clock: Clock,
        token: str,
        on_stop: Callable[[], None],
        *,
        compat: bool,
        rate_per_minute: int,
    ) -> None:
        self._shown = shown
        self._clock = clock
        self._token = BearerToken(token)
        self._on_stop = on_stop
        self._rate = RateLimit(rate_per_minute)
        self._history = History()
        self._tasks = TaskGroup("status")
        directory = self._directory_routes()
        self.server = HttpServer([self._pages(compat=compat), self._open_pages(), directory], clock)
        self.public = HttpServer([directory], clock)  # of operators.listen

    async def listen(self, host: str, port: int) -> int:
        """Listen and begin to look at the node; return the port.

        Raises:
            EnvironmentRefusedError: the port is taken or may not be used.
        """
        bound = await _listen(self.server, host, port, "status.port")
        self._tasks.start("look", self._keep_looking())
        return bound

    async def listen_publicly(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Serve the directory alone, for everybody; raises as `listen`."""
        return await _listen(self.public, host, port, "operators.listen", tls)

    async def close(self) -> None:
        """Stop; safe to call twice."""
        await self._tasks.close()
        await self.server.close()
        await self.public.close()

    async def _keep_looking(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> Facts:
        facts = self._shown.facts()
        self._history.note(state_of(facts), self._clock.now())
        return facts

    # ---- pages

    def _pages(self, *, compat: bool) -> Routes:
        routes = Routes(_CLOSE, _Mine(self._token))
        routes.add("GET", "/", self._front)
        routes.add("GET", "/status", self._status)
        routes.add("GET", "/status.txt", self._status_text)
        routes.add("GET", "/metrics", self._metrics)
        routes.add("GET", "/config", lambda _: json_response(config_values(self._shown.facts())))
        routes.add("POST", "/terminate", self._terminate, max_body=1024, guard=self._token)
        if compat:
            routes.add("GET", "/terminate", self._terminate)
        return routes

    def _open_pages(self) -> Routes:
        routes = Routes(_CLOSE)
        routes.add("GET", "/ready", lambda _: text_response("ok"))
        routes.add(
            "GET", "/ping", lambda _: json_response({"ok": True, "ts": int(self._clock.wall() * 1000)})
        )
        return routes

    def _front(self, _: Request) -> Response:
        page = dashboard(self._look(), self._history, self._clock.now())
        return Response(200, page.encode(), HTML, _POLICY)

    def _status(self, _: Request) -> Response:
        return json_response(status_values(self._look(), self._history, self._clock.now()))

    def _status_text(self, _: Request) -> Response:
        return text_response(status_text(self._look(), self._history, self._clock.now()), TEXT)

    def _metrics(self, request: Request) -> Response:
        active, total = self.server.active, self.server.total
        if "text/plain" in request.headers.get("accept", "") or "openmetrics" in request.headers.get(
            "accept", ""
        ):
            return text_response(prometheus(self._look(), self._history, active, total), PROMETHEUS)
        return json_response({"status_conn_active": active, "status_conn_total": total})

    def _terminate(self, _: Request) -> Response:
        asyncio.get_running_loop().call_later(TERMINATE_S, self._on_stop)
        return json_response({"terminating": True})

    # ---- the directory

    def _directory_routes(self) -> Routes:
        routes = Routes(_CLOSE, self._rate)
        routes.add("POST", "/api/relay/register", self._register, max_body=MAX_BODY)
        routes.add("GET", "/api/relays/by-country", self._by_country)
        routes.add("GET", "/api/relays/prune", self._prune)
        routes.add("GET", "/api/operator", self._operator)
        return routes

    async def _register(self, request: Request) -> Response:
        directory = self._shown.directory()
        return self._absent() if directory is None else await directory.register(request)

    def _by_country(self, request: Request) -> Response:
        directory = self._shown.directory()
        return self._absent() if directory is None else directory.by_country(request)

    async def _prune(self, request: Request) -> Response:
        directory = self._shown.directory()
        return self._absent() if directory is None else await directory.prune(request)

    def _operator(self, request: Request) -> Response:
        directory = self._shown.directory()
        return self._absent() if directory is None else directory.operator(request)

    def _absent(self) -> Response:
        mode = self._shown.facts().mode.capitalize()
        return json_response({"error": _NOT_FOUND, "mode": mode}, 404)


class _Mine:
    """Lets this machine in, by good hosts; others only with the token."""

    def __init__(self, token: BearerToken) -> None:
        self._token = token
        self._hosts = OwnHosts()

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse with 403."""
        if is_local(request):
            return self._hosts.refusal(request, now)
        if self._token.has_token(request):
            return None
        return error_response(403, "only from this machine, or with the token")


async def _listen(
    server: HttpServer, host: str, port: int, key: str, tls: ssl.SSLContext | None = None
) -> int:
    try:
        return await server.listen(host, port, tls)
    except OSError as error:
        raise EnvironmentRefusedError(
            f"{key} {port}: cannot listen ({error.strerror or error}); stop what uses it, or choose another"
        ) from error
