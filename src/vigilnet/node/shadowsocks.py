"""Shadowsocks on one node: how it dials, and on a relay its password and what its records say of it."""

import os
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.store_io import Store
from vigilnet.node.endpoints import host_and_port, is_unspecified, join, listening
from vigilnet.node.options import Options
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.wire import read_array, read_text
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.pluggable.proxy import read_proxy
from vigilnet.traffic.transport.pluggable.proxy_io import ProxiedTcp
from vigilnet.traffic.transport.shadowsocks.methods import new_password, secret_from
from vigilnet.traffic.transport.shadowsocks.shadowsocks_io import (
    METHOD,
    PASSWORD,
    TARGET,
    Server,
    ShadowsocksTransport,
)

STORE_NAME: Final = "shadowsocks"


class NodeShadowsocks:
    """What the node assembles of Shadowsocks.

    Raises:
        ConfigurationError: a password that does not fit its method, or a setting that is missing.
    """

    def __init__(
        self, options: Options, store: Store, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        settings = self._settings = options.shadowsocks
        self._password = settings.password
        server = None
        if options.relay.enabled and settings.listen:
            self._password = settings.password or _kept_password(store, settings.method, random_bytes)
            try:
                secret = secret_from(settings.method, self._password)
            except ConfigurationError as error:
                raise ConfigurationError(f"shadowsocks.{error}") from error
            server = Server(secret, clock, random_bytes, settings.max_unproven)
        if settings.behind and (settings.listen or not settings.password or not settings.advertise):
            raise ConfigurationError(
                "shadowsocks.behind: needs method, password and advertise of the other server, and no listen"
            )
        self.transport: Final = ShadowsocksTransport(
            clock, random_bytes, server, dict(map(_client, settings.clients))
        )
        self.listening: list[str] = []

    async def listen(self, links: LinkService) -> list[PeerAddress]:
        """Listen as the settings say; return the addresses of our record."""
        settings = self._settings
        params: dict[int, Value] = {METHOD: settings.method, PASSWORD: self._password}
        bound = []
        for text in settings.listen:
            host, port = host_and_port(text, "shadowsocks.listen", least_port=0)
            async with listening("shadowsocks.listen", text):
                listener = await links.listen(host, port, TransportKind.SHADOWSOCKS)
            bound.append((host, listener.port))
        if settings.behind:
            host, port = host_and_port(settings.behind, "shadowsocks.behind")
            async with listening("shadowsocks.behind", settings.behind):
                await links.listen_by(lambda accept: self.transport.listen_behind(host, port, accept))
            params[TARGET] = [host, port]
        self.listening += [join(*at) for at in bound]
        reached = [host_and_port(text, "shadowsocks.advertise") for text in settings.advertise] or bound
        return [
            PeerAddress.build(TransportKind.SHADOWSOCKS, host, port, params)
            for host, port in reached
            if not is_unspecified(host)
        ]


def _client(text: str) -> tuple[tuple[str, int], ProxiedTcp]:
    """Read one of `shadowsocks.clients`: the server that it has, and how it is reached."""
    place, _, proxy = text.partition("=")
    try:
        return host_and_port(place.strip(), "shadowsocks.clients"), ProxiedTcp(
            read_proxy(proxy.strip()), CarrierKind.SHADOWSOCKS
        )
    except RemoteProtocolError as error:
        raise ConfigurationError(
            f"shadowsocks.clients: got {text!r}, SERVER=PROXY expected ({error})"
        ) from error


def _kept_password(store: Store, method: str, random_bytes: Callable[[int], bytes]) -> str:
    """Return the password that we made for this method, now or before."""
    content = store.read(STORE_NAME)
    if content is not None:
        try:
            kept_method, password = read_array(decode(content, "shadowsocks"), "shadowsocks", 2, 2)
            if read_text(kept_method, "method", 1, 64) == method:
                return read_text(password, "password", 1, 128)
        except RemoteProtocolError as error:
            raise ConfigurationError(
                f"{STORE_NAME} in the state folder: damaged; remove it for a new password ({error})"
            ) from error
    password = new_password(method, random_bytes)
    store.write_atomic(STORE_NAME, encode([method, password]))
    return password
