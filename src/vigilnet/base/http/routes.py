"""Which function answers which path (sans-IO)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vigilnet.base.errors import LocalProtocolError
from vigilnet.base.http.messages import Request, Response, error_response


class Guard(Protocol):
    """Decides on a request before its body is read."""

    def refusal(self, request: Request, now: float) -> Response | None:
        """Return the answer to a request that is not let through; None lets it through."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method."""

    answer: Callable[[Request], Response | Awaitable[Response]]
    max_body: int = 0
    guards: tuple[Guard, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Routes:
    """The routes of one room.

    Args:
        headers: added to each answer.
        guard: asked for each request, before the route's own.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, guard: Guard | None = None) -> None:
        self.headers = headers or {}
        self.guards: tuple[Guard, ...] = (guard,) if guard is not None else ()
        self._exact: dict[str, dict[str, Route]] = {}
        self._prefixes: dict[str, dict[str, Route]] = {}

    def add(
        self,
        method: str,
        path: str,
        answer: Callable[[Request], Response | Awaitable[Response]],
        *,
        max_body: int = 0,
        guard: Guard | None = None,
    ) -> None:
        """Add a route.

        Args:
            method: GET also serves HEAD.
            path: as it is sent; one that ends with `/*` serves all below it that no other route names.
            answer: the function.
            max_body: octets of body it takes; a longer one is refused unread with status 413.
            guard: asked after the group's.
        """
        table, key = (self._prefixes, path[:-1]) if path.endswith("/*") else (self._exact, path)
        methods = table.setdefault(key, {})
        if method in methods:
            raise LocalProtocolError(f"routes: {method} {path} is there twice")
        guards = self.guards if guard is None else (*self.guards, guard)
        methods[method] = Route(answer, max_body, guards, self.headers)

    def find(self, path: str) -> Mapping[str, Route] | None:
        """Return the routes of a path by method; None if this group does not have it."""
        if path in self._exact:
            return self._exact[path]
        below = [prefix for prefix in self._prefixes if path.startswith(prefix)]
        return self._prefixes[max(below, key=len)] if below else None


def find_route(groups: Iterable[Routes], request: Request, now: float) -> Route | Response:
    """Return the route that a request goes to, or the refusal: 404, 405 or what a guard says."""
    methods = next((found for group in groups if (found := group.find(request.path)) is not None), None)
    if methods is None:
        return error_response(404, "not found")
    route = methods.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        allowed = sorted(methods)
        return error_response(
            405, f"method not allowed, use {' or '.join(allowed)}", headers={"Allow": ", ".join(allowed)}
        )
    refusals = (guard.refusal(request, now) for guard in route.guards)
    return next((refusal for refusal in refusals if refusal is not None), route)
