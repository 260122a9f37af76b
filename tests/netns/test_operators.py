"""What an operator sees of a client: its address until it has a circuit, and never anything more.

    client ─┐
    guard ──┤
    exit ───┼── a switch
    operator┘   captures what reaches its directory

All are hosts of their own; the operator runs a directory (mode bootstrap), the client asks each second.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.capture import TCP, Capture
from tests.support.netns import Lab
from tests.support.nodes import EXIT_CONSENT
from tests.support.relays import Tables, start, wait_until
from tests.support.waiting import wait_until as wait_for
from vigilnet.base.errors import VigilnetError
from vigilnet.surface.control.client import ControlClient

pytestmark = [pytest.mark.netns, pytest.mark.slow]
PORT = 8088


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def test_operator_sees_a_clients_address_only_until_it_has_a_circuit(lab: Lab, tmp_path: Path) -> None:
    client, guard, last, operator = (lab.namespace(name) for name in ("client", "guard", "exit", "operator"))
    lab.switch(client, guard, last, operator, v6=False)
    url = f"http://{operator.v4}:{PORT}"
    common: Tables = {"discovery": {"sources": ["directories", "gossip"]}}
    operators: dict[str, object] = {"urls": [url], "heartbeat_s": 1.0, "query_s": 1.0}

    def relay(host_v4: str, mode: str, **more: dict[str, object]) -> Tables:
        return {
            **common,
            "node": {"mode": mode},
            "relay": {"listen": [f"{host_v4}:4001"]},
            "ingress": {"socks_enabled": False, "http_enabled": False},
            "operators": operators,
            **more,
        }

    directory: dict[str, object] = {"listen": [f"{operator.v4}:{PORT}"], "rate_per_minute": 0}
    start(operator, tmp_path, "operator", relay(operator.v4, "bootstrap", operators=directory))
    start(guard, tmp_path, "guard", relay(guard.v4, "relay"))
    allowed: dict[str, object] = {"policy": "open", "allow_private_targets": True, **EXIT_CONSENT}
    start(last, tmp_path, "exit", relay(last.v4, "exit", exit=allowed))
    with Capture(operator) as seen:
        tables: Tables = {**common, "circuits": {"hops": 2}, "operators": operators}
        state = start(client, tmp_path, "client", tables)
        wait_until(state, lambda status: status.first_circuit_ms is not None)

        def asks_by_circuit() -> bool:
            with contextlib.suppress(VigilnetError), ControlClient(state) as control:
                return any(circuit.isolation == "operators" for circuit in control.circuits())
            return False

        wait_for(asks_by_circuit, "the client asks through a circuit")
        direct, others = len(_asked(seen, client.v4)), len(_asked(seen, last.v4))
        # the exit asks each second for itself, too: more than twice as often, it asks for the client
        wait_for(lambda: len(_asked(seen, last.v4)) > others + 20, "the exit carries questions", 60.0)
        assert len(_asked(seen, client.v4)) <= direct + 2  # one that was under way
    said = b"".join(_asked(seen, client.v4))
    assert b"GET /api/relays/by-country HTTP/1.1\r\n" in said
    names = {line.partition(b":")[0] for line in said.split(b"\r\n") if not line.startswith(b"GET ")}
    assert {name.lower() for name in names} <= {b"", b"host", b"accept", b"connection"}


def _asked(seen: Capture, address: str) -> list[bytes]:
    """The TCP payloads that came from an address to the directory."""
    found = []
    for packet in list(seen.packets):
        if packet.protocol == TCP and packet.source == address and packet.target_port == PORT:
            head = (packet.octets[0] & 15) * 4
            payload = packet.octets[head + (packet.octets[head + 12] >> 4) * 4 :]
            length = int.from_bytes(packet.octets[2:4])
            payload = payload[: max(0, length - (len(packet.octets) - len(payload)))]
            if payload:
                found.append(payload)
    return found
