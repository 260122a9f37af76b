"""What a managed proxy is told in its environment and says on its standard output (sans-IO).

Version 1 of Tor's pluggable transport specification, sections 3.2 and 3.3; arguments of a connection as
`key=value;key=value` (3.5), of a server's method as `key=value,key=value`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

MAX_LINE: Final = 16 * 1024
MAX_LINES: Final = 256  # until a proxy is ready
MAX_ARGUMENTS: Final = 510  # user name and password of SOCKS5
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")

Arguments = Mapping[str, str]


def is_name(text: str) -> bool:
    """Whether `text` can name a transport.

    >>> [is_name(text) for text in ("obfs4", "meek_lite", "4obfs", "a b", "")]
    [True, True, False, False, False]
    """
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class ClientMethod:
    """Where to dial through for one transport."""

    name: str
    version: int  # of SOCKS: 4 or 5
    host: str
    port: int


@dataclass(frozen=True)
class ServerMethod:
    """Where a proxy listens for one transport, and what clients must be told."""

    name: str
    host: str
    port: int
    arguments: Arguments = field(default_factory=dict)


class ProxyOutput:
    """Reads a managed proxy's lines until it is ready.

    Args:
        wanted: names of the transports that were asked for.
        is_server: whether it serves.
    """

    def __init__(self, wanted: Iterable[str], *, is_server: bool) -> None:
        self._wanted = set(wanted)
        self._prefix = "SMETHOD" if is_server else "CMETHOD"
        self._has_version = False
        self._lines = 0
        self.client_methods: dict[str, ClientMethod] = {}
        self.server_methods: dict[str, ServerMethod] = {}
        self.refused: dict[str, str] = {}
        self.is_ready = False

    def line_received(self, line: bytes) -> None:
        """Take one line, without its end; what is said after it is ready (logs, status) is ignored.

        Raises:
            RemoteProtocolError: it does not speak version 1, refuses, or says what cannot be read.
        """
        if self.is_ready:
            return
        self._lines += 1
        if len(line) > MAX_LINE or self._lines > MAX_LINES:
            raise RemoteProtocolError("pluggable transport: says more than it may before it is ready")
        keyword, _, rest = line.decode("utf-8", "replace").rstrip("\r").partition(" ")
        self._take(keyword, rest)

    def _take(self, keyword: str, rest: str) -> None:
        if keyword in ("VERSION-ERROR", "ENV-ERROR", "PROXY-ERROR"):
            raise RemoteProtocolError(f"pluggable transport: {keyword} {_printable(rest)}")
        if keyword == "VERSION":
            if rest.strip() != "1":
                raise RemoteProtocolError(f"pluggable transport: version {_printable(rest)}, 1 expected")
            self._has_version = True
        elif keyword in (self._prefix, f"{self._prefix}-ERROR", f"{self._prefix}S"):
            if not self._has_version:
                raise RemoteProtocolError("pluggable transport: methods before its version")
            self._take_method(keyword, rest)
        # LOG, STATUS, PROXY DONE and what later versions of the interface may say

    def _take_method(self, keyword: str, rest: str) -> None:
        if keyword == f"{self._prefix}S":
            self.is_ready = rest.strip() == "DONE"
            return
        name, _, rest = rest.partition(" ")
        if name not in self._wanted:
            raise RemoteProtocolError("pluggable transport: a method that nobody asked for")
        if keyword.endswith("-ERROR"):
            self.refused[name] = _printable(rest)
        elif self._prefix == "CMETHOD":
            version, _, address = rest.partition(" ")
            if version not in ("socks4", "socks5"):
                raise RemoteProtocolError(f"pluggable transport: proxy of kind {_printable(version)}")
            self.client_methods[name] = ClientMethod(
                name, int(version[-1]), *read_address(address.split(" ")[0])
            )
        else:
            address, *options = rest.split(" ")
            given = next((option[5:] for option in options if option.startswith("ARGS:")), "")
            self.server_methods[name] = ServerMethod(name, *read_address(address), read_arguments(given, ","))


def read_address(text: str) -> tuple[str, int]:
    """Read `host:port`, an IPv6 address in brackets.

    Raises:
        RemoteProtocolError: not of that form.

    >>> read_address("[2001:db8::1]:443")
    ('2001:db8::1', 443)
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 65_536:
        raise RemoteProtocolError("pluggable transport: neither host nor port")
    return host, int(port)


def write_arguments(arguments: Arguments, separator: str = ";") -> str:
    r"""Return arguments as one text, special characters behind backslashes.

    >>> write_arguments({"cert": "a=b;c", "iat-mode": "0"})
    'cert=a\\=b\\;c;iat-mode=0'
    """
    special = re.compile(rf"([\\={separator}])")

    def escaped(text: str) -> str:
        return special.sub(r"\\\1", text)

    return separator.join(f"{escaped(key)}={escaped(value)}" for key, value in arguments.items())


def read_arguments(text: str, separator: str = ";") -> dict[str, str]:
    r"""Read what `write_arguments` writes; the first of several values counts.

    Raises:
        RemoteProtocolError: a key without a value, or a backslash before nothing.

    >>> read_arguments(r"cert=a\=b\;c;iat-mode=0")
    {'cert': 'a=b;c', 'iat-mode': '0'}
    """
    found: dict[str, str] = {}
    if not text:
        return found
    parts: list[str] = [""]
    key: str | None = None
    characters = iter(text + separator)
    for character in characters:
        if character == "\\":
            following = next(characters, None)
            if following is None:
                raise RemoteProtocolError("pluggable transport arguments: end behind a backslash")
            parts[-1] += following
        elif character == "=" and key is None:
            key, parts[-1] = parts[-1], ""
        elif character == separator:
            if not key:
                raise RemoteProtocolError("pluggable transport arguments: no key, or a key without a value")
            found.setdefault(key, parts[-1])
            key, parts[-1] = None, ""
        else:
            parts[-1] += character
    if key is not None or parts[-1]:
        raise RemoteProtocolError("pluggable transport arguments: end behind a backslash")
    return found


def as_credentials(arguments: Arguments) -> tuple[bytes, bytes]:
    """Return the user name and password of SOCKS5 that carry `arguments`.

    Raises:
        LocalProtocolError: more than 510 octets.
    """
    octets = write_arguments(arguments).encode()
    if len(octets) > MAX_ARGUMENTS:
        raise LocalProtocolError(f"pluggable transport arguments: {len(octets)} octets, {MAX_ARGUMENTS} fit")
    return octets[:255], octets[255:] or b"\0"


def from_credentials(user: bytes, password: bytes) -> dict[str, str]:
    """Read the arguments back from a user name and a password.

    Raises:
        RemoteProtocolError: not UTF-8, or no arguments.
    """
    octets = user + (b"" if password == b"\0" else password)
    try:
        return read_arguments(octets.decode())
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("pluggable transport arguments: not utf-8") from error


def client_environment(names: Sequence[str], state: str) -> dict[str, str]:
    """Return what a client proxy is told."""
    return _common(state) | {"TOR_PT_CLIENT_TRANSPORTS": ",".join(names)}


def server_environment(
    binds: Mapping[str, str],
    state: str,
    *,
    options: Mapping[str, Arguments],
    or_port: str = "",
    extended_or_port: tuple[str, str] = ("", ""),
) -> dict[str, str]:
    """Return what a server proxy is told.

    Args:
        binds: host:port to listen on, by transport.
        state: its folder.
        options: arguments by transport.
        or_port: our plain port; or empty.
        extended_or_port: our extended one, and the file of its cookie; or empty.
    """
    given = [
        f"{name}:{write_arguments({key: value}, ';')}"
        for name, arguments in options.items()
        for key, value in arguments.items()
    ]
    return _common(state) | {
        "TOR_PT_SERVER_TRANSPORTS": ",".join(binds),
        "TOR_PT_SERVER_BINDADDR": ",".join(f"{name}-{bind}" for name, bind in binds.items()),
        "TOR_PT_SERVER_TRANSPORT_OPTIONS": ";".join(given),
        "TOR_PT_ORPORT": or_port,
        "TOR_PT_EXTENDED_SERVER_PORT": extended_or_port[0],
        "TOR_PT_AUTH_COOKIE_FILE": extended_or_port[1],
    }


def _common(state: str) -> dict[str, str]:
    return {
        "TOR_PT_MANAGED_TRANSPORT_VER": "1",
        "TOR_PT_STATE_LOCATION": state,
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
    }


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])
