"""A running node as the status interface shows it."""

from collections.abc import Callable

from vigilnet.node.assembly import Node
from vigilnet.node.modes import Mode
from vigilnet.node.options import Options
from vigilnet.node.status import NodeState
from vigilnet.routing.operators.service import DirectoryService
from vigilnet.surface.status.facts import ExitFacts, Facts

_OFF = (NodeState.STARTING, NodeState.STOPPING)


class ShownNode:
    """Serves `service.Shown`.

    Args:
        node: returns the node of now; another one after a restart.
    """

    def __init__(self, node: Callable[[], Node]) -> None:
        self._node = node
        self.status_port = 0

    def directory(self) -> DirectoryService | None:
        """Return its directory, if it runs one."""
        operators = self._node().operators
        return operators.directory if operators is not None else None

    def facts(self) -> Facts:
        """Return the node of now."""
        node = self._node()
        status, work = node.status(), node.work()
        client = node.operators.client if node.operators is not None else None
        exit_ = work.exit
        return Facts(
            mode=(node.options.node.mode or Mode.CLIENT).value,
            is_on=status.state not in _OFF,
            is_relay="relay" in status.roles,
            has_sources=has_sources(node.options),
            socks=status.socks,
            socks_port=int(status.socks.rpartition(":")[2]) if status.socks else 0,
            status_port=self.status_port,
            relays=status.peers,
            links=status.links,
            circuits=status.circuits,
            relayed_circuits=status.relayed_circuits,
            relayed_cells=work.relayed_cells,
            operators=len(node.options.operators.urls),
            operator_answered=client is not None and client.is_answered,
            built=work.built,
            failed=work.failed,
            last_error=work.last_error,
            exit=None
            if exit_ is None
            else ExitFacts(
                exit_.accepted + exit_.refused + exit_.failed,
                exit_.accepted,
                exit_.refused,
                exit_.octets,
                exit_.lost_datagrams,
            ),
        )


def has_sources(options: Options) -> bool:
    """Whether the settings name something that may bring relays."""
    discovery, node = options.discovery, options.node
    mode = node.mode or Mode.CLIENT
    given = (
        ("directories", bool(options.operators.urls) and mode.queries_directory),
        ("mdns", True),
        ("beacon", True),
        ("dht", mode.supports_relay),
        ("gossip", mode.supports_relay),  # others come to a relay that they know
        ("invites", bool(node.invites)),
        ("welcome", bool(discovery.welcome_lists)),
    )
    is_told = node.peers_folder is not None or bool(node.peer_files)
    return is_told or any(is_given and discovery.uses(source) for source, is_given in given)
