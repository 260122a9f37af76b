"""Octets of real connections through three real hops: whole, half-closed, stalled (EXT-17, CIR-05).

client, relay1, relay2, exit, target ── switch

`VIGILNET_TEST_BULK_MIB` says how much goes each way; CI sends a GiB.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.needs import needs_programs
from tests.support.netns import Lab
from tests.support.nodes import Network, start_network
from tests.support.octet_server import hash_of, send, take
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("curl")]

MIB = 1 << 20
BULK_MIB = int(os.environ.get("VIGILNET_TEST_BULK_MIB", "256"))
MOST_GROWTH = 64 * MIB


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Lab() as lab:
        yield start_network(lab, tmp_path_factory.mktemp("streams"))


@contextlib.contextmanager
def memory_stays(network: Network) -> Iterator[None]:
    """No process may be MOST_GROWTH larger at the end of the block than before it."""

    def sizes() -> dict[str, int]:
        return {node.name: node.resident_octets() for node in network.nodes.values()}

    before = sizes()
    yield
    for name, size in sizes().items():
        assert size - before[name] < MOST_GROWTH, f"{name}: {before[name] / MIB:.0f} to {size / MIB:.0f} MiB"


def fetch_one(network: Network, octets: int) -> str:
    with network.dial(f"SEND {octets}") as connection:
        count, found = take(connection)
    assert count == octets
    return found


def test_bulk_both_ways_at_once_arrives_whole(network: Network) -> None:
    octets = BULK_MIB * MIB
    right = hash_of(octets)
    with network.dial(f"BOTH {octets}", timeout=600) as connection, ThreadPoolExecutor(1) as receiver:
        received = receiver.submit(take, connection, octets)
        send(connection, octets)
        connection.shutdown(socket.SHUT_WR)
        assert received.result() == (octets, right)
        assert connection.recv(100).decode() == right


def test_what_was_sent_before_a_half_close_is_answered_after_it(network: Network) -> None:
    with network.dial("SINK") as connection:
        connection.sendall(b"all I have")
        connection.shutdown(socket.SHUT_WR)
        assert take(connection, 64)[0] == 64
        assert connection.recv(1) == b""
    with network.dial("SEND 5") as connection:
        assert take(connection)[0] == 5  # the target's half-close arrives, ours is still open
        connection.sendall(b"more")
        connection.shutdown(socket.SHUT_WR)


def wait_still(network: Network, streams: int) -> None:
    """Wait until so many streams are open and nothing came for any of them in half a second."""
    seen: list[list[int]] = [[]]

    def is_still() -> bool:
        seen.append([stream.received for stream in network.user.streams()])
        return len(seen[-1]) >= streams and seen[-1] == seen[-2]

    wait_until(is_still, "all streams are stalled", timeout=60, every=0.5)


@contextlib.contextmanager
def stalled(network: Network, streams: int, read_first: int = 0) -> Iterator[None]:
    """So many streams whose reader stops after a while, when all their windows are full."""
    with contextlib.ExitStack() as stack:
        for _ in range(streams):
            connection = stack.enter_context(network.dial(f"SEND {read_first + 64 * MIB}"))
            if not read_first:  # less of it in the kernel, so that we are soon there
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            assert take(connection, read_first)[0] == read_first
        wait_still(network, streams)
        yield


@pytest.mark.parametrize(
    ("readers", "read_first"), [(1, 0), (1, 32 * MIB), (3, 32 * MIB), (100, 0), (140, 0)]
)
def test_readers_that_stall_hold_up_nobody_else(network: Network, readers: int, read_first: int) -> None:
    right = hash_of(2 * MIB)
    fetch_one(network, 2 * MIB)  # what a process needs anyhow is there before we measure
    with memory_stays(network), stalled(network, readers, read_first), ThreadPoolExecutor(20) as fast:
        found = list(fast.map(lambda _: fetch_one(network, 2 * MIB), range(20)))
        assert network.fetch() == "found\n"
    assert found == [right] * 20


def test_a_reader_that_goes_on_gets_the_rest(network: Network) -> None:
    octets = 12 * MIB
    with network.dial(f"SEND {octets}") as connection:
        wait_still(network, 1)
        assert take(connection) == (octets, hash_of(octets))


def test_a_sender_is_held_up_by_a_target_that_does_not_read(network: Network) -> None:
    """ECHO reads no more once its answers are not taken: our sending must come to a stop, and go on."""
    octets = 64 * MIB
    with (
        memory_stays(network),
        network.dial("ECHO", timeout=60) as connection,
        ThreadPoolExecutor(1) as sender,
    ):
        sending = sender.submit(send, connection, octets)
        wait_still(network, 1)
        assert not sending.done()
        assert take(connection, octets) == (octets, hash_of(octets))
        sending.result()
