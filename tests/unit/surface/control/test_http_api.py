"""The control API over HTTP, asked by friends and by web pages that should get nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_node import FakeHost, FakeNode
from vigilnet.base.http.service import HttpServer
from vigilnet.surface.control.events import EventFeed
from vigilnet.surface.control.http_api import api_routes
from vigilnet.surface.control.openapi import BASE
from vigilnet.surface.control.operations import OPERATIONS, Role
from vigilnet.surface.control.schema import MAX_REQUEST, plain
from vigilnet.surface.control.sessions import LIFE_S, MAX_SESSIONS
from vigilnet.surface.control.steering import Steering

CHANGES = [name for name, one in OPERATIONS.items() if one.is_change and not one.is_socket_only]
READS = [name for name, one in OPERATIONS.items() if not one.is_change and not one.is_socket_only]


class Api:
    """A served API and a token for it."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.stopped = asyncio.Event()
        host._on_stop = self.stopped.set
        steering = Steering(host, "0.1.0")
        self.events = EventFeed(steering, host.logs.listeners)
        self.server = HttpServer([api_routes(steering, self.events, host.sessions, host.clock)], host.clock)
        self.token = host.sessions.open(Role.FULL, host.clock.now())
        self.port = 0

    async def ask(
        self, method: str, path: str, body: object = None, token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Return status and JSON; headers by their names with underscores."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(content))}
        if token != "":
            fields["Authorization"] = f"Bearer {token or self.token}"
        if method == "POST":
            fields["Content-Type"] = "application/json"
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + content)
        answer = await reader.read()
        writer.close()
        status, _, rest = answer.partition(b"\r\n\r\n")
        return int(status.split()[1]), json.loads(rest) if rest else None

    def nothing_changed(self) -> bool:
        """Whether nobody was obeyed."""
        host = self.host
        return (host.changes, host.restarts, host.node.asked, host.is_on, self.stopped.is_set()) == (
            [], 0, 0, True, False,
        )  # fmt: skip


def play(tmp_path: Path, work: Callable[[Api], Awaitable[None]]) -> None:
    async def main() -> None:
        api = Api(FakeHost(FakeNode(), tmp_path / "vigilnet.toml"))
        api.port = await api.server.listen("127.0.0.1", 0)
        try:
            async with asyncio.timeout(60):
                await work(api)
        finally:
            await api.events.close()
            await api.server.close()
        assert api.server.failures == []

    asyncio.run(main())


def test_reads_and_changes_are_the_same_as_on_the_socket(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        for name in READS:
            status, answer = await api.ask("GET", f"{BASE}/{name}?ts=1")
            assert (status, name) == (200, name)
            assert answer == plain(await Steering(api.host, "0.1.0").do(name, {})) or name == "status"
        assert (await api.ask("POST", f"{BASE}/set-hops", {"hops": 5}))[1][
            "message"
        ] == "new paths have 5 hops"
        assert (await api.ask("GET", f"{BASE}/exits?port=6667"))[1]["exits"][0]["name"] == "stranger"
        assert (await api.ask("GET", f"{BASE}/openapi.json"))[1]["openapi"] == "3.1.0"

    play(tmp_path, work)


def test_stop_is_answered_before_the_end(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        assert await api.ask("POST", f"{BASE}/stop") == (200, {"stopping": True})
        await api.stopped.wait()

    play(tmp_path, work)


def test_no_token_a_wrong_one_and_an_old_one_get_nothing(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        for token in ("", "x", api.token[:-1], "A" * 43):
            for name in READS:
                status, answer = await api.ask("GET", f"{BASE}/{name}", token=token)
                assert (status, answer["error"]["code"]) == (401, "unauthorized")
            for name in CHANGES:
                assert (await api.ask("POST", f"{BASE}/{name}", {}, token=token))[0] == 401
        api.host.clock.at += LIFE_S
        assert (await api.ask("GET", f"{BASE}/status"))[0] == 401
        assert api.nothing_changed()

    play(tmp_path, work)


def test_read_only_token_changes_nothing_and_sees_nothing_private(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        token = api.host.sessions.open(Role.READ_ONLY, api.host.clock.now())
        for name in CHANGES:
            status, answer = await api.ask("POST", f"{BASE}/{name}", {}, token=token)
            assert (status, answer["error"]["code"]) == (403, "forbidden")
        for name in ("invite", "welcome-list"):
            assert (await api.ask("GET", f"{BASE}/{name}", token=token))[0] == 403
        assert (await api.ask("GET", f"{BASE}/doctor?repair=true", token=token))[0] == 403
        text = ""
        for name in READS:
            if not OPERATIONS[name].is_secret:
                text += json.dumps((await api.ask("GET", f"{BASE}/{name}", token=token))[1])
        for private in ("example.org", "192.0.2.1", "firefox"):
            assert private not in text
        assert api.nothing_changed()

    play(tmp_path, work)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8088"},  # a name of an attacker that was rebound to 127.0.0.1
        {"Host": "192.0.2.7:8088"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another service of this machine
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_others_are_refused_even_with_a_token(tmp_path: Path, headers: dict[str, str]) -> None:
    async def work(api: Api) -> None:
        for name in ("status", "streams", "settings"):
            assert (await api.ask("GET", f"{BASE}/{name}", **headers))[0] == 403
        for name in CHANGES:
            assert (await api.ask("POST", f"{BASE}/{name}", {}, **headers))[0] == 403
        assert api.nothing_changed()

    play(tmp_path, work)


def test_forms_and_other_methods_change_nothing(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""):
            status, answer = await api.ask("POST", f"{BASE}/stop", b"", Content_Type=kind)
            assert (status, answer["error"]["code"]) == (400, "bad-request")
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            assert (await api.ask(method, f"{BASE}/stop"))[0] == 405
        assert (await api.ask("POST", f"{BASE}/open-session", {}))[
            0
        ] == 404  # tokens are made on the socket alone
        assert (await api.ask("POST", f"{BASE}/watch", {}))[0] == 404
        assert api.nothing_changed()

    play(tmp_path, work)


def test_oversized_and_malformed_bodies_are_refused(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        assert (await api.ask("POST", f"{BASE}/set-hops", b"x" * (MAX_REQUEST + 1)))[0] == 413
        for body in (b"{", b"[1]", b'"x"', b"\xff", b"[" * 50_000, b'{"hops": "3"}', b'{"hops": 99}'):
            assert (await api.ask("POST", f"{BASE}/set-hops", body))[0] == 400
        for query in ("port=x", "port=-1", "port=" + "9" * 30, "port=%31%00"):
            assert (await api.ask("GET", f"{BASE}/exits?{query}"))[0] == 400
        assert (await api.ask("GET", f"{BASE}/doctor?repair=1"))[0] == 400
        assert api.nothing_changed()

    play(tmp_path, work)


def test_refusals_say_why_and_what_next(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        status, answer = await api.ask("POST", f"{BASE}/set-mode", {"mode": "exit"})
        assert (status, answer["error"]["code"]) == (409, "mode.warning")
        assert answer["error"]["why"]
        status, answer = await api.ask("GET", f"{BASE}/exits?country=JP&port=6667")
        assert (status, answer["error"]["next"]) == (409, "vigilnet exits --port 6667")
        assert (await api.ask("POST", f"{BASE}/new-path", {"circuit": 99}))[0] == 404

    play(tmp_path, work)


@pytest.mark.slow
def test_events_are_streamed_until_the_page_is_closed(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        api.events.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = f"Host: localhost:{api.port}\r\nAuthorization: Bearer {api.token}\r\n"
        writer.write(f"GET {BASE}/events?topics=status,traffic HTTP/1.1\r\n{head}\r\n".encode())
        text = b""
        while b"event: traffic" not in text:
            text += await reader.read(65536)
        assert b"text/event-stream" in text
        assert b"event: status\ndata: {" in text
        writer.close()
        while api.events._watchers:  # noqa: ASYNC110 nothing tells of it
            await asyncio.sleep(0.01)  # the server learns of it on its own

    play(tmp_path, work)


@pytest.mark.slow
def test_events_end_with_the_token(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        api.events.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = f"Host: localhost:{api.port}\r\nAuthorization: Bearer {api.token}\r\n"
        writer.write(f"GET {BASE}/events?topics=traffic HTTP/1.1\r\n{head}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(MAX_SESSIONS):  # the oldest makes room
            api.host.sessions.open(Role.FULL, api.host.clock.now())
        assert b"event: " not in await reader.read()
        writer.close()

    play(tmp_path, work)


def test_unknown_topic_is_refused(tmp_path: Path) -> None:
    async def work(api: Api) -> None:
        status, answer = await api.ask("GET", f"{BASE}/events?topics=gossip")
        assert (status, answer["error"]["code"]) == (400, "bad-request")
        assert (await api.ask("GET", f"{BASE}/events", token=""))[0] == 401

    play(tmp_path, work)
