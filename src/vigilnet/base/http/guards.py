"""Who may ask what: own hosts, own machine, token, rate (sans-IO).

A web page that the user visits can send requests to 127.0.0.1. Three things stop it: a page of another origin
is named in `Origin`, a name that was rebound to 127.0.0.1 stands in `Host`, and no page knows the token.
"""

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from vigilnet.base.http.messages import Request, Response, error_response

MAX_ACCOUNTS: Final = 8192
_LOCAL_NAMES: Final = ("localhost",)


class OwnHosts:
    """Lets through requests whose `Host` is a loopback address, `localhost` or an address of ours.

    An `Origin`, which browsers send with every request that could change something, must be http with the
    same host and port. `Sec-Fetch-Site`, where a browser sends it, must not say that another site asks.

    Args:
        names: further host names (without port) under which we are asked.
        any_address: let any literal IP address be a good host, for listeners that others reach: what is no
            name cannot be rebound.
    """

    def __init__(self, names: Collection[str] = (), *, any_address: bool = False) -> None:
        self._names = frozenset(name.lower() for name in (*_LOCAL_NAMES, *names))
        self._any_address = any_address

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse a strange host or origin with 403."""
        del now
        if not request.peer:  # a unix socket, which no browser reaches
            return None
        host = request.headers.get("host", "")
        if not self._is_good_host(host):
            return error_response(403, "host not allowed")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return error_response(403, "origin not allowed")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return error_response(403, "origin not allowed")
        return None

    def _is_good_host(self, host: str) -> bool:
        name = host_of(host)
        if name.lower() in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback


class ThisMachine:
    """Lets through what comes from this machine: by loopback or a unix socket."""

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse others with 403."""
        del now
        return None if is_local(request) else error_response(403, "only from this machine")


class BearerToken:
    """Lets through requests with `Authorization: Bearer TOKEN`.

    Args:
        token: at least 16 characters.
    """

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse a missing or wrong token with 401."""
        del now
        if self.has_token(request):
            return None
        return error_response(401, "token missing or wrong", headers={"WWW-Authenticate": "Bearer"})

    def has_token(self, request: Request) -> bool:
        """Whether the request shows the token; takes as long for any wrong one."""
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), self._expected)


class RateLimit:
    """Lets so many requests a minute through for each address (of IPv6, each /64); bursts of as many.

    Args:
        per_minute: requests; 0: no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, at a time

    def refusal(self, request: Request, now: float) -> Response | None:
        """Refuse with 429 and say when to come again."""
        if not self._per_minute:
            return None
        key = account_of(request.peer)
        left, at = self._left.pop(key, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + max(0.0, now - at) * self._per_minute / 60)
        refused = left < 1
        self._left[key] = (left if refused else left - 1, now)
        if len(self._left) > MAX_ACCOUNTS:
            self._left.popitem(last=False)
        if not refused:
            return None
        wait = 1 + int((1 - left) * 60 / self._per_minute)
        return error_response(429, "too many requests", headers={"Retry-After": str(wait)})


def is_local(request: Request) -> bool:
    """Whether a request comes from this machine."""
    return not request.peer or is_loopback(request.peer)


def is_loopback(peer: str) -> bool:
    """Whether an address is of this machine alone.

    >>> [is_loopback(peer) for peer in ("127.0.0.2", "::1", "::ffff:127.0.0.1", "192.0.2.1", "", "?")]
    [True, True, True, False, False, False]
    """
    try:
        return _address(peer).is_loopback
    except ValueError:
        return False


def account_of(peer: str) -> str:
    """Return what limits per address count: an IPv4 address, the /64 of an IPv6 one.

    >>> [account_of(peer) for peer in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1:2:3::4", "")]
    ['192.0.2.7', '192.0.2.7', '2001:db8:1:2::/64', '']
    """
    try:
        address = _address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; an IPv4 one that came in by IPv6 as what it is."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def host_of(authority: str) -> str:
    """Return the host of `host[:port]`.

    >>> [host_of(text) for text in ("127.0.0.1:8088", "[::1]:8088", "localhost", "[::1]")]
    ['127.0.0.1', '::1', 'localhost', '::1']
    """
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
