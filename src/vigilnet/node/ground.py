"""What both sides of a node stand on, once its links and circuits are there."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from vigilnet.base.clock import Clock
from vigilnet.base.store_io import Store
from vigilnet.base.tasks import TaskGroup
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.node.transports import NodeTransports
from vigilnet.traffic.circuit.service import CircuitService
from vigilnet.traffic.link.service import LinkService


@dataclass(frozen=True, slots=True)
class Ground:
    """The rooms below.

    Attributes:
        undo: what is started goes in here, and is closed in the reverse order.
        tasks: what runs until the node stops.
    """

    options: Options
    clock: Clock
    random_bytes: Callable[[int], bytes]
    store: Store
    undo: AsyncExitStack
    tasks: TaskGroup
    transports: NodeTransports
    known: KnownRelays
    links: LinkService
    circuits: CircuitService
