"""The built dashboard, served under /dashboard/: files of the package, by their exact names.

The page holds no data of its own; all it shows comes from the control API with the token that it was opened
with, so the files need no token.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from vigilnet.base.http.guards import OwnHosts, ThisMachine
from vigilnet.base.http.messages import Request, Response
from vigilnet.base.http.routes import Routes

PATH: Final = "/dashboard/"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
    "webmanifest": "application/manifest+json",
}


class Visits(OwnHosts):
    """`OwnHosts` that also lets a person come from elsewhere, as from the page that `vigilnet gui` writes.

    The document holds nothing and may stand in no frame; what it loads and asks comes from itself.
    """

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse a strange host or origin with 403, and other sites' requests that are no visit."""
        headers = dict(request.headers)
        if (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document"):
            headers.pop("sec-fetch-site", None)
        return super().refusal(replace(request, headers=headers), now)


def dashboard_routes(folder: Traversable | None = None) -> Routes:
    """Return the routes of the built dashboard; none where it was not built.

    Args:
        folder: where the files are; None: those of the package.
    """
    routes = Routes(headers=HEADERS, guard=Visits())
    root = folder if folder is not None else files("vigilnet.surface").joinpath("dashboard")
    for name, file in _files_below(root, ""):
        kind = _KINDS.get(name.rpartition(".")[2])
        if kind is None:
            continue
        answer = _answer_of(file, kind, is_lasting=name.startswith("assets/"))
        routes.add("GET", PATH + name, answer, guard=ThisMachine())
        if name == "index.html":
            routes.add("GET", PATH, answer, guard=ThisMachine())
    return routes


def _files_below(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files_below(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry))
    return found


def _answer_of(file: Traversable, kind: str, *, is_lasting: bool) -> Callable[[Request], Response]:
    """Files below assets/ carry a digest in their name, so a browser may keep them."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"} if is_lasting else {}

    def answer(_: Request) -> Response:
        return Response(200, file.read_bytes(), kind, headers)

    return answer
