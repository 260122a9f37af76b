import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.node import status
from vigilnet.surface.control import models, schema
from vigilnet.surface.control.schema import ControlError, ErrorCode

TEXT = st.text(max_size=20)
STATUS = st.builds(
    models.Status,
    TEXT,
    st.integers(),
    TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
    listen=st.lists(TEXT, max_size=3).map(tuple),
    first_circuit_ms=st.none() | st.floats(0, 1e6),
)
CIRCUIT = st.builds(
    models.Circuit, st.integers(), TEXT, st.lists(st.builds(models.Hop, TEXT, TEXT), max_size=3).map(tuple)
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(models.Status, status.NodeStatus), (models.Circuit, status.CircuitStatus),
     (models.Stream, status.StreamStatus), (models.Hop, status.HopStatus),
     (models.Invite, status.InviteStatus), (models.WelcomeList, status.WelcomeStatus),
     (models.Exit, status.ExitStatus)],
)  # fmt: skip
def test_models_show_every_field_of_the_node_s_snapshots(ours: type, theirs: type) -> None:
    shown, known = ({field.name for field in dataclasses.fields(kind)} for kind in (ours, theirs))
    assert known <= shown


@given(STATUS)
def test_status_survives_the_wire(value: models.Status) -> None:
    line = schema.encode_result(3, schema.plain(value))
    assert line.count(b"\n") == 1
    assert schema.read(models.Status, schema.decode_reply(line, 3)) == value


@given(st.lists(CIRCUIT, max_size=3))
def test_circuits_survive_the_wire(values: list[models.Circuit]) -> None:
    result = schema.decode_reply(schema.encode_result(1, schema.plain(values)), 1)
    assert schema.read(tuple[models.Circuit, ...], result) == tuple(values)


def test_fields_of_a_later_version_are_ignored_and_missing_ones_take_defaults() -> None:
    value = {"version": "9", "pid": 1, "state": "connected", "uptime_s": 3, "flavour": "strawberry"}
    assert schema.read(models.Status, value) == models.Status("9", 1, "connected", 3)


@pytest.mark.parametrize(
    "value",
    [None, [], "x", {}, {"version": 9, "pid": 1, "state": "", "uptime_s": 0},
     {"version": "9", "pid": True, "state": "", "uptime_s": 0},
     {"version": "9", "pid": 1, "state": "", "uptime_s": 0, "listen": [1]},
     {"version": "9", "pid": 1, "state": "", "uptime_s": 0, "listen": "abc"}],
)  # fmt: skip
def test_reply_of_another_shape_blames_the_node(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        schema.read(models.Status, value)


def test_golden_lines() -> None:
    assert schema.Request(7, "status", {}).encode() == b'{"v":1,"id":7,"method":"status","params":{}}\n'
    assert (
        schema.encode_result(7, schema.plain(models.NewIdentity(2)))
        == b'{"v":1,"id":7,"result":{"retired":2}}\n'
    )
    assert schema.encode_error(7, "busy", "no") == b'{"v":1,"id":7,"error":{"code":"busy","message":"no"}}\n'


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"", ErrorCode.BAD_REQUEST), (b"[]", ErrorCode.BAD_REQUEST), (b"\xff", ErrorCode.BAD_REQUEST),
     (b'{"method":1}', ErrorCode.BAD_REQUEST), (b'{"method":"status","id":"a"}', ErrorCode.BAD_REQUEST),
     (b'{"method":"status","params":[]}', ErrorCode.BAD_REQUEST),
     (b'{"id":true,"method":"a"}', ErrorCode.BAD_REQUEST),
     (b'{"v":2,"method":"status"}', ErrorCode.UNSUPPORTED_VERSION), (b"[" * 60_000, ErrorCode.BAD_REQUEST)],
)  # fmt: skip
def test_malformed_requests_get_a_code(line: bytes, code: ErrorCode) -> None:
    with pytest.raises(ControlError) as caught:
        schema.decode_request(line)
    assert caught.value.code == code


@given(
    st.binary(max_size=200)
    | st.dictionaries(TEXT, TEXT | st.integers()).map(lambda v: json.dumps(v).encode())
)
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    try:
        schema.decode_request(line)
    except ControlError:
        return


@given(st.binary(max_size=200))
def test_any_line_is_a_reply_or_blames_the_node(line: bytes) -> None:
    with pytest.raises((ControlError, RemoteProtocolError)):
        schema.decode_reply(line, 1)


def test_reply_to_another_request_blames_the_node() -> None:
    with pytest.raises(RemoteProtocolError):
        schema.decode_reply(schema.encode_result(1, {}), 2)
    with pytest.raises(RemoteProtocolError):
        schema.decode_reply(b'{"v":2,"id":1,"result":{}}', 1)


@given(STATUS, st.lists(CIRCUIT, max_size=3))
def test_models_are_encoded_as_their_plain_copies_are(
    value: models.Status, circuits: list[models.Circuit]
) -> None:
    both = {"a": value, "b": tuple(circuits)}
    assert schema.as_json(both) == schema.as_json(schema.plain(both))


def test_octets_sets_and_enums_are_encoded_and_nothing_unknown_is() -> None:
    assert schema.as_json([b"\x01", status.NodeState.CONNECTED, {1}, models.Stopping()]) == (
        b'["01","connected",[1],{"stopping":true}]'
    )
    for unknown in (object(), float("nan")):
        with pytest.raises((TypeError, ValueError)):
            schema.as_json(unknown)


def test_plain_values_know_octets_enums_and_sets() -> None:
    value = {"a": b"\x01", "b": status.NodeState.CONNECTED, "c": frozenset({1})}
    assert schema.plain(value) == {"a": "01", "b": "connected", "c": [1]}


def test_a_plain_object_is_encoded_once_and_like_any_other() -> None:
    fields = {"a": [1, "ü"], "b": {"c": None, "d": 0.5}}
    shared = schema.Plain(fields)
    assert schema.encode_result(7, shared) == schema.encode_result(7, fields)
    assert shared.text is shared.text
