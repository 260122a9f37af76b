"""The helper's list of operations: nothing that is not on it can be said."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.backends import routes, ruleset
from vigilnet.traffic.device.backend import Capture
from vigilnet.traffic.device.helper_wire import (
    MAX_ADDRESSES,
    MAX_LIFE_S,
    MAX_MESSAGE,
    Operation,
    Request,
)
from vigilnet.traffic.device.settings import DeviceSettings

SETTINGS = DeviceSettings(1000, 1001)


@pytest.mark.parametrize(
    "request_",
    [
        Request(Operation.HELLO),
        Request(Operation.UP, SETTINGS),
        Request(Operation.UPDATE, SETTINGS),
        Request(Operation.DOWN),
        Request(Operation.MARK),
        Request(Operation.JOIN, pid=4711, group="outside"),
        Request(Operation.JOIN, pid=4711, group="exit12"),
        Request(Operation.OPEN, purpose="portal", addresses=("192.0.2.1",), seconds=MAX_LIFE_S),
        Request(Operation.OPEN, purpose="learnt", addresses=("2001:db8::1",) * MAX_ADDRESSES, seconds=1),
        Request(Operation.LOCKDOWN, is_on=True),
        Request(Operation.STATUS),
    ],
)
def test_every_operation_comes_back_as_it_went(request_: Request) -> None:
    assert Request.decode(request_.encode()) == request_


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"op": "run"},
        {"op": "up"},
        {"op": "down", "settings": SETTINGS.encode()},
        {"op": "join", "pid": 1, "group": "outside"},
        {"op": "join", "pid": (1 << 22) + 1, "group": "outside"},
        {"op": "join", "pid": 4711, "group": "../.."},
        {"op": "join", "pid": 4711, "group": "exit1234"},
        {"op": "join", "pid": 4711, "group": "exit16"},  # one more than there are
        {"op": "join", "pid": 4711, "group": "exit01"},  # another folder, with the mark of exit1
        {"op": "join", "pid": 4711, "group": "exit\u0663"},
        {"op": "open", "purpose": "portal", "addresses": ["fe80::1%x }\nflush ruleset\n#"], "seconds": 1},
        {"op": "open", "purpose": "portal", "addresses": ["fe80::1%eth0"], "seconds": 1},
        {"op": "open", "purpose": "all", "addresses": ["192.0.2.1"], "seconds": 1},
        {"op": "open", "purpose": "portal", "addresses": ["192.0.2.1"], "seconds": MAX_LIFE_S + 1},
        {"op": "open", "purpose": "portal", "addresses": ["192.0.2.1"], "seconds": 0},
        {"op": "open", "purpose": "portal", "addresses": ["0.0.0.0/0"], "seconds": 1},
        {"op": "open", "purpose": "portal", "addresses": [], "seconds": 1},
        {"op": "open", "purpose": "portal", "addresses": ["::"] * (MAX_ADDRESSES + 1), "seconds": 1},
        {"op": "lockdown", "is_on": "yes"},
        {"op": "status", "command": "nft flush ruleset"},
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        Request.decode(json.dumps(value).encode())


def test_a_message_that_is_too_long_is_refused_unread() -> None:
    padded = Request(Operation.STATUS).encode()
    assert Request.decode(padded + b" " * (MAX_MESSAGE - len(padded))) == Request(Operation.STATUS)
    with pytest.raises(RemoteProtocolError):
        Request.decode(padded + b" " * (MAX_MESSAGE + 1 - len(padded)))


SAID = st.one_of(
    st.text(max_size=70), st.text("0123456789abcdef:./% }\n;", max_size=40), st.just("fe80::1%a\nb/64")
)


@given(SAID, st.sampled_from(("addresses", "outside_networks", "inside_networks", "rules")))
def test_no_text_of_the_daemons_reaches_a_command(text: str, where: str) -> None:
    """Python's addresses have any text behind a `%`: it was one more line for `nft` and for `ip -batch`."""
    values: dict[str, object] = {
        "addresses": [text],
        "rules": [{"direction": "out", "protocol": "any", "network": text}],
    }
    value = values.get(where, [text])
    if where == "addresses":
        said = {"op": "open", "purpose": "learnt", "seconds": 60, where: value}
    else:
        said = {"op": "up", "settings": {"capture_port": 1000, "dns_port": 1001, where: value}}
    try:
        request = Request.decode(json.dumps(said).encode())
    except RemoteProtocolError:
        return
    if request.settings is None:
        written = ruleset.opened(request.purpose, request.addresses, request.seconds)
    else:
        plain = ruleset.protected(request.settings)
        written = "\n".join((plain, *routes.rules_up(request.settings, Capture.INTERFACE)))
    assert text not in written or set(text) <= set("0123456789abcdefABCDEF.:/")


@given(st.binary(max_size=200))
def test_any_octets_are_a_request_or_blamed_on_the_daemon(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        Request.decode(octets)
