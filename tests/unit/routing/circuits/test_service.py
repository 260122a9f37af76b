"""The pool at work over real circuits in memory: reuse, isolation, retries, limits and a dead network."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.malicious_relay import Crossing, MaliciousRelay
from tests.support.onion_network import OnionNetwork, OnionNode, Settings, is_open, play
from tests.support.pools import PoolNode, record_of
from tests.support.targets import FlowReader
from vigilnet.peer.descriptor import Capability, ExitSummary, OnionKey
from vigilnet.routing.circuits import service
from vigilnet.routing.circuits.pool import Options
from vigilnet.traffic.cell import CELL_SIZE, Command
from vigilnet.traffic.circuit.client import CircuitState
from vigilnet.traffic.ingress.ports import OnionUnavailableError
from vigilnet.traffic.stream.messages import Resolve, Resolved, ResourceRecord
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

Scenario = Callable[[PoolNode], Awaitable[None]]


def with_pool(
    scenario: Scenario,
    relays: int = 5,
    *,
    liars: dict[int, type[OnionNode]] | None = None,
    starts: bool = True,
    delay_s: float = 0.01,
    **numbers: Any,  # noqa: ANN401 fields of Options
) -> None:
    """Run a scenario with a pool over so many relays."""

    async def main(network: OnionNetwork) -> None:
        node = PoolNode(network, replace(Options(), **numbers))
        if starts:
            node.pool.start()
        await scenario(node)
        await node.close()

    settings: Settings = {"delay_s": delay_s}
    play(main, relays, liars=liars, **settings)


def test_circuits_are_built_ahead_of_need() -> None:
    async def scenario(node: PoolNode) -> None:
        await node.network.settle(3)
        assert node.pool.pool.clean == 3
        assert len(node.builds) == 3
        assert node.pool.first_circuit_ms is not None
        before = node.network.loop.time()
        reader = await node.open()
        assert node.network.loop.time() - before < 0.1, "one round trip over three hops"
        await node.network.settle(3)
        assert node.pool.pool.clean == 3, "the one taken is replaced"
        assert len(node.builds) == 4
        assert reader.address == "203.0.113.80"

    with_pool(scenario)


def test_two_isolation_keys_never_share_a_circuit() -> None:
    async def scenario(node: PoolNode) -> None:
        used: dict[str, set[object]] = {}
        for turn in range(4):
            for key in ("a", "b", "c"):
                reader = await node.open(key)
                used.setdefault(key, set()).add(node.circuit_of(reader.stream))
                if turn % 2:
                    reader.stream.close()
        assert all(len(circuits) == 1 for circuits in used.values()), "a key reuses its own"
        assert len(set.union(*used.values())) == 3

    with_pool(scenario)


def test_many_requests_at_once_before_any_circuit_is_up() -> None:
    async def scenario(node: PoolNode) -> None:
        opening = [node.open(f"key{number % 4}") for number in range(40)]
        readers = await asyncio.gather(*opening)
        circuits = {node.circuit_of(reader.stream) for reader in readers}
        assert len(circuits) == 4
        assert len(node.builds) <= 12

    with_pool(scenario)


def test_retired_circuit_is_not_reused_and_ends_with_its_last_stream() -> None:
    async def scenario(node: PoolNode) -> None:
        long_lived = await node.open()
        old = node.circuit_of(long_lived.stream)
        for _ in range(13):
            await node.network.settle(50)
            long_lived.stream.write(b"ping")
        young = await node.open()
        assert node.circuit_of(young.stream) is not old
        assert is_open(old)
        long_lived.stream.close()
        await node.network.settle(11)
        assert not is_open(old)

    with_pool(scenario)


def test_idle_circuit_is_torn_down_everywhere() -> None:
    async def scenario(node: PoolNode) -> None:
        reader = await node.open()
        circuit = node.circuit_of(reader.stream)
        reader.stream.close()
        await node.network.settle(50)
        assert is_open(circuit)
        again = await node.open()
        assert node.circuit_of(again.stream) is circuit, "still there for the same key"
        again.stream.close()
        await node.network.settle(70)
        assert not is_open(circuit)
        clean = node.pool.pool.clean
        assert all(len(relay.relay.circuits) <= clean for relay in node.network.relays)

    with_pool(scenario)


def test_quiet_client_keeps_one_clean_circuit() -> None:
    async def scenario(node: PoolNode) -> None:
        (await node.open()).stream.close()
        await node.network.settle(1500)
        assert node.pool.pool.clean == 1
        assert len(list(node.pool.pool.entries)) == 1
        built = len(node.builds)
        await node.network.settle(3600)
        assert len(node.builds) - built <= 7, "one is replaced each ten minutes"

    with_pool(scenario)


def test_limit_of_circuits_closes_the_longest_idle() -> None:
    async def scenario(node: PoolNode) -> None:
        keys = [f"key{number}" for number in range(8)]
        for key in keys:
            (await node.open(key)).stream.close()
            await node.network.settle(1)
            assert len(list(node.pool.pool.entries)) + node.pool.pool.building <= 5
        assert (await node.open("key7")).address

    with_pool(scenario, max_circuits=5, build_ahead=2)


def test_request_beyond_the_limit_waits_for_a_place() -> None:
    async def scenario(node: PoolNode) -> None:
        busy = [await node.open(f"key{number}") for number in range(3)]
        waiting = asyncio.ensure_future(node.open("key3"))
        await node.network.settle(10)
        assert not waiting.done()
        busy[0].stream.close()
        reader = await waiting
        assert reader.address

    with_pool(scenario, max_circuits=3, build_ahead=1)


def test_request_that_finds_no_place_says_so_after_30_s() -> None:
    async def scenario(node: PoolNode) -> None:
        for number in range(3):
            await node.open(f"key{number}")
        before = node.network.loop.time()
        with pytest.raises(OnionUnavailableError, match="30 s"):
            await node.open("key3")
        assert node.network.loop.time() - before == pytest.approx(30, abs=0.1)

    with_pool(scenario, max_circuits=3, build_ahead=1)


def test_new_identity_leaves_every_circuit_of_before() -> None:
    async def scenario(node: PoolNode) -> None:
        busy = await node.open()
        await node.network.settle(2)
        before = {entry.circuit for entry in node.pool.pool.entries}
        node.pool.new_identity()
        assert [entry.circuit for entry in node.pool.pool.entries] == [node.circuit_of(busy.stream)]
        reader = await node.open()
        assert node.circuit_of(reader.stream) not in before
        busy.stream.write(b"still here")
        await node.network.settle(1)
        assert bytes(busy.data) == b"still here"

    with_pool(scenario)


# --- exits that refuse -------------------------------------------------------------------------------


def test_port_that_one_exit_refuses_is_tried_at_another() -> None:
    async def scenario(node: PoolNode) -> None:
        refusing = node.network.relays[:2]
        for relay in refusing:
            relay.targets.refused_ports.add(25)
        for number in range(8):
            reader = await node.open(f"key{number}", port=25)
            last = node.circuit_of(reader.stream).hops[-1]
            assert node.relay_of(last) not in refusing
        refusals = [len(relay.targets.requests) for relay in refusing]
        assert max(refusals) == 1, "an exit that refused a port is not asked again"

    with_pool(scenario)


def test_port_that_all_exits_refuse_ends_with_policy() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            relay.targets.refused_ports.add(25)
        with pytest.raises(StreamEndedError) as caught:
            await node.open(port=25)
        assert caught.value.reason is EndReason.POLICY
        asked = sum(len(relay.targets.requests) for relay in node.network.relays)
        assert asked == 3
        assert (await node.open()).address, "other ports go on"

    with_pool(scenario)


def test_port_that_no_exit_announces_is_said_clearly_and_at_once() -> None:
    async def scenario(node: PoolNode) -> None:
        web = ExitSummary(is_accept_list=True, ranges=((80, 80), (443, 443)))
        node.known = [record_of(relay, web) for relay in node.network.relays]
        await node.network.settle(2)
        before = node.network.loop.time()
        with pytest.raises(OnionUnavailableError, match="accepts port 25"):
            await node.open(port=25)
        assert node.network.loop.time() - before < 1
        assert (await node.open(port=443)).address

    with_pool(scenario)


def test_request_for_a_port_without_exit_does_not_fail_others() -> None:
    async def scenario(node: PoolNode) -> None:
        web = ExitSummary(is_accept_list=True, ranges=((80, 80),))
        node.known = [record_of(relay, web) for relay in node.network.relays]
        results = await asyncio.gather(
            node.open("a", port=25), node.open("b", port=80), node.open("c", port=26), return_exceptions=True
        )
        assert [isinstance(result, OnionUnavailableError) for result in results] == [True, False, True]

    with_pool(scenario)


@pytest.mark.parametrize("reason", ["refused", "resolve-failed", "no-route", "timeout", "reset"])
def test_what_the_target_says_is_not_retried(reason: str) -> None:
    async def scenario(node: PoolNode) -> None:
        with pytest.raises(StreamEndedError) as caught:
            await node.open(host=f"{reason}.test")
        assert caught.value.reason is EndReason[reason.upper().replace("-", "_")]
        assert sum(len(relay.targets.requests) for relay in node.network.relays) == 1

    with_pool(scenario)


@pytest.mark.parametrize("early", [b"", b"POST / HTTP/1.1"])
def test_circuit_that_dies_while_opening_is_replaced_unless_octets_were_sent(early: bytes) -> None:
    async def scenario(node: PoolNode) -> None:
        opening = asyncio.ensure_future(node.open(host="silent.test", early=early))
        await node.network.settle(3)
        (entry,) = [entry for entry in node.pool.pool.entries if entry.isolation]
        entry.circuit.close()
        await node.network.settle(3)
        assert sum(len(relay.targets.requests) for relay in node.network.relays) == (1 if early else 2)
        opening.cancel()
        result = (await asyncio.gather(opening, return_exceptions=True))[0]
        assert isinstance(result, StreamEndedError) == bool(early)

    with_pool(scenario)


def test_target_that_never_answers_is_given_up_and_the_exit_told() -> None:
    async def scenario(node: PoolNode) -> None:
        before = node.network.loop.time()
        with pytest.raises(StreamEndedError) as caught:
            await node.open(host="silent.test")
        assert caught.value.reason is EndReason.TIMEOUT
        assert node.network.loop.time() - before == pytest.approx(60, abs=1)
        await node.network.settle(1)
        (reader,) = [reader for relay in node.network.relays for reader in relay.targets.readers]
        assert reader.ended is EndReason.TIMEOUT

    with_pool(scenario)


def test_cancelled_request_tells_the_exit() -> None:
    async def scenario(node: PoolNode) -> None:
        opening = asyncio.ensure_future(node.open(host="silent.test"))
        await node.network.settle(3)
        opening.cancel()
        await node.network.settle(1)
        (reader,) = [reader for relay in node.network.relays for reader in relay.targets.readers]
        assert reader.ended is EndReason.RESET

    with_pool(scenario)


# --- look-ups and datagrams --------------------------------------------------------------------------


def test_look_up_is_answered() -> None:
    async def scenario(node: PoolNode) -> None:
        answer = await node.pool.resolve(Resolve("name.test", 1), "a")
        assert answer == Resolved(0, (ResourceRecord(1, 60, b"\xcb\x00\x71\x50"),))

    with_pool(scenario)


def test_look_up_that_times_out_or_is_cancelled_leaves_the_circuit_idle() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            relay.targets.answers_lookups = False
        cancelled = asyncio.ensure_future(node.pool.resolve(Resolve("name.test", 1), "a"))
        await node.network.settle(2)
        cancelled.cancel()
        with pytest.raises(StreamEndedError) as caught:
            await node.pool.resolve(Resolve("name.test", 1), "a")
        assert caught.value.reason is EndReason.TIMEOUT
        (entry,) = [entry for entry in node.pool.pool.entries if entry.isolation]
        assert entry.circuit.mux.is_idle
        for relay in node.network.relays:  # the resolver comes back at last
            for _, answer in relay.targets.lookups:
                answer(Resolved(0))
        await node.network.settle(2)
        assert is_open(entry.circuit)

    with_pool(scenario)


def test_look_up_on_a_dying_circuit_fails() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            relay.targets.answers_lookups = False
        lookup = asyncio.ensure_future(node.pool.resolve(Resolve("name.test", 1), "a"))
        await node.network.settle(2)
        (entry,) = [entry for entry in node.pool.pool.entries if entry.isolation]
        entry.circuit.close()
        with pytest.raises(StreamEndedError):
            await lookup

    with_pool(scenario)


def test_datagrams_go_there_and_back() -> None:
    async def scenario(node: PoolNode) -> None:
        flow = await node.pool.open_datagrams("a")
        reader = FlowReader()
        flow.set_consumer(reader)
        flow.send("203.0.113.9", 53, b"question")
        await node.network.settle(1)
        assert reader.received == [("203.0.113.9", 53, b"question")]

    with_pool(scenario)


def test_datagrams_that_exits_refuse_end_with_policy() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            relay.relay.acceptor = None
        with pytest.raises(StreamEndedError) as caught:
            await node.pool.open_datagrams("a")
        assert caught.value.reason is EndReason.POLICY

    with_pool(scenario)


# --- a network that does not work --------------------------------------------------------------------


def test_dead_network_is_asked_seldom_and_says_so() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            node.network.hub.unreachable.add(relay.host)
        errors = []
        for _ in range(60):  # an application that tries again each second
            before = node.network.loop.time()
            with pytest.raises(OnionUnavailableError) as caught:
                await node.open()
            errors.append((str(caught.value), node.network.loop.time() - before))
            await node.network.settle(1)
        minutes = (node.network.loop.time() - 1000) / 60
        assert len(node.builds) <= 20 + 16 * minutes, "four builds each 15 s"
        assert len(node.network.hub.dials) <= 20 + 8 * minutes
        assert all(took <= 30.1 for _, took in errors)
        assert all("first hop" in text for text, _ in errors)

    with_pool(scenario)


def test_idle_client_on_a_dead_network_asks_seldom() -> None:
    async def scenario(node: PoolNode) -> None:
        for relay in node.network.relays:
            node.network.hub.unreachable.add(relay.host)
        await node.network.settle(3600)
        assert len(node.builds) <= 20 + 3 * 4 * 60
        assert len(node.network.hub.dials) <= 300

    with_pool(scenario)


def test_pause_after_failed_builds_is_the_back_off_and_no_longer() -> None:
    async def scenario(node: PoolNode) -> None:
        hub = node.network.hub
        hub.unreachable.update(relay.host for relay in node.network.relays)
        start = node.network.loop.time()
        await node.network.settle(4)
        rounds = sorted({round(built - start, 2) for built in node.builds})
        assert rounds[:4] == [0.0, 0.25, 0.75, 1.75]
        hub.unreachable.clear()
        await node.network.settle(5)
        assert node.pool.pool.clean == 3

    with_pool(scenario)


def test_timer_that_fires_early_costs_no_sweep() -> None:
    class Ahead:
        """A clock that runs on a little each time it is read, and is behind when a timer has fired."""

        def __init__(self, node: PoolNode) -> None:
            self._loop = node.network.loop
            self._read_at = 0.0
            self._reads = 0

        def now(self) -> float:
            self._reads = self._reads + 1 if self._loop.time() == self._read_at else 0
            self._read_at = self._loop.time()
            return self._read_at - 0.0005 + 0.0004 * self._reads

        def wall(self) -> float:
            return self.now()

    async def scenario(node: PoolNode) -> None:
        node.pool._clock = Ahead(node)
        node.network.hub.unreachable.update(relay.host for relay in node.network.relays)
        node.pool.start()
        await node.network.settle(3.9)
        assert len({round(built, 2) for built in node.builds}) >= 4, "0, 0.25, 0.75, 1.75 s"

    with_pool(scenario, starts=False)


@pytest.mark.parametrize("outage_s", [1, 3, 5, 7])
def test_request_outlives_a_few_seconds_without_a_network(outage_s: int) -> None:
    async def scenario(node: PoolNode) -> None:
        hub = node.network.hub
        hub.unreachable.update(relay.host for relay in node.network.relays)
        opening = asyncio.ensure_future(node.open())
        await node.network.settle(outage_s)
        hub.unreachable.clear()
        start = node.network.loop.time()
        assert (await opening).address
        assert node.network.loop.time() - start < 10

    with_pool(scenario)


def test_guard_whose_link_was_lost_is_left_alone_for_a_while() -> None:
    async def scenario(node: PoolNode) -> None:
        first = node.circuit_of((await node.open()).stream).hops[0].identity
        link = node.client.links.get(first)
        assert link is not None
        link.fail(OSError("silent"))
        second = node.circuit_of((await node.open()).stream).hops[0].identity
        assert second != first
        await node.network.settle(61)
        node.pool.new_identity()
        assert node.circuit_of((await node.open()).stream).hops[0].identity == first

    with_pool(scenario)


def test_network_that_comes_back_is_used_within_seconds() -> None:
    async def scenario(node: PoolNode) -> None:
        hub = node.network.hub
        hub.unreachable.update(relay.host for relay in node.network.relays)
        await node.network.settle(300)
        hub.unreachable.clear()
        await node.network.settle(61)
        assert node.pool.pool.clean == 3

    with_pool(scenario)


def test_one_dead_middle_among_many_costs_no_request() -> None:
    async def scenario(node: PoolNode) -> None:
        middles, others = node.network.relays[:3], node.network.relays[3:]
        node.known = [record_of(relay, capabilities=Capability.RELAY) for relay in middles]
        node.known += [record_of(relay) for relay in others]
        for relay in middles[:2]:
            node.network.hub.unreachable.add(relay.host)
        for number in range(8):
            reader = await node.open(f"key{number}")
            assert reader.address

    with_pool(scenario, 6)


def test_no_relays_known_is_said_at_once_and_repaired_by_news() -> None:
    async def scenario(node: PoolNode) -> None:
        known, node.known = node.known, []
        for _ in range(2):
            with pytest.raises(OnionUnavailableError, match="no relays known yet"):
                await node.open()
        await node.network.settle(100)
        assert len(node.builds) == 0
        node.known = known
        node.pool.relays_changed()
        before = node.network.loop.time()
        assert (await node.open()).address
        assert node.network.loop.time() - before < 1

    with_pool(scenario)


def test_bad_onion_key_in_a_record_costs_one_build_not_the_pool() -> None:
    async def scenario(node: PoolNode) -> None:
        bad = (OnionKey(bytes(32), 1),)  # a low-order point
        node.known = [
            record if index else type(record)(**{**record.__dict__, "onion_keys": bad})
            for index, record in enumerate(node.known)
        ]
        for number in range(6):
            assert (await node.open(f"key{number}")).address
        assert node.pool.failed

    with_pool(scenario, 5)


def test_circuit_destroyed_in_the_moment_of_its_birth_is_not_kept() -> None:
    async def scenario(node: PoolNode) -> None:
        liar = node.network.relays[0]
        assert isinstance(liar, MaliciousRelay)
        node.known = node.known[:1]

        def destroy_too(crossing: Crossing) -> list[bytes] | None:
            if not crossing.is_outgoing or crossing.command != Command.CREATED:
                return None
            destroy = bytearray(crossing.run[:4] + bytes((Command.DESTROY, 1)) + bytes(CELL_SIZE - 6))
            destroy[16] = 1
            return [bytes(crossing.run), bytes(destroy)]

        liar.hook = destroy_too
        await node.network.settle(5)
        assert not list(node.pool.pool.entries)
        liar.hook = lambda _: None
        await node.network.settle(30)
        assert node.pool.pool.clean == 3
        assert all(entry.circuit.state is CircuitState.OPEN for entry in node.pool.pool.entries)

    with_pool(scenario, 1, liars={0: MaliciousRelay}, hops=1)


def test_builds_in_parallel_are_bounded() -> None:
    async def scenario(node: PoolNode) -> None:
        most = 0
        waiting = [asyncio.ensure_future(node.open(f"key{number}")) for number in range(9)]
        for _ in range(200):
            most = max(most, node.pool.pool.building)
            await node.network.settle(0.01)
        await asyncio.gather(*waiting)
        assert most <= service.MAX_PARALLEL_BUILDS

    with_pool(scenario, delay_s=0.05)
