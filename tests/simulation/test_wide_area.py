"""The congestion window over wires with a delay and a rate: throughput, and the wait of others.

Three hops, the time of one way spread over three wires of the same rate. While one circuit carries
bulk, another one over the same links sends 50 octets back and forth: its wait is what a user feels.
"""

import asyncio
import hashlib
import statistics
from dataclasses import dataclass

import pytest

from tests.support import onion_network
from tests.support.onion_network import OnionNetwork, play
from tests.support.targets import pattern

PACKET = 1448  # octets of a TCP segment; a wire passes them one by one
PAYLOAD_SHARE = 14_128 / 14_352  # of a run of 7 on the wire


@dataclass
class Measured:
    """What one transfer gave."""

    octets_per_s: float
    pings_s: list[float]
    window: int


def transfer(
    rtt_s: float, rate: float, octets: int, *, streams: int = 1, is_upload: bool = False
) -> Measured:
    """Carry so many octets over three hops; rate 0 is no limit."""

    async def scenario(network: OnionNetwork) -> Measured:
        bulk = await network.build(3)
        other = await network.build(3)
        quick = network.open(other, "echo.test")
        pings: list[float] = []

        async def ping() -> None:
            while True:
                start = network.loop.time()
                quick.stream.write(b"x" * 50)
                await network.wait_for(lambda: quick.octets == 50 * (len(pings) + 1), step_s=0.001)
                pings.append(network.loop.time() - start)
                await asyncio.sleep(0.1)

        await network.settle(3)
        start = network.loop.time()
        pinging = asyncio.ensure_future(ping())
        if is_upload:
            assert await network.upload(bulk, octets)
        else:
            share = octets // streams
            readers = [network.open(bulk, f"source-{share}.test", keeps=False) for _ in range(streams)]
            await network.wait_for(lambda: all(reader.has_eof for reader in readers), 600)
            expected = hashlib.sha256(pattern(share)).digest()
            assert all(reader.digest.digest() == expected for reader in readers)
        took = network.loop.time() - start
        pinging.cancel()
        end = bulk.mux if is_upload else network.relays[2].relay.circuits[0].end
        assert end is not None
        return Measured(octets / took, pings, end.congestion.window)

    return play(scenario, 3, delay_s=rtt_s / 6, rate=rate)


@pytest.fixture(autouse=True)
def _small_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onion_network, "CHUNK", PACKET)


@pytest.mark.parametrize("is_upload", [False, True])
@pytest.mark.parametrize(
    ("rtt_s", "rate", "octets", "least_share", "most_ping_s"),
    [
        # The wait is what the kernel holds unsent, 128 KiB, and what the window puts into queues.
        (0.005, 125_000, 1_000_000, 0.90, 2.0),
        (0.005, 1_250_000, 4_000_000, 0.95, 0.25),
        pytest.param(0.005, 12_500_000, 10_000_000, 0.95, 0.05, marks=pytest.mark.slow),
        (0.050, 1_250_000, 4_000_000, 0.93, 0.35),
        pytest.param(0.050, 12_500_000, 20_000_000, 0.80, 0.10, marks=pytest.mark.slow),
        (0.200, 1_250_000, 4_000_000, 0.80, 0.50),
    ],
)
def test_bulk_fills_the_line_and_leaves_others_their_turn(
    rtt_s: float, rate: float, octets: int, least_share: float, most_ping_s: float, is_upload: bool
) -> None:
    measured = transfer(rtt_s, rate, octets, is_upload=is_upload)
    share = measured.octets_per_s / (rate * PAYLOAD_SHARE)
    assert share >= least_share, measured
    assert statistics.median(measured.pings_s) <= most_ping_s, measured.pings_s


@pytest.mark.slow
def test_window_grows_on_a_long_fast_path() -> None:
    measured = transfer(0.2, 12_500_000, 20_000_000)
    assert measured.octets_per_s > 5_000_000, "the start costs half of it"
    assert measured.window > 800
    assert max(measured.pings_s) < 0.25, "nobody waits meanwhile"


@pytest.mark.parametrize("rtt_s", [0.005, 0.05, 0.2])
def test_window_grows_until_the_line_is_full_and_no_further(rtt_s: float) -> None:
    rate = 2_500_000
    measured = transfer(rtt_s, rate, 6_000_000)
    path_cells = (rtt_s + 0.06) * rate / 2048  # 60 ms: a run of 7 is received whole at each of three hops
    assert measured.window < path_cells + 3 * 112


@pytest.mark.slow
def test_many_streams_share_one_window() -> None:
    one = transfer(0.05, 2_500_000, 6_000_000)
    twenty = transfer(0.05, 2_500_000, 6_000_000, streams=20)
    assert twenty.octets_per_s > 0.95 * one.octets_per_s
    assert statistics.median(twenty.pings_s) < 1.5 * statistics.median(one.pings_s)


def test_two_circuits_share_a_line() -> None:
    async def scenario(network: OnionNetwork) -> None:
        circuits = [await network.build(3), await network.build(3, network.add_client())]
        ends = []

        async def fetch(number: int) -> None:
            assert await network.download(circuits[number], 5_000_000)
            ends.append(network.loop.time())

        start = network.loop.time()
        await asyncio.gather(fetch(0), fetch(1))
        first, last = (end - start for end in ends)
        assert last < 10_000_000 / 2_500_000 * 1.15, "together they fill it"
        assert first > 0.75 * last, "and neither starves"

    play(scenario, 3, delay_s=0.01, rate=2_500_000.0)
