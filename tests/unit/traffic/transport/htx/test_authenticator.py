import contextlib
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hellos import template_of
from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.authenticator import (
    MAX_INVITES,
    REPLAY_S,
    SESSION_ID_SIZE,
    WINDOW_S,
    Authenticator,
    ReplaySet,
    Stamp,
    binding_of,
    client_share,
    decode_stamp,
    invite_proof,
    open_session_id,
    seal_session_id,
    switch_keys,
)
from vigilnet.traffic.transport.htx.client_hello import X25519, decode_client_hello
from vigilnet.traffic.transport.htx.hello import BuiltHello, build

RELAY = X25519PrivateKey.from_private_bytes(b"r" * 32)
WALL = 1_800_000_000.0


def stamped(
    name: str = "chromium", *, time: float = WALL, proof: bytes = b"12345678", network: str = ""
) -> BuiltHello:
    built = build(template_of(name), "www.example.test", os.urandom)
    shared = built.keys.authenticating.exchange(RELAY.public_key())
    sealed = seal_session_id(
        shared, built.hello.random, built.hello.encode(), Stamp(int(time), proof).encode(), network
    )
    return built.with_session_id(sealed)


def judge(authenticator: Authenticator, built: BuiltHello, now: float = 0.0) -> bytes | None:
    return authenticator.judge(built.hello.encode(), WALL, now)


def ours(invites: tuple[bytes, ...] | None = None, network: str = "") -> Authenticator:
    return Authenticator(lambda: (RELAY,), network, None if invites is None else lambda: invites)


@pytest.mark.parametrize("vector", protocol_vectors("htx"))
def test_authenticator_and_switch_keys_match_the_vectors(vector: dict[str, Any]) -> None:
    octets = {name: bytes.fromhex(value) for name, value in vector.items() if isinstance(value, str)}
    client = X25519PrivateKey.from_private_bytes(octets["client_share_private"])
    relay = X25519PrivateKey.from_private_bytes(octets["htx_static_private"])
    shared = client.exchange(relay.public_key())
    message = octets["client_hello_zero_sid"]
    random = octets["client_random"]
    sealed = seal_session_id(shared, random, message, octets["plain"])
    assert sealed == octets["session_id"]
    whole = message[:39] + sealed + message[71:]
    assert open_session_id(relay.exchange(client.public_key()), random, whole) == octets["plain"]
    binding = binding_of(whole, octets["server_hello"])
    assert binding == octets["binding"]
    to_relay, to_client = switch_keys(shared, binding)
    assert to_relay == octets["switch_key_client_to_server"]
    assert to_client == octets["switch_key_server_to_client"]
    record = octets["first_record"]
    opened = ChaCha20Poly1305(to_relay).decrypt(bytes(12), record[5:], record[:5])
    assert opened == octets["first_record_plain"]


@pytest.mark.parametrize("name", ["chromium", "curl", "edge", "firefox", "safari"])
def test_a_stamped_hello_of_every_template_is_authentic_once(name: str) -> None:
    authenticator, built = ours(), stamped(name)
    shared = judge(authenticator, built)
    assert shared == built.keys.authenticating.exchange(RELAY.public_key())
    assert judge(authenticator, built) is None


def test_a_key_from_the_hybrid_share_serves_where_there_is_no_plain_one() -> None:
    hello = stamped().hello
    without = tuple(pair for pair in hello.key_shares.items() if pair[0] != X25519)
    assert client_share(hello) == hello.key_shares[X25519]
    entries = b"".join(g.to_bytes(2, "big") + len(s).to_bytes(2, "big") + s for g, s in without)
    other = hello.with_extension(51, len(entries).to_bytes(2, "big") + entries)
    assert client_share(other) == hello.key_shares[4588][-32:]
    assert client_share(hello.with_extension(51, b"\0\0")) is None


@pytest.mark.parametrize("off", [-WINDOW_S, 0, WINDOW_S])
def test_clocks_may_differ_by_the_window(off: int) -> None:
    assert judge(ours(), stamped(time=WALL + off)) is not None


@pytest.mark.parametrize("off", [-WINDOW_S - 1, WINDOW_S + 1])
def test_a_stale_hello_is_not_authentic(off: int) -> None:
    assert judge(ours(), stamped(time=WALL + off)) is None


def test_a_replay_is_not_authentic_while_it_could_be_fresh() -> None:
    authenticator, built = ours(), stamped()
    assert judge(authenticator, built, 0.0) is not None
    assert judge(authenticator, built, REPLAY_S - 1) is None


def test_any_changed_octet_makes_a_hello_unauthentic() -> None:
    message = stamped("curl").hello.encode()
    for at in range(len(message)):
        changed = bytearray(message)
        changed[at] ^= 1
        assert ours().judge(bytes(changed), WALL, 0.0) is None, at


def test_an_unlisted_relay_wants_the_proof_of_an_invite() -> None:
    invites = tuple(bytes((index,)) * 32 for index in range(MAX_INVITES))
    built = build(template_of("firefox"), "www.example.test", os.urandom)
    shared = built.keys.authenticating.exchange(RELAY.public_key())
    for proof, is_authentic in (
        (invite_proof(invites[-1], built.hello.random), True),
        (invite_proof(b"xy" * 16, built.hello.random), False),
        (bytes(8), False),
    ):
        sealed = seal_session_id(
            shared, built.hello.random, built.hello.encode(), Stamp(int(WALL), proof).encode()
        )
        assert (judge(ours(invites), built.with_session_id(sealed)) is not None) == is_authentic
        one_too_many = (b"first", *invites)  # the last of 257 is not looked at
        assert judge(ours(one_too_many), built.with_session_id(sealed)) is None


def test_an_unlisted_relay_without_invites_knows_nobody() -> None:
    assert judge(ours(()), stamped()) is None


def test_networks_and_keys_are_apart() -> None:
    assert judge(ours(network="lab"), stamped()) is None
    assert judge(ours(network="lab"), stamped(network="lab")) is not None
    other = X25519PrivateKey.generate()
    assert Authenticator(lambda: (other,)).judge(stamped().hello.encode(), WALL, 0.0) is None
    assert Authenticator(lambda: (other, RELAY)).judge(stamped().hello.encode(), WALL, 0.0) is not None


def test_a_share_of_small_order_is_not_authentic() -> None:
    hello = stamped("curl").hello
    changed = hello.with_extension(51, b"\0\x24\0\x1d\0\x20" + bytes(32))
    assert ours().judge(changed.encode(), WALL, 0.0) is None


def test_the_replay_set_is_bounded_and_forgets() -> None:
    replays = ReplaySet(2)
    assert [replays.add(name, 0.0) for name in (b"a", b"b", b"a", b"c")] == [True, True, False, True]
    assert len(replays) == 2
    assert replays.add(b"a", 1.0)  # pushed out
    assert replays.add(b"c", REPLAY_S)
    assert len(replays) == 2


def test_a_session_id_is_sealed_into_zeros_only() -> None:
    built = stamped()
    with pytest.raises(LocalProtocolError):
        seal_session_id(b"z" * 32, bytes(32), built.hello.encode(), bytes(16))
    with pytest.raises(LocalProtocolError):
        seal_session_id(b"z" * 32, bytes(32), bytes(70), bytes(16))


@given(st.integers(0, (1 << 32) - 1), st.binary(min_size=8, max_size=8))
def test_stamps_survive_a_round_trip(time: int, proof: bytes) -> None:
    stamp = Stamp(time, proof)
    assert len(stamp.encode()) == SESSION_ID_SIZE - 16
    assert decode_stamp(stamp.encode()) == stamp


@given(st.binary(max_size=40))
def test_any_octets_are_a_stamp_or_blame_the_peer(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert decode_stamp(data).encode() == data


def test_decoding_what_we_built_gives_it_back() -> None:
    built = stamped("safari")
    assert decode_client_hello(built.hello.encode()) == built.hello
