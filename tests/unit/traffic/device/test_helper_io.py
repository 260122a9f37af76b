"""The helper over a kernel that only remembers: who may ask, what, and in which order."""

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_kernel import RunningHelper, running_helper
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.device.helper_client_io import (
    HelperClient,
    HelperMissingError,
    mark_requests,
    outward_sockets,
)
from vigilnet.traffic.device.helper_io import listen
from vigilnet.traffic.device.helper_wire import MAX_SOCKETS, Operation, Request
from vigilnet.traffic.device.settings import DeviceSettings

SETTINGS = DeviceSettings(1000, 1001)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RunningHelper]:
    with running_helper(tmp_path) as helper:
        yield helper


@pytest.fixture
def client(served: RunningHelper) -> Iterator[HelperClient]:
    made = HelperClient(served.path)
    made.connect()
    yield made
    made.close()


def ask(
    client: HelperClient, request: Request, descriptors: list[int] | None = None
) -> tuple[dict[str, object], int]:
    return asyncio.run(client.ask(request, descriptors))


def test_hello_joins_the_daemon_and_nobody_else_may_become_it(
    served: RunningHelper, client: HelperClient
) -> None:
    told, _ = ask(client, Request(Operation.HELLO))
    assert told["can_split"] is True
    assert (os.getpid(), "own") in served.kernel.groups.joined  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentRefusedError, match="nobody else"):
        ask(client, Request(Operation.JOIN, pid=os.getpid(), group="own"))


def test_up_gives_the_interface_and_down_takes_it_back(served: RunningHelper, client: HelperClient) -> None:
    told, descriptor = ask(client, Request(Operation.UP, SETTINGS))
    assert told["is_up"] is True
    os.write(descriptor, b"packet")
    assert served.kernel.applications.recv(10) == b"packet"
    os.close(descriptor)
    told, _ = ask(client, Request(Operation.UPDATE, SETTINGS))
    told, _ = ask(client, Request(Operation.DOWN))
    assert told["is_up"] is False
    assert told["counters"] == {"own": 1, "outside": 2, "refused": 3}


def test_what_needs_a_device_that_is_up_is_refused_before(client: HelperClient) -> None:
    for request in (
        Request(Operation.UPDATE, SETTINGS),
        Request(Operation.OPEN, purpose="portal", addresses=("192.0.2.1",), seconds=5),
    ):
        with pytest.raises(EnvironmentRefusedError, match="not protected by this node"):
            ask(client, request)


def test_a_second_node_is_refused_while_the_first_is_there(
    served: RunningHelper, client: HelperClient
) -> None:
    os.close(ask(client, Request(Operation.UP, SETTINGS))[1])
    other = HelperClient(served.path)
    other.connect()
    try:
        for request in (Request(Operation.UP, SETTINGS), Request(Operation.DOWN)):
            with pytest.raises(EnvironmentRefusedError):
                ask(other, request)
        client.close()  # gone without a word: everything stays closed, and another may take over
        descriptor = -1
        while descriptor < 0:
            try:
                descriptor = ask(other, Request(Operation.UP, SETTINGS))[1]
            except EnvironmentRefusedError:
                continue
        os.close(descriptor)
        assert "down" not in served.kernel.said
    finally:
        other.close()


def test_a_refusal_of_the_system_is_told(served: RunningHelper, client: HelperClient) -> None:
    served.kernel.refusal = "nft: not installed here; install nftables"
    with pytest.raises(EnvironmentRefusedError, match="install nftables"):
        ask(client, Request(Operation.UP, SETTINGS))


def test_addresses_and_programs_are_passed_on(served: RunningHelper, client: HelperClient) -> None:
    os.close(ask(client, Request(Operation.UP, SETTINGS))[1])
    ask(client, Request(Operation.OPEN, purpose="learnt", addresses=("192.0.2.1",), seconds=5))
    assert ("learnt", ("192.0.2.1",), 5) in served.kernel.said
    ask(client, Request(Operation.JOIN, pid=os.getpid(), group="exit3"))
    assert (os.getpid(), "exit3") in served.kernel.groups.joined  # type: ignore[attr-defined]
    assert served.kernel.said[-1] == "refresh"
    with pytest.raises(EnvironmentRefusedError):
        ask(client, Request(Operation.JOIN, pid=4_194_303, group="outside"))


def test_lockdown_is_kept(served: RunningHelper, client: HelperClient) -> None:
    assert ask(client, Request(Operation.LOCKDOWN, is_on=True))[0]["is_locked"] is True
    assert ask(client, Request(Operation.STATUS))[0]["is_locked"] is True
    assert ask(client, Request(Operation.LOCKDOWN))[0]["is_locked"] is False


def test_only_sockets_of_the_internet_are_marked(client: HelperClient) -> None:
    reader, writer = os.pipe()
    with socket.socket(socket.AF_INET) as inet, socket.socket(socket.AF_UNIX) as unix:
        ask(client, Request(Operation.MARK), [inet.fileno(), unix.fileno(), reader])
        if os.geteuid() == 0:
            assert inet.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0x5600_0000
    os.close(reader)
    os.close(writer)


def test_what_is_no_request_is_answered_and_the_session_goes_on(served: RunningHelper) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
        raw.connect(str(served.path))
        raw.settimeout(60)
        for octets in (b"nft flush ruleset", b'{"op":"run"}'):
            raw.send(octets)
            assert b'"kind":"request"' in raw.recv(1000)


def test_the_socket_is_for_its_owner_alone(served: RunningHelper) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    with pytest.raises(EnvironmentRefusedError, match="another one runs"):
        listen(served.path, os.getuid())


def test_without_a_helper_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    client = HelperClient(tmp_path / "none.sock")
    with pytest.raises(HelperMissingError, match="sudo vigilnet up"):
        client.connect()
    with pytest.raises(HelperMissingError):
        ask(client, Request(Operation.STATUS))


def test_a_helper_that_ends_is_heard_of(tmp_path: Path) -> None:
    with running_helper(tmp_path) as helper:
        client = HelperClient(helper.path)
        client.connect()
    with pytest.raises(HelperMissingError):
        ask(client, Request(Operation.STATUS))
    assert not client.is_connected


def test_a_helper_that_was_started_anew_is_found(tmp_path: Path) -> None:
    client = HelperClient(tmp_path / "helper.sock")
    for _ in range(2):
        with running_helper(tmp_path):
            client.connect()
            assert ask(client, Request(Operation.STATUS))[0]["ok"] is True
    with pytest.raises(HelperMissingError):
        client.connect()
    assert not client.is_connected


def test_sockets_that_lead_out_are_found_and_others_are_not() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as local,
    ):
        outward.bind(("0.0.0.0", 0))  # noqa: S104  # nothing listens for long
        local.bind(("127.0.0.1", 0))
        found = outward_sockets()
        assert outward.fileno() in found
        assert local.fileno() not in found


def test_many_descriptors_take_many_messages() -> None:
    many = list(range(MAX_SOCKETS + 1))
    assert [len(part) for part in mark_requests(many)] == [MAX_SOCKETS, 1]


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_no_socket_is_made_where_others_can_put_another_file(tmp_path: Path, mode: int) -> None:
    """With rights, `chown` of a name there gave away whatever file a link of theirs named."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(EnvironmentRefusedError, match="others than root can write there"):
        listen(folder / "helper.sock", os.getuid())
    assert not list(folder.iterdir())


def test_nobody_let_in_does_not_end_the_helper(
    served: RunningHelper, client: HelperClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end would have opened the firewall."""

    class Full:
        def accept(self) -> None:
            raise OSError(24, "too many open files")

    monkeypatch.setattr(served.helper, "_listener", Full())
    served.helper._accept()
    monkeypatch.undo()
    assert ask(client, Request(Operation.STATUS))[0]["ok"] is True
