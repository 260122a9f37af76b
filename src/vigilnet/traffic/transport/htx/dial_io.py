"""Dialling a relay as a browser opens a page (docs/spec/htx.md sections 4 to 6)."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.authenticator import (
    PROOF_SIZE,
    Stamp,
    binding_of,
    seal_session_id,
    switch_keys,
)
from vigilnet.traffic.transport.htx.carrier_io import HtxCarrier
from vigilnet.traffic.transport.htx.certificates import TrustAnchors, check_chain, issuer_digest
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.shaping import Profile, Shaper
from vigilnet.traffic.transport.htx.switch import LAST_OF_CLIENT, LAST_OF_RELAY, SwitchKey
from vigilnet.traffic.transport.htx.templates import Template, draw
from vigilnet.traffic.transport.htx.tls13 import TlsClient, TlsState
from vigilnet.traffic.transport.htx.wire import Record
from vigilnet.traffic.transport.tcp_io import TcpCarrier

MAX_FOREIGN: Final = 8  # records of the origin that may still be on their way
BUFFER_SIZE: Final = 64 * 1024

KEY, HOST_NAME, MODE, ISSUER = 0, 1, 2, 3  # params of an htx address
BORROWED, OWN_SITE = 1, 2
_KINDS: Final = {BORROWED: CarrierKind.HTX_BORROWED, OWN_SITE: CarrierKind.HTX_OWN_SITE}


@dataclass(frozen=True)
class HtxAddress:
    """What a record says beside host and port of an htx address."""

    key: X25519PublicKey
    host_name: str
    kind: CarrierKind
    issuer: bytes | None


def read_params(params: Mapping[int, object]) -> HtxAddress:
    """Read an address's parameters.

    Raises:
        RemoteProtocolError: one is missing or not of its form.
    """
    key, name, mode, issuer = (params.get(index) for index in (KEY, HOST_NAME, MODE, ISSUER))
    if not isinstance(key, bytes) or len(key) != 32 or not isinstance(name, str):
        raise RemoteProtocolError("htx address: no key or no host name")
    if not (0 < len(name) <= 253 and name.isascii()) or mode not in _KINDS or not isinstance(mode, int):
        raise RemoteProtocolError(f"htx address: mode {mode}, or no host name")
    if issuer is not None and (not isinstance(issuer, bytes) or len(issuer) != 32):
        raise RemoteProtocolError("htx address: issuer is no digest")
    return HtxAddress(X25519PublicKey.from_public_bytes(key), name, _KINDS[mode], issuer)


def load_anchors(path: Path | None) -> TrustAnchors:
    """Return the roots in `path`, or the system's.

    Raises:
        ConfigurationError: there are none.
    """
    file = path or Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
    try:
        return TrustAnchors.from_pem(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"htx.trust_anchors {file}: no roots can be read ({error})") from error


@dataclass(frozen=True)
class Browser:
    """What all dials of a node share."""

    templates: Sequence[Template]
    weights: Mapping[str, float]
    anchors: Callable[[], TrustAnchors]
    clock: Clock
    network: str
    random_bytes: Callable[[int], bytes]
    profile: Profile = Profile.OFF
    rate: int = 64 * 1024  # of the constant profile, octets a second


class _Opening:
    """Runs the origin's handshake over a TCP carrier; serves `CarrierUser`."""

    def __init__(self, tcp: TcpCarrier, tls: TlsClient, done: "asyncio.Future[None]") -> None:
        self._tcp = tcp
        self.tls = tls
        self._done = done
        self._buffer = memoryview(bytearray(BUFFER_SIZE))

    def begin(self) -> None:
        """Say hello."""
        self._tcp.start(self)
        self._send()

    def _send(self) -> None:
        data = self.tls.data_to_send()
        if data:
            self._tcp.write([data])

    def receive_buffer(self) -> memoryview:
        return self._buffer

    def octets_received(self, count: int) -> None:
        if self._done.done():
            return
        try:
            self.tls.receive(self._buffer[:count])
        except RemoteProtocolError as error:
            self._send()
            self._done.set_exception(error)
            return
        self._send()
        if self.tls.handshake is not None:
            self._done.set_result(None)

    def carrier_writable(self) -> None:
        pass

    def carrier_closed(self, error: OSError | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionResetError("htx: the origin closed"))


async def open_carrier(tcp: TcpCarrier, address: HtxAddress, browser: Browser) -> HtxCarrier:
    """Become a link's carrier over a fresh TCP connection.

    Raises:
        OSError: the origin's handshake failed, is not trusted, or cannot carry us; TCP is closed.
    """
    template = draw(browser.templates, browser.random_bytes, browser.weights)
    built = build(template, address.host_name, browser.random_bytes)
    try:
        shared = built.keys.authenticating.exchange(address.key)
        wall = browser.clock.wall()
        stamp = Stamp(int(wall), browser.random_bytes(PROOF_SIZE))
        built = built.with_session_id(
            seal_session_id(shared, built.hello.random, built.hello.encode(), stamp.encode(), browser.network)
        )
        anchors = browser.anchors()
        tls = TlsClient(built, lambda chain: check_chain(anchors, chain, address.host_name, wall))
        await _handshake(tcp, tls)
        return _switched(tcp, tls, address, shared, browser, template.name)
    except (RemoteProtocolError, ValueError) as error:
        tcp.close()
        raise ConnectionAbortedError(f"htx: {error}") from error
    except BaseException:
        tcp.close()
        raise


async def _handshake(tcp: TcpCarrier, tls: TlsClient) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _Opening(tcp, tls, done).begin()
    await done


def _switched(
    tcp: TcpCarrier, tls: TlsClient, address: HtxAddress, shared: bytes, browser: Browser, template: str
) -> HtxCarrier:
    handshake = tls.handshake
    if handshake is None or tls.state is not TlsState.OPEN:
        raise RemoteProtocolError("the origin closed right behind its handshake")
    if handshake.was_retried:
        _leave(tcp, tls)
        raise RemoteProtocolError("the origin asked for another hello, which a relay cannot follow")
    if address.issuer is not None and issuer_digest(handshake.chain) != address.issuer:
        _leave(tcp, tls)
        raise RemoteProtocolError("the origin's certificate is of another issuer: somebody is in between")
    binding = binding_of(handshake.client_hello, handshake.server_hello)
    to_relay, to_client = switch_keys(shared, binding, browser.network)
    left = MAX_FOREIGN

    def foreign(record: Record) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RemoteProtocolError("htx: too many records of the origin before ours")
        tls.receive_record(record)
        tls.data_received()
        if tls.state is TlsState.CLOSED:
            raise RemoteProtocolError("htx: the origin closed, the relay did not know us")

    carrier = HtxCarrier(
        tcp,
        (SwitchKey(to_relay), SwitchKey(to_client)),
        (LAST_OF_CLIENT, LAST_OF_RELAY),
        kind=address.kind,
        binding=binding,
        random_bytes=browser.random_bytes,
        on_foreign=foreign,
        shaper=_shaper(browser, template),
        now=browser.clock.now,
    )
    carrier.begin(b"", (), tls.leftover)
    return carrier


def _shaper(browser: Browser, template: str) -> Shaper | None:
    if browser.profile is Profile.OFF:
        return None
    now = browser.clock.now()
    return Shaper(
        browser.profile, browser.random_bytes, now, is_client=True, browser=template, rate=browser.rate
    )


def _leave(tcp: TcpCarrier, tls: TlsClient) -> None:
    """Go as a browser does."""
    tls.close()
    tcp.write([tls.data_to_send()])
