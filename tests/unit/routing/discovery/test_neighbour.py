"""What gossip remembers of a neighbour's conduct."""

from vigilnet.peer.sources import Source
from vigilnet.routing.discovery.neighbour import MAX_FAULTS, MUTED_S, Neighbour


def test_the_third_fault_costs_an_hour_of_hearing() -> None:
    neighbour = Neighbour.at(b"n" * 32, Source("link"), 0.0, is_ours=True, is_partner=True)
    neighbour.queue[b"k" * 8] = 1
    neighbour.serve.append(b"k" * 8)
    for _ in range(MAX_FAULTS - 1):
        neighbour.blame(10.0)
    assert not neighbour.is_muted(10.0)
    neighbour.blame(10.0)
    assert neighbour.is_muted(10.0 + MUTED_S - 1)
    assert not neighbour.is_muted(10.0 + MUTED_S)
    assert not neighbour.queue
    assert not neighbour.serve
