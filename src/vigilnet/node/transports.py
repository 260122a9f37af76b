"""Every transport of one node: which it dials with, in the order of its settings, and where it listens."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.htx import NodeHtx
from vigilnet.node.options import Options
from vigilnet.node.pluggable import NodePluggable
from vigilnet.node.shadowsocks import NodeShadowsocks
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.link.neighbours import DialAddress
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.carrier import Transport
from vigilnet.traffic.transport.tcp_io import TcpTransport


class Listening(Protocol):
    """What transports that listen by settings of their own have in common."""

    listening: list[str]

    @property
    def transport(self) -> Transport:
        """What dials and listens."""
        ...

    async def listen(self, links: LinkService) -> list[PeerAddress]:
        """Listen as the settings say; return the addresses of our record."""
        ...


class NodeTransports:
    """What the node assembles of transports.

    Args:
        options: the whole tree.
        store: the state folder.
        state_folder: where it is.
        clock: time.
        random_bytes: source of secrets.

    Raises:
        ConfigurationError: a setting of one of them cannot be used.
    """

    def __init__(
        self,
        options: Options,
        store: Store,
        state_folder: Path,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.htx: Final = NodeHtx(options, store, clock, random_bytes, state_folder)
        self._shadowsocks = NodeShadowsocks(options, store, clock, random_bytes)
        self._pluggable = NodePluggable(options.pluggable, state_folder, random_bytes)
        self._quic = _quic(options, store, clock)
        found: dict[TransportKind, Transport] = {
            TransportKind.HTX: self.htx.transport,
            TransportKind.PLUGGABLE: self._pluggable.transport,
            TransportKind.SHADOWSOCKS: self._shadowsocks.transport,
            TransportKind.TCP: (tcp := TcpTransport(owns_port=True)),
        }
        if self._quic is not None:
            found[TransportKind.QUIC] = self._quic.transport
        wanted = [TransportKind[name.upper()] for name in options.link.transports]
        self._dialled = set(wanted)
        self.plain: Final = tcp if TransportKind.TCP in self._dialled else None
        self.by_kind: Final[dict[int, Transport]] = {
            kind: found[kind] for kind in dict.fromkeys([*wanted, *found]) if kind in found
        }

    def can_dial(self, address: DialAddress) -> bool:
        """Whether the settings let us dial there, and we have what it takes."""
        if address.transport not in self._dialled:
            return False
        return address.transport != TransportKind.PLUGGABLE or self._pluggable.transport.can_dial(
            address.params
        )

    async def listen(self, links: LinkService) -> list[PeerAddress]:
        """Listen with all transports that have settings of their own; return the addresses of our record."""
        rooms: list[Listening] = [
            self._pluggable,
            self._shadowsocks,
            *([self._quic] if self._quic is not None else []),
        ]
        return [address for room in rooms for address in await room.listen(links)]

    @property
    def listening(self) -> list[str]:
        """Where `listen` listens."""
        quic = [] if self._quic is None else self._quic.listening
        return [*self._pluggable.listening, *self._shadowsocks.listening, *quic]

    async def close(self) -> None:
        """End the programs that carry links."""
        await self._pluggable.close()
        self.htx.close()


def _quic(options: Options, store: Store, clock: Clock) -> Listening | None:
    """Return QUIC where the settings want it; its package is installed by those who do.

    Raises:
        ConfigurationError: it is not.
    """
    if "quic" not in options.link.transports and not (options.relay.enabled and options.quic.listen):
        return None
    try:
        from vigilnet.node.quic import NodeQuic
    except ImportError as error:
        raise ConfigurationError(
            "quic: needs the package qh3; install it with `pip install vigilnet[quic]`"
        ) from error
    return NodeQuic(options.quic, store, clock, is_relay=options.relay.enabled)
