"""The extended OR port, where a server proxy hands us a connection and says whose it is (sans-IO).

After Tor's ext-orport specification; the proxy is the client here:

    <- 01 00                                     kinds of authentication: safe cookie
    -> 01 ‖ nonce 32
    <- HMAC(cookie, "...server-to-client hash" ‖ nonces) 32 ‖ nonce 32
    -> HMAC(cookie, "...client-to-server hash" ‖ nonces) 32
    <- 01 (or 00: refused)
    -> u16 command ‖ u16 n ‖ body ...            1 USERADDR host:port, 2 TRANSPORT name, 0 DONE
    <- 1000 0000                                 OKAY, or 1001 0000: DENY
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import hmac_sha256, is_equal
from vigilnet.traffic.transport.pluggable.messages import is_name, read_address

COOKIE_SIZE: Final = 32
COOKIE_HEAD: Final = b"! Extended ORPort Auth Cookie !\n"
SERVER_LABEL: Final = b"ExtORPort authentication server-to-client hash"
CLIENT_LABEL: Final = b"ExtORPort authentication client-to-server hash"
_KINDS: Final = b"\1\0"
_DONE, _USERADDR, _TRANSPORT = 0, 1, 2
_OKAY: Final = b"\x10\0\0\0"
_DENY: Final = b"\x10\1\0\0"
MAX_BODY: Final = 1024  # ours: no command that we know needs more
MAX_COMMANDS: Final = 16


class _State(Enum):
    KIND = "kind"
    PROOF = "proof"
    COMMANDS = "commands"
    OPEN = "open"


class ExtendedOr:
    """One connection of a proxy, until its client's octets follow.

    Args:
        cookie: 32 octets that the proxy reads from a file.
        random_bytes: for our nonce.
        transport: the name that the proxy may give.
    """

    def __init__(self, cookie: bytes, random_bytes: Callable[[int], bytes], transport: str) -> None:
        self._cookie = cookie
        self._random_bytes = random_bytes
        self._transport = transport
        self._pending = b""
        self._out = _KINDS
        self._state = _State.KIND
        self._expected = b""
        self._commands = 0
        self.client_host = ""  # whose connection it is; empty if the proxy does not say

    @property
    def is_open(self) -> bool:
        """Whether what follows is the client's."""
        return self._state is _State.OPEN

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, also behind an error."""
        out, self._out = self._out, b""
        return out

    def receive(self, data: bytes) -> None:
        """Take octets of the proxy.

        Raises:
            RemoteProtocolError: it does not hold the cookie, or does not keep to the protocol.
        """
        self._pending += data
        while self._state is not _State.OPEN and self._step():
            pass
        if self.is_open and self._pending:
            raise RemoteProtocolError("extended or port: octets before our consent")

    def _take(self, size: int) -> bytes | None:
        if len(self._pending) < size:
            return None
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken

    def _step(self) -> bool:
        if self._state is _State.KIND:
            return self._take_kind()
        if self._state is _State.PROOF:
            return self._take_proof()
        return self._take_command()

    def _take_kind(self) -> bool:
        taken = self._take(1 + COOKIE_SIZE)
        if taken is None:
            return False
        if taken[0] != 1:
            raise RemoteProtocolError(f"extended or port: authentication of kind {taken[0]}")
        nonces = taken[1:] + (ours := self._random_bytes(COOKIE_SIZE))
        self._out += hmac_sha256(self._cookie, SERVER_LABEL, nonces) + ours
        self._expected = hmac_sha256(self._cookie, CLIENT_LABEL, nonces)
        self._state = _State.PROOF
        return True

    def _take_proof(self) -> bool:
        proof = self._take(COOKIE_SIZE)
        if proof is None:
            return False
        if not is_equal(proof, self._expected):
            self._out += b"\0"
            raise RemoteProtocolError("extended or port: the proxy does not hold the cookie")
        self._out += b"\1"
        self._state = _State.COMMANDS
        return True

    def _take_command(self) -> bool:
        if len(self._pending) < 4:
            return False
        size = int.from_bytes(self._pending[2:4])
        if size > MAX_BODY:
            raise RemoteProtocolError(f"extended or port: command of {size} octets, at most {MAX_BODY}")
        taken = self._take(4 + size)
        if taken is None:
            return False
        self._commands += 1
        if self._commands > MAX_COMMANDS:
            raise RemoteProtocolError("extended or port: too many commands")
        self._carry_out(int.from_bytes(taken[:2]), taken[4:])
        return True

    def _carry_out(self, command: int, body: bytes) -> None:
        text = body.decode("ascii", "replace")
        if command == _USERADDR:
            self.client_host = read_address(text)[0]
        elif command == _TRANSPORT and (not is_name(text) or text != self._transport):
            self._out += _DENY
            raise RemoteProtocolError("extended or port: a transport that we did not ask for")
        elif command == _DONE:
            self._out += _OKAY
            self._state = _State.OPEN
        # others are of later versions: ignored, as Tor does
