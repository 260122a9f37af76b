"""Asking and registering over real HTTP on loopback; the directories are routes of this test."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from tests.support.operators import START, Relay
from tests.support.virtual_loop import VirtualClock, VirtualLoop, run
from vigilnet.base.clock import SystemClock
from vigilnet.base.http.client_io import Answer, Connect, Connection, connect_directly
from vigilnet.base.http.messages import Request, Response, error_response, json_response
from vigilnet.base.http.routes import Routes
from vigilnet.base.http.service import HttpServer
from vigilnet.base.http.url import Url
from vigilnet.peer.offering import MAX_USELESS, SLICE, Course
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, Verdict
from vigilnet.routing.operators import asking_io
from vigilnet.routing.operators.asking_io import OperatorClient
from vigilnet.routing.operators.options import Options
from vigilnet.routing.operators.wire import Registration, to_base64


@dataclass
class FakeNode:
    """Takes what it is given, at most `budget` at once."""

    budget: int = 100
    said: Registration | None = None
    by_circuit: bool = False
    taken: list[bytes] = field(default_factory=list)
    sources: set[Source] = field(default_factory=set)
    dialled: int = 0
    outcome: Outcome = Outcome.ACCEPTED

    def take(self, encoded: bytes, source: Source) -> Verdict:
        if self.budget <= 0:
            return Verdict(Outcome.LATER, "later")
        self.budget -= 1
        self.taken.append(encoded)
        self.sources.add(source)
        return Verdict(self.outcome, "")

    def registration(self) -> Registration | None:
        return self.said

    def circuits(self) -> Connect | None:
        async def connect(url: Url) -> Connection:
            self.dialled += 1
            return await connect_directly(url)

        return connect if self.by_circuit else None


@dataclass
class FakeOperator:
    """A directory that answers as the test wants."""

    records: tuple[bytes, ...] = ()
    own: bytes = b""
    refusal: Response | None = None
    queries: int = 0
    heads: list[set[str]] = field(default_factory=list)
    registered: list[Request] = field(default_factory=list)

    def routes(self) -> Routes:
        routes = Routes()
        routes.add("GET", "/api/operator", self._operator)
        routes.add("GET", "/api/relays/by-country", self._listing)
        routes.add("POST", "/api/relay/register", self._register, max_body=8192)
        return routes

    def _operator(self, _: Request) -> Response:
        return json_response({"record": to_base64(self.own)} if self.own else {})

    def _listing(self, request: Request) -> Response:
        self.queries += 1
        self.heads.append(set(request.headers))
        assert not request.query
        return self.refusal or json_response({"DE": [{"record": to_base64(one)} for one in self.records]})

    def _register(self, request: Request) -> Response:
        self.registered.append(request)
        return self.refusal or json_response({"registered": True, "is_new": True})


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 what servers were told has no event of its own
            await asyncio.sleep(0.005)


def _run(
    operators: list[FakeOperator],
    node: FakeNode,
    work: Callable[[OperatorClient], Awaitable[None]],
    *,
    queries: bool = True,
    registers: bool = False,
    dead: int = 0,
    heartbeat_s: float = 30.0,
) -> None:
    async def main() -> None:
        clock = SystemClock()
        servers = [HttpServer([operator.routes()], clock) for operator in operators]
        ports = [await server.listen("127.0.0.1", 0) for server in servers]
        urls = [f"http://127.0.0.1:{port}" for port in (*[1] * dead, *ports)]
        options = Options(urls=tuple(urls), heartbeat_s=heartbeat_s)
        client = OperatorClient(options, node, clock, os.urandom, queries=queries, registers=registers)
        client.start()
        try:
            await work(client)
        finally:
            await client.close()
            for server in servers:
                await server.close()

    asyncio.run(main())


def test_the_first_that_answers_is_enough_and_its_own_record_is_taken_too() -> None:
    operators = [FakeOperator((b"one", b"two"), b"self"), FakeOperator((b"one", b"two"), b"self")]
    node = FakeNode()

    async def work(client: OperatorClient) -> None:
        await _until(lambda: len(node.taken) == 3)
        assert client.is_answered

    _run(operators, node, work)
    assert sorted(node.taken) == [b"one", b"self", b"two"]
    assert sum(operator.queries for operator in operators) == 1
    assert {source.name for source in node.sources} == {"directories"}


def test_dead_and_refusing_ones_are_passed_over() -> None:
    good, bad = FakeOperator((b"one",)), FakeOperator(refusal=error_response(500, "internal error"))
    node = FakeNode()

    async def work(_: OperatorClient) -> None:
        await _until(lambda: node.taken == [b"one"])

    _run([bad, good], node, work, dead=2)


def test_query_shows_nothing_of_who_asks() -> None:
    operator, node = FakeOperator((b"one",)), FakeNode()

    async def work(_: OperatorClient) -> None:
        await _until(lambda: bool(node.taken))

    _run([operator], node, work)
    assert operator.heads == [{"host", "accept", "connection"}]
    assert operator.registered == []


def test_records_that_come_too_fast_wait() -> None:
    node = FakeNode(budget=1)

    async def work(client: OperatorClient) -> None:
        await _until(lambda: len(node.taken) == 1)
        node.budget = 5
        client._offer()
        assert len(node.taken) == 3

    _run([FakeOperator((b"1", b"2", b"3"))], node, work)


def test_an_operator_that_lists_what_nobody_needs_is_left_and_others_have_their_turn() -> None:
    node = FakeNode(budget=10_000, outcome=Outcome.NOT_CURRENT)
    client = OperatorClient(Options(), node, SystemClock(), os.urandom, queries=True, registers=False)
    client._waiting = [(b"%d" % number, Source("operator")) for number in range(8192)]
    turns = 0
    while client._offer() is Course.PAUSE:
        turns += 1
        assert len(node.taken) == turns * SLICE
    assert len(node.taken) == MAX_USELESS + 1
    assert client._waiting == []


def test_once_there_is_a_circuit_it_is_asked_through_it() -> None:
    node = FakeNode(by_circuit=True)

    async def work(_: OperatorClient) -> None:
        await _until(lambda: bool(node.taken))

    _run([FakeOperator((b"one",))], node, work)
    assert node.dialled == 2


def test_relay_registers_at_once_and_again_with_each() -> None:
    operators = [FakeOperator(), FakeOperator()]
    node = FakeNode(said=Relay("one").registration(START))

    async def work(client: OperatorClient) -> None:
        await _until(lambda: all(len(operator.registered) >= 3 for operator in operators))
        assert set(client.registered.values()) == {""}

    _run(operators, node, work, queries=False, registers=True, heartbeat_s=0.1)
    assert [operator.queries for operator in operators] == [0, 0]


def test_five_minutes_of_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[float] = []
    clock = VirtualClock(loop := VirtualLoop())

    async def answer(url: Url, method: str, path: str, body: bytes, **_: object) -> Answer:
        assert (method, path) == ("POST", "/api/relay/register")
        posted.append(clock.now())
        return Answer(200, {}, b"{}")

    monkeypatch.setattr(asking_io, "ask", answer)

    async def live(*, registers: bool) -> None:
        node = FakeNode(said=Relay("one").registration(START))
        options = Options(urls=("http://127.0.0.1:1",))
        client = OperatorClient(options, node, clock, os.urandom, queries=False, registers=registers)
        client.start()
        await asyncio.sleep(301)
        await client.close()

    run(live(registers=True), loop)
    assert [round(at - posted[0]) for at in posted] == list(range(0, 301, 30))
    posted.clear()
    clock = VirtualClock(loop := VirtualLoop())
    run(live(registers=False), loop)  # client and bootstrap
    assert posted == []


def test_why_a_directory_refuses_is_kept_without_what_does_not_belong_in_a_log() -> None:
    refusal = error_response(403, "registration refused", "clock\x1b[31m" + "x" * 300)
    node = FakeNode(said=Relay("one").registration(START))

    async def work(client: OperatorClient) -> None:
        await _until(lambda: bool(client.registered))
        [reason] = client.registered.values()
        assert reason.startswith("answered 403 (registration refused: clock[31mxxx")
        assert len(reason) < 150

    _run([FakeOperator(refusal=refusal)], node, work, registers=True)


def test_nothing_is_done_without_operators_or_before_there_is_a_record() -> None:
    operator = FakeOperator()

    async def work(client: OperatorClient) -> None:
        await asyncio.sleep(0)
        assert not client.is_answered

    _run([], FakeNode(), work, registers=True)
    _run([operator], FakeNode(), work, queries=False, registers=True)
    assert operator.registered == []
