"""The proxy between a pluggable transport and the network, as its parent names it (sans-IO).

    TOR_PT_PROXY = ("socks5" | "socks4a" | "http") "://" [user [":" password] "@"] host ":" port

Machines with the verbs of `socks.SocksClient`: one connection to a proxy until it is one to the target.
"""

import base64
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.pluggable.messages import read_address
from vigilnet.traffic.transport.pluggable.socks import SocksClient, SocksRefusedError

MAX_HEAD: Final = 8 * 1024
_URL: Final = re.compile(r"(socks5|socks4a|http)://(?:([^@/]*)@)?([^@/]+)/?")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_SOCKS4_REFUSALS: Final = {91: "refused or failed", 92: "no identd", 93: "another user in identd"}


class ProxyClient(Protocol):
    """Asks a proxy for one target."""

    @property
    def is_open(self) -> bool:
        """Whether the connection now leads to the target."""
        ...

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        ...

    def receive(self, data: bytes) -> None:
        """Take octets of the proxy; raises RemoteProtocolError if it answers no, or nothing of the sort."""
        ...


@dataclass(frozen=True)
class Proxy:
    """Where it is, how it is spoken to, and as whom."""

    kind: str
    host: str
    port: int
    user: bytes = b""
    password: bytes = b""

    def client(self, host: str, port: int) -> ProxyClient:
        """Return who asks for this target.

        Raises:
            LocalProtocolError: no host that can travel.
        """
        if self.kind == "socks5":
            login = (self.user, self.password or b"\0") if self.user else None
            return SocksClient(host, port, login)
        if self.kind == "socks4a":
            return Socks4Client(host, port, self.user)
        return HttpConnectClient(host, port, self.user, self.password)


def read_proxy(text: str) -> Proxy:
    """Read what a parent says.

    Raises:
        RemoteProtocolError: not of that form, or a login that the kind of proxy cannot carry.

    >>> proxy = read_proxy("socks5://tor:a%3Ab@[2001:db8::1]:1080")
    >>> proxy.kind, proxy.host, proxy.port, proxy.user, proxy.password
    ('socks5', '2001:db8::1', 1080, b'tor', b'a:b')
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise RemoteProtocolError("proxy: expected socks5, socks4a or http, ://, an address and a port")
    kind, login, place = found.groups()
    host, port = read_address(place)
    user, _, password = (login or "").partition(":")
    proxy = Proxy(kind, host, port, unquote_to_bytes(user), unquote_to_bytes(password))
    if kind == "socks4a" and (proxy.password or b"\0" in proxy.user):
        raise RemoteProtocolError("proxy: socks4a has no passwords")
    if max(len(proxy.user), len(proxy.password)) > 255 or (proxy.password and not proxy.user):
        raise RemoteProtocolError("proxy: a login that cannot travel")
    return proxy


class Socks4Client:
    """SOCKS4, with a name where the target is no IPv4 address (4A).

    -> 04 01 port u16 address 4 user 0 [name 0]      <- 00 90 and 6 more
    """

    def __init__(self, host: str, port: int, user: bytes = b"") -> None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is not None and address.version == 6:
            raise LocalProtocolError("socks4: an IPv6 address cannot travel")
        name = b"" if address is not None else host.encode("ascii", "ignore")
        if address is None and (not host.isascii() or not 0 < len(name) < 256 or b"\0" in name):
            raise LocalProtocolError("socks4: no host name that can travel")
        packed = address.packed if address is not None else b"\0\0\0\1"
        self._out = b"\4\1" + port.to_bytes(2) + packed + user + b"\0" + (name + b"\0" if name else b"")
        self._pending = b""
        self.is_open = False

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> None:
        """Take octets of the proxy.

        Raises:
            SocksRefusedError: it answered no.
            RemoteProtocolError: it does not speak SOCKS4, or says more than it should.
        """
        self._pending += data
        if self.is_open or len(self._pending) > 8 or self._pending[:1] not in (b"", b"\0"):
            raise RemoteProtocolError("socks4: no reply of version 4, or octets behind it")
        if len(self._pending) == 8:
            if self._pending[1] != 90:
                raise SocksRefusedError(f"socks4: {_SOCKS4_REFUSALS.get(self._pending[1], 'no')}")
            self.is_open = True


class HttpConnectClient:
    """HTTP's CONNECT (RFC 9110 section 9.3.6), with Basic credentials where there are some."""

    def __init__(self, host: str, port: int, user: bytes = b"", password: bytes = b"") -> None:
        if not host.isascii() or not re.fullmatch(r"[0-9A-Za-z.:_-]{1,253}", host):
            raise LocalProtocolError("http proxy: no host that can travel")
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        login = b""
        if user:
            login = b"Proxy-Authorization: Basic " + base64.b64encode(user + b":" + password) + b"\r\n"
        place = target.encode("ascii")
        self._out = b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n" + login + b"\r\n"
        self._pending = b""
        self.is_open = False

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> None:
        """Take octets of the proxy.

        Raises:
            SocksRefusedError: it answered no.
            RemoteProtocolError: it does not speak HTTP, or says more than it should.
        """
        self._pending += data
        head, end, rest = self._pending.partition(b"\r\n\r\n")
        if self.is_open or rest or len(head) > MAX_HEAD:
            raise RemoteProtocolError("http proxy: octets behind its answer, or too long an answer")
        if not end:
            return
        status = _STATUS.match(head + b"\r\n")
        if status is None:
            raise RemoteProtocolError("http proxy: no answer of HTTP")
        if not status[1].startswith(b"2"):
            raise SocksRefusedError(f"http proxy: status {status[1].decode()}")
        self.is_open = True
