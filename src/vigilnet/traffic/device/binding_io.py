"""What programs that are bound to one exit use: circuits, a listener and a name server of their own."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Protocol

from vigilnet.base.clock import Clock
from vigilnet.traffic.device.capture_io import TcpCapture
from vigilnet.traffic.device.flows_io import FlowOpener
from vigilnet.traffic.device.options import DnsMode, Options, parse_server
from vigilnet.traffic.device.resolver_io import NameResolver, NameServer
from vigilnet.traffic.device.translation import Translation
from vigilnet.traffic.device.tun_io import Way
from vigilnet.traffic.stream.messages import Target

ISOLATION: Final = "device"


class Dialler(NameResolver, FlowOpener, Protocol):
    """What the device needs of the pool of circuits."""


class Binding:
    """One exit that programs are bound to.

    Args:
        exit_: a country or a peer id.
        dialler: its circuits leave there alone.
        clock: time.
        is_carried: whether a packed target may be reached through the network.
        most: connections at a time.
        translation: see `TcpCapture`.
    """

    def __init__(
        self,
        exit_: str,
        dialler: Dialler,
        clock: Clock,
        is_carried: Callable[[bytes], bool],
        most: int,
        translation: Translation | None,
    ) -> None:
        self._clock = clock
        self._is_carried = is_carried
        self._has_redirect = translation is None
        isolation = f"{ISOLATION} {exit_}"
        self.names = NameServer(dialler, clock, isolation, _learnt, is_carried=is_carried)
        self.capture = TcpCapture(dialler, self._target, isolation, most, translation)
        self.way = Way(dialler, isolation, self._name_of, None if self._has_redirect else self._answer)

    def start(self, options: Options) -> None:
        """Listen; raises EnvironmentRefusedError."""
        self.set_dns(options)
        self.capture.start()
        self.names.start(has_redirect=self._has_redirect)

    def set_dns(self, options: Options) -> None:
        """Names are resolved at the exit, whoever resolves everybody's, or by the server that was named."""
        if options.dns == DnsMode.CUSTOM:
            self.names.custom = parse_server(options.dns_server)
        self.names.mode = DnsMode.CUSTOM if options.dns == DnsMode.CUSTOM else DnsMode.OVERLAY

    async def close(self) -> None:
        """Stop."""
        await self.capture.close()
        await self.names.close()

    def _target(self, address: str, port: int) -> Target | None:
        if not self._is_carried(ip_address(address).packed):
            return None
        return Target(self._name_of(address) or address, port)

    def _name_of(self, address: str) -> str:
        return self.names.memory.name_of(address, self._clock.now())

    async def _answer(self, question: bytes) -> bytes:
        return await self.names.answer(question, is_tcp=False)


async def _learnt(name: str, addresses: list[str], ttl: int) -> None:
    """What is bound does not go around the tunnel, whatever its name, and opens no way for others."""
