"""Dialling a relay as a browser opens a page (docs/spec/htx.md sections 4 to 6)."""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.authenticator import (
    PROOF_SIZE,
    SESSION_ID_SIZE,
    Stamp,
    binding_of,
    invite_proof,
    seal_session_id,
    switch_keys,
)
from vigilnet.traffic.transport.htx.carrier_io import HtxCarrier
from vigilnet.traffic.transport.htx.certificates import TrustAnchors, check_chain, issuer_digest
from vigilnet.traffic.transport.htx.ech import (
    EchConfig,
    InnerHello,
    Offer,
    choose,
    decode_configs,
    encrypt_hello,
)
from vigilnet.traffic.transport.htx.hello import BuiltHello, build
from vigilnet.traffic.transport.htx.page import PageFetch
from vigilnet.traffic.transport.htx.relays_met import Place, RelaysMet
from vigilnet.traffic.transport.htx.shaping import Profile, Shaper
from vigilnet.traffic.transport.htx.switch import LAST_OF_CLIENT, LAST_OF_RELAY, SwitchKey
from vigilnet.traffic.transport.htx.templates import Template, draw
from vigilnet.traffic.transport.htx.tls13 import EchRefusedError, Handshake, TlsClient, TlsState
from vigilnet.traffic.transport.htx.tls_io import TlsConnection
from vigilnet.traffic.transport.htx.wire import Record
from vigilnet.traffic.transport.tcp_io import TcpCarrier

MAX_FOREIGN: Final = 8  # records of the origin that may still be on their way
PAGE_TIMEOUT_S: Final = 15.0

KEY, HOST_NAME, MODE, ISSUER, ECH, REQUEST = 0, 1, 2, 3, 4, 5  # params of an htx address
BORROWED, OWN_SITE = 1, 2
MIN_REQUEST, MAX_REQUEST = 100, 2000  # of a first request without cookies
_KINDS: Final = {BORROWED: CarrierKind.HTX_BORROWED, OWN_SITE: CarrierKind.HTX_OWN_SITE}


@dataclass(frozen=True)
class HtxAddress:
    """What a record says beside host and port of an htx address."""

    key: X25519PublicKey
    host_name: str
    kind: CarrierKind
    issuer: bytes | None
    ech: tuple[EchConfig, ...] = ()  # the origin's, where the record has them
    request: int = 0  # length of a browser's first request without cookies; 0: not known


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
    request = params.get(REQUEST, 0)
    if not isinstance(request, int) or not (request == 0 or MIN_REQUEST <= request <= MAX_REQUEST):
        raise RemoteProtocolError("htx address: no length of a request")
    return HtxAddress(
        X25519PublicKey.from_public_bytes(key),
        name,
        _KINDS[mode],
        issuer,
        _read_ech(params.get(ECH)),
        request,
    )


def _read_ech(value: object) -> tuple[EchConfig, ...]:
    if value is None:
        return ()
    configs = decode_configs(value) if isinstance(value, bytes) else []
    if not configs:  # not said in the clear instead: the name is what it hides
        raise RemoteProtocolError("htx address: no ech config that we can use")
    return tuple(configs)


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


class InterceptedError(RemoteProtocolError):
    """Somebody between us and the origin answers in its place, or the origin is not what it was."""


@dataclass(frozen=True)
class Visitor:
    """Who visits which relay, and where it notes what it met."""

    browser: Browser
    place: Place
    address: HtxAddress
    relays: RelaysMet
    invite: bytes | None = None  # to an unlisted relay

    def offer(self) -> Offer:
        """Return a hello of a browser drawn for this connection; its session id is zero yet.

        Raises:
            RemoteProtocolError: no browser of ours would use the origin's ECH config.
        """
        browser, address = self.browser, self.address
        if not address.ech:
            template = draw(browser.templates, browser.random_bytes, browser.weights)
            return Offer(build(template, address.host_name, browser.random_bytes))
        chosen = {t: found for t in browser.templates if (found := choose(address.ech, t)) is not None}
        if not chosen:
            raise RemoteProtocolError("htx: no browser of ours would use the origin's ech config")
        template = draw(list(chosen), browser.random_bytes, browser.weights)
        return encrypt_hello(template, *chosen[template], address.host_name, browser.random_bytes)

    def connection(
        self, tcp: TcpCarrier, built: BuiltHello, inner: InnerHello | None, *, holds_finished: bool = False
    ) -> TlsConnection:
        """Return a TLS connection that begins with this hello."""
        anchors, wall = self.browser.anchors(), self.browser.clock.wall()
        name = self.address.host_name

        def check(chain: Sequence[bytes]) -> None:
            asked = built.hello.server_name if tls.has_refused_ech else name
            check_chain(anchors, chain, asked or name, wall)

        tls = TlsClient(built, check, inner)
        return TlsConnection(tcp, tls, holds_finished=holds_finished)

    def page(self, connection: TlsConnection, built: BuiltHello) -> PageFetch:
        """Return a visit of the site over an open connection."""
        handshake = connection.tls.handshake
        alpn = handshake.alpn if handshake is not None else b""
        return PageFetch(self.address.host_name, alpn, built.template.name, built.template.browser)


class StaleEchError(ConnectionAbortedError):
    """The origin's ECH config was another one; `again` visits with what the origin says of it, once."""

    def __init__(self, again: Visitor) -> None:
        super().__init__("htx: the origin's ech config has changed")
        self.again = again


def _aborted(error: Exception, visitor: Visitor, template: Template | None) -> ConnectionAbortedError:
    """Return what to raise for a failed handshake."""
    if isinstance(error, EchRefusedError) and error.configs and template is not None:
        browser = replace(visitor.browser, templates=[template])  # the same one comes again
        return StaleEchError(
            replace(visitor, browser=browser, address=replace(visitor.address, ech=error.configs))
        )
    return ConnectionAbortedError(f"htx: {error}")


async def visit(tcp: TcpCarrier, visitor: Visitor) -> tuple[Handshake, PageFetch]:
    """Fetch the origin's page as a browser and nothing else.

    Raises:
        OSError: the origin's handshake failed or is not trusted; TCP is closed.
    """
    try:
        built, inner = visitor.offer().sealed(visitor.browser.random_bytes(SESSION_ID_SIZE))
    except RemoteProtocolError as error:
        tcp.close()
        raise ConnectionAbortedError(f"htx: {error}") from error
    connection = visitor.connection(tcp, built, inner)
    try:
        await connection.wait_handshake()
        handshake = _finished(connection)
    except RemoteProtocolError as error:
        tcp.close()
        await connection.wait_closed()
        raise _aborted(error, visitor, built.template) from error
    except BaseException:
        tcp.close()
        raise
    page = visitor.page(connection, built)
    await connection.wait_page(page, PAGE_TIMEOUT_S)
    return handshake, page


def _finished(connection: TlsConnection) -> Handshake:
    handshake = connection.tls.handshake
    if handshake is None or connection.tls.state is not TlsState.OPEN:
        raise RemoteProtocolError("the origin closed right behind its handshake")
    return handshake


async def open_carrier(tcp: TcpCarrier, visitor: Visitor) -> HtxCarrier:
    """Become a link's carrier over a fresh TCP connection.

    Raises:
        OSError: the origin's handshake failed, is not trusted, or cannot carry us; TCP is closed.
    """
    browser, address = visitor.browser, visitor.address
    connection: TlsConnection | None = None
    template: Template | None = None
    try:
        offer = visitor.offer()
        built, template = offer.outer, offer.outer.template
        shared = built.keys.authenticating.exchange(address.key)
        wall = browser.clock.wall() + visitor.relays.offset_s(visitor.place)
        proof = browser.random_bytes(PROOF_SIZE)
        if visitor.invite is not None:
            proof = invite_proof(visitor.invite, built.hello.random)
        stamp = Stamp(max(0, int(wall)), proof)
        built, inner = offer.sealed(
            seal_session_id(shared, built.hello.random, built.hello.encode(), stamp.encode(), browser.network)
        )
        connection = visitor.connection(tcp, built, inner, holds_finished=True)
        await connection.wait_handshake()
        return _switched(connection, visitor, built, shared)
    except InterceptedError as error:
        if connection is not None:
            visitor.relays.intercepted(visitor.place, browser.clock.now())
            await connection.wait_page(visitor.page(connection, built), PAGE_TIMEOUT_S)
        tcp.close()
        raise ConnectionAbortedError(f"htx: {error}") from error
    except (RemoteProtocolError, ValueError) as error:
        tcp.close()
        raise _aborted(error, visitor, template) from error
    except BaseException:
        tcp.close()
        raise


def _switched(connection: TlsConnection, visitor: Visitor, built: BuiltHello, shared: bytes) -> HtxCarrier:
    browser, address, tls = visitor.browser, visitor.address, connection.tls
    handshake = _finished(connection)
    if address.issuer is not None and issuer_digest(handshake.chain) != address.issuer:
        raise InterceptedError("the origin's certificate is of another issuer: somebody is in between")
    if visitor.relays.is_new_alpn(visitor.place, built.template.name, handshake.alpn):
        raise InterceptedError("the origin speaks another protocol than before")
    binding = binding_of(handshake.hellos, handshake.server_hello)
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

    def answered(*, is_ours: bool) -> None:
        if is_ours:
            visitor.relays.answered(visitor.place)
        else:
            visitor.relays.did_not_answer(visitor.place, browser.clock.now())

    carrier = HtxCarrier(
        connection.tcp,
        (SwitchKey(to_relay), SwitchKey(to_client)),
        (LAST_OF_CLIENT, LAST_OF_RELAY),
        kind=address.kind,
        binding=binding,
        random_bytes=browser.random_bytes,
        on_foreign=foreign,
        on_answer=answered,
        kem=built.keys.hybrid[0] if built.keys.hybrid is not None else None,
        shaper=_shaper(browser, built.template.name, address.request),
        now=browser.clock.now,
        before=connection.take_held(),
    )
    carrier.begin(b"", (), tls.leftover + bytes(connection.late))
    return carrier


def _shaper(browser: Browser, template: str, request: int) -> Shaper | None:
    if browser.profile is Profile.OFF:
        return None
    now = browser.clock.now()
    return Shaper(
        browser.profile,
        browser.random_bytes,
        now,
        is_client=True,
        browser=template,
        rate=browser.rate,
        request=request,
    )
