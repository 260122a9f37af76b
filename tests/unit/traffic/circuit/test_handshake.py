import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.support.deterministic import FixedEphemerals, counted_bytes
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.noise import NoiseHandshake, Pattern
from vigilnet.peer.keyring import onion_key_id
from vigilnet.traffic.circuit.handshake import (
    ClientHandshake,
    CreateBody,
    HopParameters,
    RelayHandshake,
    circuit_prologue,
    created_head,
    fill_cell,
)
from vigilnet.traffic.circuit.messages import DestroyReason
from vigilnet.traffic.circuit.puzzle import CreateRefusedError, PuzzleGate, PuzzleSolver

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "protocol" / "circuit.json").read_text())[
    "vectors"
]
IDENTITY = bytes(range(32))
ONION = X25519PrivateKey.from_private_bytes(bytes([7]) * 32)
PUBLIC = ONION.public_key().public_bytes_raw()


class Keys:
    def __init__(self, network: str = "") -> None:
        self._known = {onion_key_id(PUBLIC, network): ONION}

    def onion_secret(self, key_id: bytes) -> X25519PrivateKey | None:
        return self._known.get(key_id)


def relay(
    *, identity: bytes = IDENTITY, network: str = "", effort: int = 0, suites: tuple[int, ...] = (1, 2)
) -> RelayHandshake:
    gate = PuzzleGate(identity, counted_bytes(), 0.0, network)
    gate.set_effort(effort)
    gate.set_effort(effort)
    return RelayHandshake(identity, Keys(network), gate, suites=suites, network=network)


def client(suite: Suite = Suite.AES_256_GCM, **options: str) -> ClientHandshake:
    return ClientHandshake(IDENTITY, PUBLIC, suite, **options)  # type: ignore[arg-type]  # only network


def reason_of(handshake: RelayHandshake, body: bytes) -> DestroyReason:
    with pytest.raises(CreateRefusedError) as caught:
        handshake.accept(body, 0.0)
    return caught.value.reason


@pytest.mark.parametrize("vector", VECTORS, ids=["chacha", "aes"])
def test_vector_is_met_octet_by_octet(vector: dict[str, object]) -> None:
    text = {key: value for key, value in vector.items() if isinstance(value, str)}
    suite, identity = Suite(int(str(vector["suite"]))), bytes.fromhex(text["relay_identity"])
    public = bytes.fromhex(text["resp_static_public"])
    assert onion_key_id(public).hex() == text["onion_key_id"]
    prologue = circuit_prologue(suite, identity, onion_key_id(public))
    assert prologue.hex() == text["prologue"]

    # The vectors' payload is CM of type 1, algorithm 0, increment 7.
    ephemerals = FixedEphemerals(text["init_ephemeral"], text["kem_seed_d_z"])
    ours = ClientHandshake(
        identity, public, suite, parameters=HopParameters(congestion=(0, 7)), ephemerals=ephemerals
    )
    assert ours.create_body().hex() == text["create_body"]
    assert CreateBody.decode(bytes.fromhex(text["create_body"])).encode().hex() == text["create_body"]

    messages = vector["messages"]
    assert isinstance(messages, list)
    created = bytes.fromhex(messages[1]["message"])
    noise = NoiseHandshake(
        Pattern.NK_HFS,
        suite,
        initiator=True,
        prologue=prologue,
        remote_static=public,
        ephemerals=FixedEphemerals(text["init_ephemeral"], text["kem_seed_d_z"]),
    )
    assert noise.write_message(bytes.fromhex(messages[0]["payload"])).hex() == messages[0]["message"]
    assert noise.read_message(created).hex() == messages[1]["payload"]
    keys = noise.finish()
    assert keys.initiator_to_responder.hex() == text["key_initiator_to_responder"]
    assert keys.responder_to_initiator.hex() == text["key_responder_to_initiator"]
    assert keys.handshake_hash.hex() == text["handshake_hash"]
    # Its SM, "0102000701", is any octets and no TLV: a client refuses it after the tag.
    with pytest.raises(RemoteProtocolError, match="hop parameters"):
        ours.finish(len(created).to_bytes(2, "big") + created)


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("network", ["", "lab"])
def test_both_sides_derive_the_same_keys(suite: Suite, network: str) -> None:
    ours = client(suite, network=network)
    accepted = relay(network=network).accept(fill_cell(ours.create_body(), counted_bytes()), 0.0)
    keys, agreed = ours.finish(fill_cell(accepted.created_body, counted_bytes()))
    assert keys == accepted.keys
    assert keys.suite is suite
    assert len({keys.forward, keys.backward, keys.binding}) == 3
    assert agreed == accepted.parameters == HopParameters()


def test_all_clients_send_the_same_parameters() -> None:
    assert HopParameters().encode().hex() == "0102001c"


def test_create_body_with_a_solution_has_1277_octets_with_three_of_cm() -> None:
    ours = ClientHandshake(IDENTITY, PUBLIC, Suite.AES_256_GCM, parameters=HopParameters(None, purpose=0))
    solved = PuzzleSolver(ours.puzzle_target, PuzzleGate(IDENTITY, counted_bytes(), 0.0).demand(0.0)).solve()
    assert len(ours.create_body(solved)) == 1277


def test_create_body_for_extend_is_at_most_1500_octets() -> None:
    with pytest.raises(LocalProtocolError):
        fill_cell(bytes(2033), counted_bytes())
    assert len(fill_cell(b"", counted_bytes())) == 2032
    assert len(client().create_body()) == 1 + 1 + 8 + 1 + 2 + 1252


def test_created_head_cuts_off_the_fill_for_extended() -> None:
    ours = client()
    accepted = relay().accept(ours.create_body(), 0.0)
    head = created_head(fill_cell(accepted.created_body, counted_bytes()))
    assert head == accepted.created_body
    assert ours.finish(head)[0] == accepted.keys


@pytest.mark.parametrize("size", [0, 1, 1151, 1345])
def test_created_of_impossible_size_blames_the_peer(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        created_head(size.to_bytes(2, "big") + bytes(2000))
    with pytest.raises(RemoteProtocolError):
        client().finish(size.to_bytes(2, "big") + bytes(2000))


def test_version_is_looked_at_first() -> None:
    body = bytearray(client().create_body())
    body[0] = 2
    body[10] = 99  # says nothing under another version
    assert reason_of(relay(), bytes(body)) is DestroyReason.VERSION


@pytest.mark.parametrize("suite", [0, 3, 0x81])
def test_suite_that_is_not_spoken_is_refused(suite: int) -> None:
    body = bytearray(client().create_body())
    body[1] = suite
    assert reason_of(relay(), bytes(body)) is DestroyReason.VERSION
    assert reason_of(relay(suites=(1,)), client().create_body()) is DestroyReason.VERSION


def test_downgrading_the_suite_on_the_way_breaks_the_tag() -> None:
    body = bytearray(client(Suite.AES_256_GCM).create_body())
    body[1] = Suite.CHACHA20_POLY1305
    assert reason_of(relay(), bytes(body)) is DestroyReason.PROTOCOL


def test_unknown_onion_key_is_refused() -> None:
    body = bytearray(client().create_body())
    body[2] ^= 1
    assert reason_of(relay(), bytes(body)) is DestroyReason.UNKNOWN_KEY


def test_misbinding_a_copied_onion_key_gives_no_handshake() -> None:
    assert reason_of(relay(identity=bytes(32)), client().create_body()) is DestroyReason.PROTOCOL


def test_another_network_shares_no_handshake() -> None:
    assert reason_of(relay(network="lab"), client().create_body()) is DestroyReason.UNKNOWN_KEY


def test_puzzle_is_asked_and_its_solution_taken_once() -> None:
    theirs = relay(effort=8)
    with pytest.raises(CreateRefusedError) as caught:
        theirs.accept(client().create_body(), 0.0)
    assert caught.value.reason is DestroyReason.PUZZLE
    assert caught.value.puzzle is not None
    ours = client()
    body = ours.create_body(PuzzleSolver(ours.puzzle_target, caught.value.puzzle).solve())
    assert theirs.check(body, 0.0).effort == 8
    assert reason_of(theirs, body) is DestroyReason.PUZZLE


def test_checks_come_in_order_and_budget_is_the_last_before_dh() -> None:
    asked: list[str] = []

    def spent() -> bool:
        asked.append("budget")
        return False

    broken = bytearray(client().create_body())
    broken[-1] ^= 1  # would fail in DH's tag
    with pytest.raises(CreateRefusedError) as caught:
        relay().accept(bytes(broken), 0.0, spent)
    assert caught.value.reason is DestroyReason.OVERLOAD
    assert asked == ["budget"]
    with pytest.raises(CreateRefusedError):
        relay(effort=8).accept(bytes(broken), 0.0, spent)
    assert asked == ["budget"]


@pytest.mark.parametrize("at", [13, 44, 45, 500, 1244, 1245, 1260, 1264])
def test_one_changed_octet_of_message_1_is_refused(at: int) -> None:
    body = bytearray(client().create_body())
    body[at] ^= 0x80
    assert reason_of(relay(), bytes(body)) is DestroyReason.PROTOCOL


@pytest.mark.parametrize("at", [2, 33, 34, 600, 1137, 1138, 1150, 1157])
def test_one_changed_octet_of_message_2_is_the_relays_fault(at: int) -> None:
    ours = client()
    created = bytearray(relay().accept(ours.create_body(), 0.0).created_body)
    created[at] ^= 0x80
    with pytest.raises(RemoteProtocolError):
        ours.finish(bytes(created))


def test_low_order_client_key_is_refused() -> None:
    body = bytearray(client().create_body())
    body[13:45] = bytes(32)
    assert reason_of(relay(), bytes(body)) is DestroyReason.PROTOCOL


def test_answer_made_for_another_create_is_refused() -> None:
    theirs, ours = relay(), client()
    other = theirs.accept(client().create_body(), 0.0)
    with pytest.raises(RemoteProtocolError):
        ours.finish(other.created_body)


@pytest.mark.parametrize("cut", [0, 10, 12, 13, 500, 1264])
def test_cut_create_body_is_refused(cut: int) -> None:
    assert reason_of(relay(), client().create_body()[:cut]) is DestroyReason.PROTOCOL


def test_solution_of_another_size_is_refused() -> None:
    body = bytearray(client().create_body())
    body[10] = 12
    assert reason_of(relay(), bytes(body)) is DestroyReason.PROTOCOL


def test_message_1_may_carry_192_octets_of_parameters_and_no_more() -> None:
    head = bytes([1, 2]) + bytes(8) + b"\0"
    assert len(CreateBody.decode(head + (1440).to_bytes(2, "big") + bytes(1440)).message1) == 1440
    for length in (1247, 1441):
        with pytest.raises(RemoteProtocolError):
            CreateBody.decode(head + length.to_bytes(2, "big") + bytes(1600))


def test_congestion_that_the_relay_does_not_speak_is_refused_by_policy() -> None:
    ours = ClientHandshake(IDENTITY, PUBLIC, Suite.AES_256_GCM, parameters=HopParameters(congestion=(0, 1)))
    assert reason_of(relay(), ours.create_body()) is DestroyReason.POLICY


def test_relay_that_agrees_to_something_else_is_refused() -> None:
    noise = NoiseHandshake(
        Pattern.NK_HFS,
        Suite.AES_256_GCM,
        initiator=False,
        prologue=circuit_prologue(Suite.AES_256_GCM, IDENTITY, onion_key_id(PUBLIC)),
        local_static=ONION,
    )
    ours = client()
    noise.read_message(CreateBody.decode(ours.create_body()).message1)
    message2 = noise.write_message(bytes.fromhex("01020000"))
    with pytest.raises(RemoteProtocolError, match="did not confirm"):
        ours.finish(len(message2).to_bytes(2, "big") + message2)


PARAMETERS = st.builds(
    HopParameters,
    st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.integers(0, 255),
    st.none() | st.integers(0, 255),
    st.none() | st.integers(0, 255),
    st.none() | st.booleans(),
)


@given(PARAMETERS)
def test_parameters_round_trip(parameters: HopParameters) -> None:
    assert HopParameters.decode(parameters.encode()) == parameters


@given(st.binary(max_size=200))
def test_any_octets_are_parameters_or_blame_the_peer(octets: bytes) -> None:
    try:
        HopParameters.decode(octets)
    except RemoteProtocolError:
        return


@given(st.binary(max_size=1400))
def test_any_octets_are_a_create_or_are_refused_with_a_reason(octets: bytes) -> None:
    with pytest.raises(CreateRefusedError):
        relay().accept(octets, 0.0)


@pytest.mark.parametrize(
    ("octets", "passes"),
    [("", True), ("ff00", True), ("0700ff00", True), ("0102001c0700", True), ("01", False), ("0101", False),
     ("010100", False), ("0102001c0102001c", False), ("05010001020007", False), ("060102", False),
     ("0000", True), ("07be" + "00" * 190, True), ("07bf" + "00" * 191, False)],
)  # fmt: skip
def test_parameter_fields_are_strict(octets: str, passes: bool) -> None:
    if passes:
        HopParameters.decode(bytes.fromhex(octets))
        return
    with pytest.raises(RemoteProtocolError):
        HopParameters.decode(bytes.fromhex(octets))
