"""Pluggable transports on one node: programs and plug-ins, and what a relay's record says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from vigilnet.base.codec import Value
from vigilnet.base.errors import ConfigurationError, LocalProtocolError
from vigilnet.node.endpoints import host_and_port, is_unspecified, join, listening
from vigilnet.node.plugins import load_plugins
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.link.service import LinkService
from vigilnet.traffic.transport.pluggable.options import Options, split_name
from vigilnet.traffic.transport.pluggable.pluggable_io import PluggableTransport, ServedTransport

FOLDER: Final = "pluggable"


class NodePluggable:
    """What the node assembles of pluggable transports.

    Args:
        settings: the `[pluggable]` table.
        state_folder: the node's.
        random_bytes: source of secrets.

    Raises:
        ConfigurationError: a plug-in is not installed, or does not load.
    """

    def __init__(self, settings: Options, state_folder: Path, random_bytes: Callable[[int], bytes]) -> None:
        self._settings = settings
        state = (state_folder / FOLDER).absolute()
        plugins = load_plugins(settings, state, random_bytes)
        self.transport: Final = PluggableTransport(settings, state, plugins, random_bytes)
        self.listening: list[str] = []

    async def listen(self, links: LinkService) -> list[PeerAddress]:
        """Listen as the settings say; return the addresses of our record."""
        advertised = [split_name(text, "pluggable.advertise") for text in self._settings.advertise]
        reached = {name: host_and_port(text, "pluggable.advertise") for name, text in advertised}
        addresses = []
        for entry in self._settings.listen:
            name, text = split_name(entry, "pluggable.listen")
            host, port = host_and_port(text, "pluggable.listen", least_port=0)
            async with listening("pluggable.listen", entry):
                served = await self._serve(links, name, host, port)
            self.listening.append(join(host, served.port))
            at = reached.get(name, (host, served.port))
            if not is_unspecified(at[0]):
                addresses.append(_address(served, *at))
        return addresses

    async def _serve(self, links: LinkService, name: str, host: str, port: int) -> ServedTransport:
        served = await links.listen_by(lambda accept: self.transport.serve(name, host, port, accept))
        return cast("ServedTransport", served)

    async def close(self) -> None:
        """End every program."""
        await self.transport.close()


def _address(served: ServedTransport, host: str, port: int) -> PeerAddress:
    try:
        params = cast("dict[int, Value]", dict(served.params))
        return PeerAddress.build(TransportKind.PLUGGABLE, host, port, params)
    except LocalProtocolError as error:
        raise ConfigurationError(f"pluggable.advertise: {error}") from error
