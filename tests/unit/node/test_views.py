from types import SimpleNamespace
from typing import Any

import pytest

from vigilnet.node import views
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.peer.descriptor import PeerRecord

US, ENTRY = bytes([1]) * 32, bytes([2]) * 32


def rooms(*, kept: list[bytes], reached: bool) -> Any:  # noqa: ANN401 only what peers() looks at
    """A node whose one known relay is the last hop of its path."""
    address = PeerAddress(TransportKind.TCP, b"", {1: b"x"}, "192.0.2.1", 4001)
    record = PeerRecord(ENTRY, 1, 0, 60, addresses=(address,))
    view = SimpleNamespace(sources=lambda _: (), is_reached=lambda _: reached, get=lambda _: record)
    return views.Rooms(
        clock=SimpleNamespace(now=lambda: 1.0),
        known=SimpleNamespace(view=view, relays=lambda: [record]),  # type: ignore[arg-type]
        links=SimpleNamespace(snapshot=tuple),  # type: ignore[arg-type]
        circuits=[SimpleNamespace(hops=[SimpleNamespace(identity=US), SimpleNamespace(identity=ENTRY)])],  # type: ignore[list-item]
        pool=SimpleNamespace(  # type: ignore[arg-type]
            guards=SimpleNamespace(failed_until={}, kept=kept),
            bad_tags=SimpleNamespace(counts=lambda _: (0, 0)),
        ),
    )


@pytest.mark.parametrize(
    ("kept", "reached", "why"),
    [([], False, "on-path"), ([ENTRY], False, "on-path"), ([ENTRY], True, "on-path-entry")],
)
def test_an_entry_that_ends_a_path_is_not_said_to_know_no_address(
    kept: list[bytes], reached: bool, why: str
) -> None:
    (peer,) = views.peers(rooms(kept=kept, reached=reached))
    assert (peer.link, peer.why_id) == ("relayed", why)
    assert peer.addresses == ("TCP 192.0.2.1:4001",)
