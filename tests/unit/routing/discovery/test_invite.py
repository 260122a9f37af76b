"""Invites: one text per record, and copying mistakes are told."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.peer.descriptor import MAX_RECORD_SIZE
from vigilnet.routing.discovery.invite import (
    MAX_INVITE_LENGTH,
    SCHEME,
    SECRET_SIZE,
    format_invite,
    parse_invite,
    split_secret,
)

VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "discovery" / "invite.json").read_text())


def test_vector() -> None:
    record = bytes.fromhex(VECTOR["record"])
    assert format_invite(record) == VECTOR["invite"]
    assert parse_invite(VECTOR["invite"]) == record


@given(st.binary(min_size=1, max_size=MAX_RECORD_SIZE))
def test_round_trip(encoded: bytes) -> None:
    assert parse_invite(format_invite(encoded)) == encoded


@given(st.text(max_size=60) | st.text("AQgw-_=+/ \n", max_size=60).map(lambda text: SCHEME + text))
def test_any_text_is_the_one_invite_of_its_octets_or_blames_its_writer(text: str) -> None:
    try:
        encoded = parse_invite(text)
    except RemoteProtocolError:
        return
    assert format_invite(encoded)[len(SCHEME) :] == text.strip()[len(SCHEME) :]


def test_space_around_it_and_capitals_in_the_scheme_are_forgiven() -> None:
    assert parse_invite(" \tVigilNet:AAAA\n") == bytes(3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin"),
        ("https://example.org/", "does not begin"),
        ("vigilnet:", "letters"),
        ("vigilnet:A", "letters"),
        ("vigilnet:AAA=", "letters"),
        ("vigilnet:AA AA", "letters"),
        ("vigilnet:AA+/", "letters"),
        ("vigilnet:AB", "last letter"),
    ],
)
def test_what_is_no_invite_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse_invite(text)


def test_longest_invite_and_one_letter_more() -> None:
    longest = format_invite(bytes(MAX_RECORD_SIZE))
    assert len(longest) == MAX_INVITE_LENGTH
    assert parse_invite(longest) == bytes(MAX_RECORD_SIZE)
    with pytest.raises(RemoteProtocolError, match="at most"):
        parse_invite(longest + "A")


@pytest.mark.parametrize("size", [0, MAX_RECORD_SIZE + 1])
def test_no_invite_is_made_of_what_is_no_record(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        format_invite(bytes(size))


@given(st.binary(min_size=1, max_size=100), st.none() | st.binary(min_size=SECRET_SIZE, max_size=SECRET_SIZE))
def test_a_secret_comes_back(record: bytes, secret: bytes | None) -> None:
    text, found = split_secret(f" {format_invite(record, secret)}\n")
    assert (parse_invite(text), found) == (record, secret)


@pytest.mark.parametrize(
    "end", [".", "." + "A" * 42, "." + "A" * 44, "." + "A" * 42 + "B", "." + "A" * 42 + "="]
)
def test_a_secret_that_was_cut_or_changed_is_told(end: str) -> None:
    with pytest.raises(RemoteProtocolError, match="invite"):
        split_secret(f"{format_invite(b'record')}{end}")


def test_a_secret_of_another_size_is_our_own_bug() -> None:
    with pytest.raises(LocalProtocolError):
        format_invite(b"record", b"short")


@given(st.text(max_size=80))
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        invite, secret = split_secret(text)
    except RemoteProtocolError:
        return
    assert secret is None or len(secret) == SECRET_SIZE
    assert "." not in invite
