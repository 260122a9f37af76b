"""A node that only has a status, behind a real control socket on a loop of its own thread."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vigilnet.base.errors import VigilnetError
from vigilnet.node.status import (
    CircuitStatus,
    HopStatus,
    InviteStatus,
    NodeState,
    NodeStatus,
    PeerStatus,
    StreamStatus,
    WelcomeStatus,
)
from vigilnet.surface.control.server import ControlServer
from vigilnet.surface.control.socket_path import socket_of


class FakeNode:
    """Fixed snapshots; `refusal` makes new_identity fail."""

    def __init__(self) -> None:
        self.refusal = ""
        self.asked = 0
        self.device = None

    def status(self) -> NodeStatus:
        return NodeStatus(
            "0.1.0", 4711, NodeState.CONNECTED, 12.5, "lab", ("client",), socks="127.0.0.1:1080",
            listen=("127.0.0.1:4001",), peers=3, links=1, circuits=2, streams=1, first_circuit_ms=18.5,
        )  # fmt: skip

    def circuits(self) -> Sequence[CircuitStatus]:
        hops = tuple(HopStatus(f"12D3KooW{name}", "aes-256-gcm") for name in ("guard", "middle", "exit"))
        return (CircuitStatus(1, "open", hops, 3.0, 1, 17.0, ""), CircuitStatus(2, "building", (), 0.1))

    def streams(self) -> Sequence[StreamStatus]:
        return [StreamStatus(5, 1, "example.org:443", "open", 2.0, 100, 20_000)]

    def peers(self) -> Sequence[PeerStatus]:
        return [
            PeerStatus(
                "12D3KooWguardian", ("invites", "gossip"), ("relay", "guard"), True, True, 1_790_000_000
            ),
            PeerStatus("12D3KooWstranger", ("mdns",), ("relay", "exit"), False, False, 1_790_000_000),
        ]

    def invite(self, peer_id: str) -> InviteStatus:
        return InviteStatus("vigilnet:AAAA", peer_id or "12D3KooWown", 1_790_000_000)

    def add_invite(self, uri: str) -> InviteStatus:
        if not uri.startswith("vigilnet:"):
            raise VigilnetError("invite: does not begin with vigilnet:")
        return InviteStatus(uri, "12D3KooWguest", 1_790_000_000, is_new=True)

    def welcome_list(self) -> WelcomeStatus:
        return WelcomeStatus("vigilnet welcome 1\nvigilnet:AAAA\n", 1, is_signed=False)

    async def new_identity(self) -> int:
        self.asked += 1
        if self.refusal:
            raise VigilnetError(self.refusal)
        return 2


@contextmanager
def served(folder: Path, node: FakeNode | None = None) -> Iterator[threading.Event]:
    """Serve a node's control socket in `folder`; gives the event that a request to stop sets."""
    stopped, started = threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        server = ControlServer(socket_of(folder), node or FakeNode(), "0.1.0", stopped.set)
        await server.start()
        started.set()
        await ending.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield stopped
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()
