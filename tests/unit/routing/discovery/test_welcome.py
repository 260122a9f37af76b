"""Welcome lists: anybody writes them, signatures hold, edits are told from forgeries by the reader."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.identity import Identity
from vigilnet.routing.discovery.invite import format_invite
from vigilnet.routing.discovery.welcome import (
    HEAD,
    MAX_ENTRIES,
    MAX_LIST_SIZE,
    WelcomeList,
    format_welcome,
    parse_welcome,
)

VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "invite.json").read_text())
RECORD = bytes.fromhex(VECTOR["record"])
SIGNER = Identity.from_seed(bytes.fromhex(VECTOR["signer_seed"]))
SIGNED = format_welcome([RECORD, b"two"], SIGNER, remark="ours")


def test_vectors() -> None:
    assert VECTOR["signer"] == SIGNER.peer_id
    assert format_welcome([RECORD], remark="ours") == VECTOR["welcome_plain"]
    assert parse_welcome(VECTOR["welcome_plain"].encode()) == WelcomeList((RECORD,))
    assert parse_welcome(VECTOR["welcome_signed"].encode()) == WelcomeList((RECORD,), SIGNER.public)
    assert parse_welcome(VECTOR["welcome_signed_lab"].encode(), "lab").signer == SIGNER.public


def test_signature_of_another_network_does_not_count() -> None:
    with pytest.raises(RemoteProtocolError, match="signature does not fit"):
        parse_welcome(VECTOR["welcome_signed_lab"].encode())


@given(st.lists(st.binary(min_size=1, max_size=1024), max_size=5), st.booleans())
def test_round_trip(records: list[bytes], is_signed: bool) -> None:
    signer = SIGNER if is_signed else None
    found = parse_welcome(format_welcome(records, signer, "lab").encode(), "lab")
    assert found == WelcomeList(tuple(records), SIGNER.public if is_signed else None)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: HEAD.encode() + b"\n" + rest))
def test_any_octets_are_a_list_or_blame_their_writer(content: bytes) -> None:
    try:
        parse_welcome(content)
    except RemoteProtocolError:
        return


def test_line_ends_of_other_systems_and_empty_lines_do_no_harm() -> None:
    assert parse_welcome(SIGNED.replace("\n", "\r\n").encode()).signer == SIGNER.public
    plain = f"{HEAD}\n\n  \n{format_invite(b'one')}\n# the end"
    assert parse_welcome(plain.encode()).records == (b"one",)


def test_an_edited_list_is_good_once_its_signature_is_removed() -> None:
    added = SIGNED.replace("# ours\n", f"{format_invite(b'three')}\n")
    with pytest.raises(RemoteProtocolError, match="if you edited the list, remove this line"):
        parse_welcome(added.encode())
    unsigned = "".join(line for line in added.splitlines(True) if not line.startswith("signed"))
    assert parse_welcome(unsigned.encode()) == WelcomeList((b"three", RECORD, b"two"))


@pytest.mark.parametrize("at", range(0, len(SIGNED), 97))
def test_a_flipped_bit_in_a_signed_list_is_found(at: int) -> None:
    octets = bytearray(SIGNED.encode())
    octets[at] ^= 1
    try:
        found = parse_welcome(bytes(octets))
    except RemoteProtocolError:
        return
    assert found.signer is None  # the word `signed` itself was hit: a list without signature


def test_nothing_follows_the_signature() -> None:
    with pytest.raises(RemoteProtocolError, match="more follows"):
        parse_welcome((SIGNED + format_invite(b"x") + "\n").encode())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("vigilnet:A", "line 2: invite"),
        ("12D3KooW", "line 2: invite"),
        ("signed 12D3KooW", "not `signed"),
        ("signed 12D3KooW " + "A" * 86, "peer id"),
        (f"signed {SIGNER.peer_id} {'!' * 86}", "not base64url"),
    ],
)
def test_bad_lines_are_named(line: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse_welcome(f"{HEAD}\n{line}\n".encode())


@pytest.mark.parametrize("content", [b"", b"vigilnet welcome 2\n", b"\xff" + HEAD.encode()])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_welcome(content)


def test_limits_at_n_and_one_more() -> None:
    full = format_welcome([b"r"] * MAX_ENTRIES)
    assert len(parse_welcome(full.encode()).records) == MAX_ENTRIES
    with pytest.raises(RemoteProtocolError, match="over 256"):
        parse_welcome((full + format_invite(b"r")).encode())
    with pytest.raises(LocalProtocolError):
        format_welcome([b"r"] * (MAX_ENTRIES + 1))
    padded = full.encode() + b"\n" * (MAX_LIST_SIZE - len(full))
    assert len(parse_welcome(padded).records) == MAX_ENTRIES
    with pytest.raises(RemoteProtocolError, match="at most"):
        parse_welcome(padded + b"\n")
