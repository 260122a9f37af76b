"""The control API over HTTP on loopback: the same operations as on the socket, under /api/v1/.

Whoever asks must be on this machine, name us by a loopback host, come from no other origin and show a token
of `open-session`. There are no cookies: those of 127.0.0.1 are shared by all its ports, and they are what
forged requests ride on.
"""

import asyncio
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.http.guards import OwnHosts, is_local
from vigilnet.base.http.messages import EVENT_STREAM, Request, Response, json_response
from vigilnet.base.http.routes import Routes
from vigilnet.surface.control.events import EventFeed, Subscription
from vigilnet.surface.control.openapi import BASE, document
from vigilnet.surface.control.operations import OPERATIONS, Operation, Role
from vigilnet.surface.control.schema import MAX_REQUEST, ControlError, ErrorCode, as_json, error_object
from vigilnet.surface.control.sessions import Sessions
from vigilnet.surface.control.steering import Steering

KEEP_ALIVE_S: Final = 15.0
_BEARER: Final = "Bearer "
_STATUS: Final[dict[str, int]] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.BAD_OPTION: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.UNKNOWN_METHOD: 404,
    ErrorCode.UNKNOWN_OPTION: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.BUSY: 503,
}


class TokenGuard:
    """Lets through who is on this machine and shows a token that is good now.

    Args:
        sessions: the tokens.
        needs_full: whether a read-only one is refused.
    """

    def __init__(self, sessions: Sessions, *, needs_full: bool) -> None:
        self._sessions = sessions
        self._needs_full = needs_full

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse with 401 or 403."""
        if not is_local(request):
            return _refused(ErrorCode.FORBIDDEN, "only from this machine")
        role = role_of(request, self._sessions, now)
        if role is None:
            return _refused(
                ErrorCode.UNAUTHORIZED, "token missing, wrong or too old", next_step="vigilnet gui"
            )
        if self._needs_full and role is not Role.FULL:
            return _refused(ErrorCode.FORBIDDEN, "needs the full role, this token may only read")
        return None


class JsonBody(TokenGuard):
    """Asks for a body of JSON as well, which no form of a web page can send."""

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse with 400, 401 or 403."""
        refusal = super().refusal(request, now)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if refusal is None and kind != "application/json":
            return _refused(ErrorCode.BAD_REQUEST, "body: expected Content-Type application/json")
        return refusal


def role_of(request: Request, sessions: Sessions, now: float) -> Role | None:
    """Return what the request's token may do; None without a good one."""
    shown = request.headers.get("authorization", "")
    return sessions.role_of(shown[len(_BEARER) :], now) if shown.startswith(_BEARER) else None


def api_routes(steering: Steering, events: EventFeed, sessions: Sessions, clock: Clock) -> Routes:
    """Return the routes of /api/v1/."""
    routes = Routes(guard=OwnHosts())
    reading = TokenGuard(sessions, needs_full=False)

    def role(request: Request) -> Role:
        return role_of(request, sessions, clock.now()) or Role.READ_ONLY  # the guard has looked already

    for operation in OPERATIONS.values():
        if operation.is_socket_only:
            continue
        answer = _answer_of(steering, operation, role)
        path = f"{BASE}/{operation.name}"
        if operation.is_change:
            guard = JsonBody(sessions, needs_full=True)
            routes.add("POST", path, answer, max_body=MAX_REQUEST, guard=guard)
        else:
            routes.add("GET", path, answer, guard=TokenGuard(sessions, needs_full=operation.needs_full))
    routes.add("GET", f"{BASE}/openapi.json", lambda _: json_response(document()), guard=reading)

    def watch(request: Request) -> Response:
        topics = tuple(topic for topic in request.query.get("topics", "").split(",") if topic)
        try:
            events.check(topics)
        except ControlError as error:
            return _response_to(error)
        stream = _stream(events, topics, lambda: role_of(request, sessions, clock.now()))
        return Response(200, stream, EVENT_STREAM)

    routes.add("GET", f"{BASE}/events", watch, guard=reading)
    return routes


def _answer_of(
    steering: Steering, operation: Operation, role: Callable[[Request], Role]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            given = _body(request) if operation.is_change else _query(operation, request.query)
            result = await steering.do(operation.name, given, role(request))
        except ControlError as error:
            return _response_to(error)
        if operation.name == "stop":
            asyncio.get_running_loop().call_later(0.1, steering.stop)  # once the answer is on its way
        return Response(200, as_json(result))

    return answer


def _body(request: Request) -> dict[str, Any]:
    if not request.body:
        return {}
    try:
        value = request.json()
    except RemoteProtocolError as error:
        raise ControlError(ErrorCode.BAD_REQUEST, str(error)) from error
    if not isinstance(value, dict):
        raise ControlError(ErrorCode.BAD_REQUEST, "body: not a JSON object")
    return value


def _query(operation: Operation, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a query in their kinds; unknown names do nothing."""
    hints = typing.get_type_hints(operation.params)
    return {name: _parsed(hints[name], name, text) for name, text in query.items() if name in hints}


def _parsed(kind: object, name: str, text: str) -> object:
    if kind is bool:
        if text not in ("true", "false"):
            raise ControlError(ErrorCode.BAD_REQUEST, f"query: {name} must be true or false")
        return text == "true"
    if kind is int:
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise ControlError(ErrorCode.BAD_REQUEST, f"query: {name} must be a whole number")
        return int(text)
    return text


async def _stream(
    events: EventFeed, topics: tuple[str, ...], role: Callable[[], Role | None]
) -> AsyncIterator[bytes]:
    """Give server-sent events until the caller leaves, or his token is good no more."""
    with events.subscribe(topics, role() or Role.READ_ONLY) as subscription:
        while True:
            told = await _next(subscription)
            if role() is None:
                return
            for topic, data in told:
                yield b"event: %b\ndata: %b\n\n" % (topic.encode(), as_json(data))
            yield b": so that both ends know of each other\n\n"


async def _next(subscription: Subscription) -> list[tuple[str, Any]]:
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            return await subscription.next()
    except TimeoutError:
        return []


def _response_to(error: ControlError) -> Response:
    value = {"error": error_object(error.code, str(error), error.why, error.next)}
    return json_response(value, _STATUS.get(error.code, 409))


def _refused(code: ErrorCode, message: str, next_step: str = "") -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if code is ErrorCode.UNAUTHORIZED else {}
    return json_response({"error": error_object(code, message, "", next_step)}, _STATUS[code], headers)
