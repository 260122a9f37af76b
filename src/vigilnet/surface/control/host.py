"""What the control API needs of the process that it steers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vigilnet.base.clock import Clock
from vigilnet.node.options import Loaded, Options
from vigilnet.node.status import (
    CircuitStatus,
    ClientFacts,
    ExitStatus,
    InviteStatus,
    NodeStatus,
    PathStatus,
    PeerStatus,
    StreamStatus,
    WelcomeStatus,
)
from vigilnet.routing.discovery.reachability import ReachFinding
from vigilnet.surface.control.device import CHANGEABLE, ControlledDevice
from vigilnet.surface.control.log_ring import LogRing
from vigilnet.surface.control.models import Diagnosis, Exits, Peer, Status
from vigilnet.surface.control.sessions import Sessions


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the whole-device side says of itself; the default is that there is none."""

    whole_device: bool = False  # all apps' traffic is captured
    names: str = "local"  # local, exit or custom: who is asked for names
    lockdown: bool = False
    is_held: bool = False  # nothing can leave beside VigilNet
    exceptions: tuple[str, ...] = ()  # apps and ranges let out, in words
    portal: bool = False  # the network wants a sign-in


class SteeredNode(Protocol):
    """What is steered; see `node.assembly.Node`."""

    def status(self) -> NodeStatus: ...
    def circuits(self) -> Sequence[CircuitStatus]: ...
    def streams(self) -> Sequence[StreamStatus]: ...
    def paths(self) -> Sequence[PathStatus]: ...
    def peers(self) -> Sequence[PeerStatus]: ...
    def reachability(self) -> Sequence[ReachFinding]: ...
    async def find_peer(self, peer_id: str) -> Sequence[PeerStatus]: ...
    def exits(self, country: str = "", port: int = 0) -> Sequence[ExitStatus]: ...
    def client_facts(self) -> ClientFacts | None: ...
    def carried(self) -> tuple[int, int]: ...
    def new_path(self, circuit_id: int) -> bool: ...
    def keep_path(self, circuit_id: int, *, is_kept: bool) -> bool: ...
    def close_circuit(self, circuit_id: int) -> bool: ...
    async def new_identity(self) -> int: ...
    def invite(self, peer_id: str) -> InviteStatus: ...
    def add_invite(self, uri: str) -> InviteStatus: ...
    def welcome_list(self) -> WelcomeStatus: ...


class SteeredHost(Protocol):
    """The process around the node."""

    @property
    def node(self) -> SteeredNode:
        """The node of now; another one after a restart."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def is_on(self) -> bool:
        """Whether applications are to be served."""
        ...

    @property
    def options(self) -> Options:
        """What the node was started with, and what was changed live since."""
        ...

    @property
    def loaded(self) -> Loaded:
        """The settings of now, some of which may wait for a restart."""
        ...

    @property
    def settings_file(self) -> Path:
        """Where changes are kept."""
        ...

    @property
    def logs(self) -> LogRing:
        """The last lines of the log."""
        ...

    @property
    def sessions(self) -> Sessions:
        """Tokens of the HTTP API."""
        ...

    @property
    def dashboard(self) -> str:
        """Address of the dashboard; empty: off."""
        ...

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What the doctor found last."""
        ...

    def device(self) -> DeviceFacts:
        """Return what the whole-device side says."""
        ...

    @property
    def controlled_device(self) -> ControlledDevice | None:
        """The device; one that only knows lockdown while the node is off."""
        ...

    async def examine(
        self, status: Status, peers: Sequence[Peer], exits: Exits, *, repair: bool
    ) -> Diagnosis:
        """Look for what is wrong, given what the node says of itself."""
        ...

    async def change(
        self, wanted: Mapping[str, str | None], *, keep: bool, restart: bool = False
    ) -> tuple[str, ...]:
        """Change options (None: back to the default); returns the keys whose value is another now.

        Raises:
            ConfigurationError: a value is wrong; nothing was changed.
            ControlError: a key is set where it cannot be changed.
        """
        ...

    async def switch(self, *, on: bool) -> bool:
        """Serve applications, or stop to; returns whether that changed anything."""
        ...

    async def restart(self) -> None:
        """Start the node again with the settings of now."""
        ...

    def stop(self) -> None:
        """End the process soon."""
        ...


def is_live(key: str) -> bool:
    """Whether a change of this option is in effect at once."""
    table, _, name = key.partition(".")
    return table == "circuits" or key == "log.level" or (table == "device" and name in CHANGEABLE)
