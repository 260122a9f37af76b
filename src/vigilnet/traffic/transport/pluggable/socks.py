"""The client's side of SOCKS5 with a user name and password (RFC 1928, 1929), for dialling through (sans-IO).

-> 05 n methods      <- 05 method
-> 01 n user m pass  <- 01 00                  where the proxy chose method 2
-> 05 01 00 address  <- 05 reply 00 address
"""

import ipaddress
from enum import Enum
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

REPLIES: Final = {
    1: "failed", 2: "not allowed", 3: "network unreachable", 4: "host unreachable", 5: "refused",
    6: "timed out", 7: "no such command", 8: "no such kind of address",
}  # fmt: skip
_NO_LOGIN, _LOGIN = 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4


class _State(Enum):
    METHOD = "method"
    LOGIN = "login"
    REPLY = "reply"
    OPEN = "open"


class SocksRefusedError(RemoteProtocolError):
    """The proxy answered no; the text says why in the protocol's words."""


class SocksClient:
    """One connection to a proxy, until it is one to the target.

    Args:
        host: IP address or name of the target.
        port: its port.
        credentials: user name and password, each 1 to 255 octets; None: there are none.
    """

    def __init__(self, host: str, port: int, credentials: tuple[bytes, bytes] | None = None) -> None:
        self._request = b"\5\1\0" + _encode_target(host, port)
        self._credentials = credentials
        if credentials is not None and not all(0 < len(part) < 256 for part in credentials):
            raise LocalProtocolError("socks: user name or password is empty or longer than 255 octets")
        self._out = b"\5\1" + bytes((_NO_LOGIN if credentials is None else _LOGIN,))
        self._pending = b""
        self._state = _State.METHOD

    @property
    def is_open(self) -> bool:
        """Whether the connection now leads to the target."""
        return self._state is _State.OPEN

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> None:
        """Take octets of the proxy.

        Raises:
            SocksRefusedError: it answered no.
            RemoteProtocolError: it does not speak SOCKS5, or says more than it should.
        """
        self._pending += data
        while (state := self._state) is not _State.OPEN and self._step():
            if self._state is state:
                break
        if self.is_open and self._pending:
            raise RemoteProtocolError("socks: octets behind the reply")

    def _step(self) -> bool:
        if self._state is _State.REPLY:
            return self._take_reply()
        if len(self._pending) < 2:
            return False
        (first, second), self._pending = self._pending[:2], self._pending[2:]
        if self._state is _State.METHOD:
            self._take_method(first, second)
        else:
            if (first, second) != (1, 0):
                raise SocksRefusedError("socks: user name and password refused")
            self._ask()
        return True

    def _take_method(self, version: int, method: int) -> None:
        if version != 5:
            raise RemoteProtocolError(f"socks: version {version}")
        if self._credentials is None and method == _NO_LOGIN:
            self._ask()
        elif self._credentials is not None and method == _LOGIN:
            user, password = self._credentials
            self._out += b"\1" + bytes((len(user),)) + user + bytes((len(password),)) + password
            self._state = _State.LOGIN
        else:
            raise SocksRefusedError(f"socks: method {method}")

    def _ask(self) -> None:
        self._out += self._request
        self._state = _State.REPLY

    def _take_reply(self) -> bool:
        data = self._pending
        if len(data) < 5:
            return False
        if data[0] != 5 or data[3] not in (_IPV4, _NAME, _IPV6):
            raise RemoteProtocolError("socks: no reply of version 5")
        if data[1]:
            raise SocksRefusedError(f"socks: {REPLIES.get(data[1], f'reply {data[1]}')}")
        size = {_IPV4: 4, _IPV6: 16, _NAME: 1 + data[4]}[data[3]] + 6
        if len(data) < size:
            return False
        self._pending = data[size:]
        self._state = _State.OPEN
        return True


def _encode_target(host: str, port: int) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii", "ignore")
        if not host.isascii() or not 0 < len(name) < 256:
            raise LocalProtocolError("socks: no host name that can travel") from None
        return bytes((_NAME, len(name))) + name + port.to_bytes(2)
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed + port.to_bytes(2)
