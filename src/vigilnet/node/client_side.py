"""What a node does for its own user: circuits kept ready, proxies for applications, the whole device."""

import asyncio
from dataclasses import replace
from typing import Final

from vigilnet.node.endpoints import host_and_port, join
from vigilnet.node.ground import Ground
from vigilnet.node.guards_state import load_guards, save_guards
from vigilnet.node.own_exit import OwnExit
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.routing.circuits.service import CircuitPool
from vigilnet.routing.paths.selection import Guards
from vigilnet.traffic.circuit.client import CircuitClosedError, ClientCircuit
from vigilnet.traffic.device.service import DeviceService
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.ingress.ports import Dialler
from vigilnet.traffic.ingress.service import IngressService

LOOK_S: Final = 1.0  # between two looks at our guards


class ClientSide:
    """A client.

    Args:
        ground: the rooms below.
        own_exit: this node's own exit, if it is one.

    Attributes:
        pool: the circuits of everybody who is not bound to an exit.
        device: the whole device, once started.
    """

    def __init__(self, ground: Ground, own_exit: ExitService | None) -> None:
        self._ground = ground
        self.pool: Final = self._new_pool(load_guards(ground.store), ground.options.circuits)
        self._pools = [self.pool]  # and one for each exit that programs are bound to
        self.device: DeviceService | None = None
        dialler: Dialler = self.pool
        if ground.options.node.compat and own_exit is not None:
            knows_relays = ground.known.relays
            own = OwnExit(
                self.pool, own_exit, lambda: bool(knows_relays()), ground.options.streams, ground.clock
            )
            ground.undo.callback(own.close)
            dialler = own
        self._ingress = IngressService(ground.options.ingress, dialler)
        ground.undo.push_async_callback(self._ingress.close)

    def start(self) -> None:
        """Begin to build circuits, and to serve the proxies.

        Raises:
            EnvironmentRefusedError: a port is taken.
        """
        ground = self._ground
        ground.tasks.start("keep guards", self._keep_guards(self.pool.guards))
        ground.circuits.client.on_closed = self._circuit_closed
        self._ingress.start()
        self.pool.start()

    async def start_device(self, own_listen: list[str]) -> None:
        """Take the whole device's traffic, if the settings say so; `own_listen` is let out."""
        ground = self._ground
        ports = tuple(sorted({host_and_port(text, "relay.listen")[1] for text in own_listen}))
        device = self.device = DeviceService(
            ground.options.device, self.pool, ground.clock, ports, self._pool_for_exit
        )
        ground.undo.push_async_callback(device.close)
        await device.start()

    def proxy(self, kind: str) -> str:
        """Return where a proxy, "socks" or "http", listens as host:port; empty when it is off."""
        found = self._ingress.socks_address if kind == "socks" else self._ingress.http_address
        return join(*found) if found is not None else ""

    def new_identity(self) -> int:
        """Let no circuit that exists take new streams; return how many those are."""
        retired = len(list(self.pool.pool.entries))
        self.pool.new_identity()
        self._ground.links.dialler.new_session()
        return retired

    def choose_paths(self, options: CircuitsOptions) -> None:
        """Go on with other settings of circuits, at once; who is bound to an exit stays so."""
        self.pool.reconfigure(options)
        for pool in self._pools[1:]:
            bound = pool.options
            pool.reconfigure(_bound_options(options, bound.exit_country, bound.exit_peer))

    def _new_pool(self, guards: Guards, options: CircuitsOptions) -> CircuitPool:
        ground = self._ground
        pool = CircuitPool(
            ground.circuits,
            ground.known,
            options,
            ground.clock,
            ground.random_bytes,
            guards,
            is_private_network=ground.options.link.allow_private_addresses,
            is_vouched=ground.known.is_vouched,
        )
        ground.undo.push_async_callback(pool.close)
        ground.known.listeners.append(pool.relays_changed)
        return pool

    def _pool_for_exit(self, exit_: str) -> CircuitPool:
        """Return a pool of its own for programs that are bound to one exit: a country or a peer id.

        Raises:
            ConfigurationError: neither.
        """
        country, peer = (exit_, "") if len(exit_) == 2 else ("", exit_)
        pool = self._new_pool(self.pool.guards, _bound_options(self.pool.options, country, peer))
        self._pools.append(pool)
        pool.start()
        return pool

    def _circuit_closed(self, circuit: ClientCircuit, error: CircuitClosedError) -> None:
        for pool in self._pools:
            pool.circuit_closed(circuit, error)

    async def _keep_guards(self, guards: Guards) -> None:
        """Write our guards down whenever they changed, so that not even a crash makes us pick others."""
        saved = list(guards.kept), list(guards.left)
        while True:
            await asyncio.sleep(LOOK_S)
            if (list(guards.kept), list(guards.left)) != saved:
                saved = list(guards.kept), list(guards.left)
                save_guards(self._ground.store, guards)


def _bound_options(options: CircuitsOptions, country: str, peer: str) -> CircuitsOptions:
    return replace(options, build_ahead=1, exit_country=country, exit_peer=peer)
