"""What a node does with invites and welcome lists that its settings name."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.records import RecordMaker
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.node.invites import Invites, NoInviteError
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import NodeOptions, Options
from vigilnet.node.status import InviteStatus
from vigilnet.peer.identity import Identity, peer_id_text
from vigilnet.peer.view import PeerView
from vigilnet.routing.discovery.invite import format_invite
from vigilnet.routing.discovery.options import Options as DiscoveryOptions
from vigilnet.routing.discovery.welcome import format_welcome, parse_welcome

NOW = 1_800_000_000
SIGNER = Identity.from_seed(b"s" * 32)


@dataclass
class FixedClock:
    wall_s: float = NOW

    def now(self) -> float:
        return 1000.0

    def wall(self) -> float:
        return self.wall_s


def discovery(
    *invites: str, lists: tuple[Path, ...] = (), signers: tuple[str, ...] = ()
) -> tuple[Invites, PeerView]:
    view = PeerView(work_bits=0)
    options = Options(
        node=NodeOptions(invites=invites),
        discovery=DiscoveryOptions(welcome_lists=lists, welcome_signers=signers),
    )
    clock = FixedClock()
    return Invites(options, KnownRelays(view, clock, None, ()), None), view


def invite_of(name: str, published: int = NOW) -> str:
    return format_invite(RecordMaker(name).record(published).encoded)


def test_invites_of_the_settings_are_known_after_the_start() -> None:
    room, view = discovery(invite_of("one"), invite_of("two"))
    room.load()
    assert {record.identity for record in view.records()} == {
        RecordMaker(name).identity.public for name in ("one", "two")
    }


@pytest.mark.parametrize("text", ["vigilnet:A", "vigilnet:AAAA", "hello"])
def test_an_invite_that_is_none_is_named_by_its_number(text: str) -> None:
    room, _ = discovery(invite_of("one"), text)
    with pytest.raises(ConfigurationError, match=r"node\.invites: number 2"):
        room.load()


def test_an_invite_that_is_over_does_not_keep_the_node_from_starting() -> None:
    room, view = discovery(invite_of("old", NOW - 200_000), invite_of("one"))
    room.load()
    assert len(view) == 1


def test_an_invite_given_while_running_is_taken_once_and_told() -> None:
    room, view = discovery()
    record = RecordMaker("guest").record(NOW)
    told: list[int] = []
    room._known.listeners.append(lambda: told.append(len(view)))
    first = room.add_invite(format_invite(record.encoded))
    again = room.add_invite(format_invite(record.encoded))
    uri, peer_id = format_invite(record.encoded), peer_id_text(record.identity)
    assert first == InviteStatus(uri, peer_id, record.end, is_new=True)
    assert again == InviteStatus(uri, peer_id, record.end, is_new=False)
    assert told == [1]


def test_an_invite_that_is_over_or_forged_is_refused_with_its_reason() -> None:
    room, view = discovery()
    with pytest.raises(RemoteProtocolError, match="expired"):
        room.add_invite(invite_of("old", NOW - 200_000))
    forged = bytearray(RecordMaker("good").record(NOW).encoded)
    forged[-1] ^= 1
    with pytest.raises(RemoteProtocolError, match="not signed"):
        room.add_invite(format_invite(bytes(forged)))
    assert len(view) == 0


def test_a_client_gives_invites_to_relays_it_knows_and_none_to_itself() -> None:
    room, _ = discovery(invite_of("one"))
    room.load()
    maker = RecordMaker("one")
    assert room.invite(maker.identity.peer_id).uri == invite_of("one")
    for peer_id in ("", RecordMaker("stranger").identity.peer_id, "12D3"):
        with pytest.raises(NoInviteError):
            room.invite(peer_id)


def test_a_welcome_list_of_a_client_holds_what_it_knows_without_a_signature() -> None:
    room, _ = discovery(invite_of("one"), invite_of("two"))
    room.load()
    made = room.welcome_list()
    assert (made.relays, made.is_signed) == (2, False)
    assert len(parse_welcome(made.text.encode()).records) == 2


def test_lists_bring_what_is_good_in_them(tmp_path: Path) -> None:
    records = [
        RecordMaker("good").record(NOW).encoded,
        RecordMaker("old").record(NOW - 200_000).encoded,
        b"x",
    ]
    path = tmp_path / "welcome.txt"
    path.write_text(format_welcome(records))
    room, view = discovery(lists=(path,))
    room.load()
    assert [record.identity for record in view.records()] == [RecordMaker("good").identity.public]


def test_only_lists_of_allowed_signers_when_there_are_any(tmp_path: Path) -> None:
    record = RecordMaker("good").record(NOW).encoded
    path = tmp_path / "welcome.txt"
    for signer in (None, Identity.from_seed(b"o" * 32)):
        path.write_text(format_welcome([record], signer))
        room, _ = discovery(lists=(path,), signers=(SIGNER.peer_id,))
        with pytest.raises(ConfigurationError, match="welcome_signers"):
            room.load()
    path.write_text(format_welcome([record], SIGNER))
    room, view = discovery(lists=(path,), signers=(SIGNER.peer_id,))
    room.load()
    assert len(view) == 1


def test_files_and_signers_that_are_not_there_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("hello\n")
    for lists, signers, what in (
        ((tmp_path / "missing.txt",), (), "missing.txt: cannot be read"),
        ((bad,), (), "bad.txt: welcome list: first line"),
        ((), ("12D3",), "welcome_signers: peer id"),
    ):
        room, _ = discovery(lists=lists, signers=signers)
        with pytest.raises(ConfigurationError, match=what):
            room.load()


def test_a_removed_list_costs_only_itself(tmp_path: Path) -> None:
    room, view = discovery(invite_of("one"), lists=())
    room.load()
    assert len(view) == 1
    assert json.dumps(room.welcome_list().text)
