"""Plans on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.schedule import (
    DELAY_UNIT_S,
    MAX_RECORD,
    MAX_STEPS,
    MIN_RECORD,
    Step,
    decode_plan,
    encode_plan,
    plan_size,
)

units = st.integers(0, 0xFFFF)
steps_of_a_plan = st.lists(st.tuples(units, units, st.integers(MIN_RECORD, MAX_RECORD)), max_size=50).map(
    lambda rows: [Step(need, delay * DELAY_UNIT_S, length) for need, delay, length in sorted(rows)]
)


def test_the_octets_of_a_plan_are_these() -> None:
    steps = [Step(3, 0.001, 26), Step(5, 0.0, 114)]
    encoded = bytes.fromhex("0002 0003 000a 001a 0005 0000 0072")
    assert encode_plan(steps) == encoded
    assert decode_plan(encoded + b"more") == (steps, len(encoded), False)


@given(steps_of_a_plan)
def test_what_was_encoded_is_read_again(steps: list[Step]) -> None:
    for goes_on in (False, True):
        encoded = encode_plan(steps, goes_on=goes_on)
        assert decode_plan(encoded) == (steps, len(encoded), goes_on)
        assert plan_size(encoded + b"more") == len(encoded)


@given(st.binary(max_size=64))
def test_any_octets_are_a_plan_or_blame_the_other_end(octets: bytes) -> None:
    try:
        steps, size, goes_on = decode_plan(octets)
    except RemoteProtocolError:
        return
    assert encode_plan(steps, goes_on=goes_on) == octets[:size]


@pytest.mark.parametrize("length", [MIN_RECORD - 1, MAX_RECORD + 1])
def test_a_length_that_no_record_has_is_refused_on_both_sides(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_plan([Step(0, 0.0, length)])
    with pytest.raises(RemoteProtocolError):
        decode_plan(b"\0\1\0\0\0\0" + length.to_bytes(2, "big"))


def test_steps_are_limited() -> None:
    whole = encode_plan([Step(0, 0.0, 26)] * MAX_STEPS)
    assert len(decode_plan(whole)[0]) == MAX_STEPS
    with pytest.raises(LocalProtocolError):
        encode_plan([Step(0, 0.0, 26)] * (MAX_STEPS + 1))
    with pytest.raises(RemoteProtocolError):
        decode_plan((MAX_STEPS + 1).to_bytes(2, "big") + whole[2:] + whole[2:8])


def test_needs_do_not_go_back() -> None:
    with pytest.raises(RemoteProtocolError, match="needs 1"):
        decode_plan(encode_plan([Step(2, 0.0, 26), Step(1, 0.0, 26)]))
