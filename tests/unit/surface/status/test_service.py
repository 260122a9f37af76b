"""The status interface over real HTTP: who may ask what, and the directory's routes."""

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.operators import DirectoryLab, Relay
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.peer.address import PeerAddress
from vigilnet.routing.operators.database_io import Database
from vigilnet.routing.operators.service import DirectoryService
from vigilnet.routing.operators.wire import encode_registration, sign_registration
from vigilnet.surface.status.facts import Facts
from vigilnet.surface.status.service import TOKEN_FILE, StatusService, make_token

TOKEN = "a token of these tests"  # noqa: S105


class FakeShown:
    """A node without a directory unless it is given one."""

    def __init__(self, directory: DirectoryService | None = None) -> None:
        self._directory = directory

    def facts(self) -> Facts:
        return Facts("super" if self._directory else "client", has_sources=True)

    def directory(self) -> DirectoryService | None:
        return self._directory


Ask = Callable[..., Awaitable[tuple[int, str, str]]]
Work = Callable[[Ask, StatusService], Awaitable[None]]


def _run(
    work: Work, folder: Path | None = None, *, compat: bool = False, rate: int = 0, is_public: bool = False
) -> list[str]:
    """Serve and work; gives what was asked of the process."""
    stopped: list[str] = []

    async def main() -> None:
        directory = None
        if folder is not None:
            lab = DirectoryLab(compat=compat, has_limits=False, wall=SystemClock().wall())
            directory = DirectoryService(lab.directory, Database(folder), SystemClock(), 60.0)
            directory.start()
        service = StatusService(
            FakeShown(directory), SystemClock(), TOKEN, lambda: stopped.append("stop"),
            compat=compat, rate_per_minute=rate,
        )  # fmt: skip
        listen = service.listen_publicly if is_public else service.listen
        port = await listen("127.0.0.1", 0)

        async def ask(
            path: str, method: str = "GET", body: bytes = b"", **headers: str
        ) -> tuple[int, str, str]:
            given = {"Host": f"127.0.0.1:{port}", **headers}
            lines = [
                f"{method} {path} HTTP/1.1",
                *(f"{name.replace('_', '-')}: {text}" for name, text in given.items()),
            ]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
            head, _, said = (await reader.read()).decode().partition("\r\n\r\n")
            writer.close()
            return int(head.split()[1]), head, said

        try:
            await work(ask, service)
        finally:
            await service.close()
            if directory is not None:
                await directory.close()

    asyncio.run(main())
    return stopped


def test_pages_answer_whatever_the_query_says_and_are_never_kept() -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        for path in ("/", "/status", "/status.txt", "/ready", "/ping", "/metrics", "/config"):
            status, head, _said = await ask(path + "?ts=123")
            assert status == 200, path
            assert head.startswith("HTTP/1.1 200 OK")
            assert "Cache-Control: no-store" in head
            assert "Connection: close" in head
        assert (await ask("/ready"))[2] == "ok"
        ping = json.loads((await ask("/ping"))[2])
        assert ping["ok"] is True
        assert isinstance(ping["ts"], int)
        assert json.loads((await ask("/metrics"))[2]).keys() == {"status_conn_active", "status_conn_total"}
        assert "vigilnet_up 0" in (await ask("/metrics", Accept="text/plain"))[2]
        assert json.loads((await ask("/status"))[2])["state"] == "calibrating"
        assert (await ask("/nix"))[2] == '{"error":"not found"}'

    _run(work)


def test_other_sites_and_rebound_names_are_refused() -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        for headers in (
            {"Host": "evil.example"},
            {"Origin": "http://evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
        ):
            for path in ("/", "/status", "/metrics", "/config"):
                assert (await ask(path, **headers))[0] == 403

    _run(work)


def test_only_post_with_the_token_ends_the_process() -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert (await ask("/terminate", **good))[0] == 405
        assert (await ask("/terminate", "POST"))[0] == 401
        assert (await ask("/terminate", "POST", Authorization="Bearer wrong"))[0] == 401
        assert (await ask("/terminate", "POST", Origin="http://evil.example", **good))[0] == 403
        assert (await ask("/terminate", "POST", **good | {"Host": "evil.example"}))[0] == 403

    assert _run(work) == []

    async def end(ask: Ask, _: StatusService) -> None:
        assert (await ask("/terminate", "POST", Authorization=f"Bearer {TOKEN}"))[2] == '{"terminating":true}'
        await asyncio.sleep(0.15)

    assert _run(end) == ["stop"]


def test_compat_lets_this_machine_end_it_by_get() -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        assert (await ask("/terminate", Host="evil.example"))[0] == 403
        assert (await ask("/terminate"))[2] == '{"terminating":true}'
        await asyncio.sleep(0.15)

    assert _run(work, compat=True) == ["stop"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/relay/register"), ("GET", "/api/relays/by-country"), ("GET", "/api/relays/prune"),
     ("GET", "/api/operator")],
)  # fmt: skip
def test_other_modes_say_that_they_have_no_directory(method: str, path: str) -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        status, _head, said = await ask(path, method, b"{}" if method == "POST" else b"")
        assert (status, json.loads(said)) == (
            404, {"error": "directory service not available in this mode", "mode": "Client"},
        )  # fmt: skip

    _run(work)


def _body(name: str, at: float = 0.0) -> bytes:
    relay, wall = Relay(name), SystemClock().wall()
    record = relay.maker.record(int(wall), addresses=[PeerAddress.tcp("127.0.0.1", 4001)], country="DE")
    said = sign_registration(relay.maker.identity, record, wall + at, "lab")
    return json.dumps(encode_registration(said)).encode()


def test_directory_over_http_keeps_its_relays_over_a_restart(tmp_path: Path) -> None:
    async def first(ask: Ask, _: StatusService) -> None:
        assert (await ask("/api/relays/by-country"))[2] == "{}"
        assert (await ask("/api/relay/register", "POST", _body("one")))[
            2
        ] == '{"registered":true,"is_new":true}'
        assert (await ask("/api/relay/register", "POST", _body("one", 1)))[
            2
        ] == '{"registered":true,"is_new":false}'
        assert (await ask("/api/relays/prune"))[2] == '{"pruned":0,"active_peers":1,"total_peers":1}'
        assert (await ask("/api/relay/register"))[2] == '{"error":"method not allowed, use POST"}'

    async def second(ask: Ask, _: StatusService) -> None:
        [relay] = json.loads((await ask("/api/relays/by-country?country=DE"))[2])["DE"]
        assert relay["peer_id"] == Relay("one").peer_id
        assert (await ask("/api/relays/by-country?country=US"))[2] == "{}"
        assert (await ask("/api/relays/by-country?country=1"))[0] == 400

    _run(first, tmp_path)
    _run(second, tmp_path)


def test_directory_holds_everybody_to_the_rate(tmp_path: Path) -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        statuses = [(await ask("/api/relay/register", "POST", b"junk"))[0] for _ in range(12)]
        assert statuses == [400] * 10 + [429] * 2
        assert (await ask("/api/relays/by-country"))[0] == 429
        assert (await ask("/status"))[0] == 200

    _run(work, tmp_path, rate=10)


def test_public_listener_has_the_directory_alone(tmp_path: Path) -> None:
    async def work(ask: Ask, _: StatusService) -> None:
        assert (await ask("/api/relays/by-country", Host="dir.example"))[0] == 200
        for path in ("/", "/status", "/config", "/terminate"):
            assert (await ask(path))[0] == 404

    _run(work, tmp_path, is_public=True)


def test_bodies_beyond_measure_are_refused_with_json(tmp_path: Path) -> None:
    async def work(ask: Ask, service: StatusService) -> None:
        status, _head, said = await ask("/api/relay/register", "POST", bytes(10_000_000))
        assert (status, json.loads(said)["error"]) == (413, "body too large")
        assert service.server.failures == []

    _run(work, tmp_path)


def test_port_that_is_taken_is_told() -> None:
    async def work(_: Ask, service: StatusService) -> None:
        port = service.server._servers[0].sockets[0].getsockname()[1]
        with pytest.raises(EnvironmentRefusedError, match=r"status\.port"):
            await service.listen("127.0.0.1", port)

    _run(work)


def test_token_is_new_each_time_and_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = make_token(tmp_path), make_token(tmp_path)
    assert first != second
    assert (tmp_path / TOKEN_FILE).read_text() == second
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
