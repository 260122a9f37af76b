"""QUIC on one node: its certificate, and what a relay's record says of it; imported where it is used."""

from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.store_io import Store
from vigilnet.node.endpoints import host_and_port, is_unspecified, join, listening
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.wire import read_array, read_octets, read_text
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.quic.certificate import Certificate, make_certificate
from vigilnet.traffic.transport.quic.options import Options
from vigilnet.traffic.transport.quic.quic_io import DIGEST, SERVER_NAME, QuicTransport

STORE_NAME: Final = "quic"


class NodeQuic:
    """What the node assembles of QUIC.

    Args:
        settings: the `[quic]` table.
        store: the state folder; a relay's certificate is there.
        clock: time.
        is_relay: whether it listens.
    """

    def __init__(self, settings: Options, store: Store, clock: Clock, *, is_relay: bool) -> None:
        self._settings = settings
        self._certificate = (
            _kept_certificate(store, settings.server_name, clock.wall())
            if is_relay and settings.listen
            else None
        )
        self.transport: Final = QuicTransport(self._certificate)
        self.listening: list[str] = []

    async def listen(self, links: LinkService) -> list[PeerAddress]:
        """Listen as the settings say; return the addresses of our record."""
        settings, certificate = self._settings, self._certificate
        if certificate is None:
            return []
        bound = []
        for text in settings.listen:
            host, port = host_and_port(text, "quic.listen", least_port=0)
            async with listening("quic.listen", text):
                listener = await links.listen(host, port, TransportKind.QUIC)
            bound.append((host, listener.port))
        self.listening += [join(*at) for at in bound]
        reached = [host_and_port(text, "quic.advertise") for text in settings.advertise] or bound
        params: dict[int, Value] = {DIGEST: certificate.digest, SERVER_NAME: settings.server_name}
        return [
            PeerAddress.build(TransportKind.QUIC, host, port, params)
            for host, port in reached
            if not is_unspecified(host)
        ]


def _kept_certificate(store: Store, server_name: str, wall: float) -> Certificate:
    """Return the certificate that we made for this name, now or before."""
    content = store.read(STORE_NAME)
    if content is not None:
        try:
            name, der, key = read_array(decode(content, "quic"), "quic", 3, 3)
            if read_text(name, "name", 1, 253) == server_name:
                return Certificate(read_octets(der, "certificate", 1, 4096), read_octets(key, "key", 1, 4096))
        except RemoteProtocolError as error:
            raise ConfigurationError(
                f"{STORE_NAME} in the state folder: damaged; remove it for a new certificate ({error})"
            ) from error
    made = make_certificate(server_name, wall)
    store.write_atomic(STORE_NAME, encode([server_name, made.der, made.key_der]))
    return made
