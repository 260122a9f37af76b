"""Stands in for vigilnetd in tests of the commands: reads its settings, serves a control socket, no traffic.

`VIGILNET_TEST_FAKE=<role>:<what>` makes the process with that role misbehave: `fail` ends it at once with an
error line, `mute` never gets ready, `stubborn` takes no notice of being asked to end.
"""

import argparse
import asyncio
import os
import signal
import sys
import tomllib
from pathlib import Path

from tests.support.fake_node import FakeHost, FakeNode, control_server
from vigilnet.node.status import NodeState, NodeStatus
from vigilnet.surface.control.socket_path import socket_of
from vigilnet.surface.process_guard import end_with_parent


class Node(FakeNode):
    def __init__(self, settings: dict[str, dict[str, object]], *, is_mute: bool) -> None:
        super().__init__()
        self.is_relay = bool(settings.get("relay", {}).get("enabled"))
        self.is_mute = is_mute
        self.settings = settings

    def status(self) -> NodeStatus:
        if self.is_relay:
            listen = () if self.is_mute else ("127.0.0.1:1",)
            return NodeStatus(
                "0", os.getpid(), NodeState.SERVING, 0.0, roles=("relay",), listen=listen, peers=200
            )
        first = None if self.is_mute else 12.5
        return NodeStatus(
            "0", os.getpid(), NodeState.CONNECTED, 0.0, roles=("client",), socks="127.0.0.1:2",
            http_proxy="127.0.0.1:3", first_circuit_ms=first,
        )  # fmt: skip


async def serve(settings: dict[str, dict[str, object]], behaviour: str) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(0, 100):
            ending.set()

    if behaviour != "stubborn":
        end_with_parent()
        loop.add_signal_handler(signal.SIGTERM, ending.set)
        loop.add_reader(0, readable)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    folder = Path(str(settings["node"]["state_folder"]))
    node = Node(settings, is_mute=behaviour == "mute")
    server, _ = control_server(socket_of(folder), FakeHost(node, folder / "unused.toml", ending.set))
    await server.start()
    await ending.wait()
    await server.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--guarded", action="store_true", required=True)
    parser.add_argument("--config", type=Path, required=True)
    config = parser.parse_args().config
    role, _, behaviour = os.environ.get("VIGILNET_TEST_FAKE", "").partition(":")
    behaviour = behaviour if config.stem == role else ""
    if behaviour == "fail":
        sys.exit("vigilnetd: port 4001 is in use, choose another")
    settings = tomllib.loads(config.read_text())
    Path(settings["node"]["state_folder"]).mkdir()
    asyncio.run(serve(settings, behaviour))


if __name__ == "__main__":
    main()
