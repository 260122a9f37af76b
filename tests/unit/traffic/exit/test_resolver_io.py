import asyncio
import os
from collections.abc import Coroutine
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge_servers import dns_server
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.exit import resolver_io
from vigilnet.traffic.exit.resolver_io import (
    MAX_ANSWER,
    NXDOMAIN,
    RELOAD_S,
    SERVFAIL,
    Resolver,
    hosts_addresses,
)


class HandClock(SystemClock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


A, AAAA, TXT = 1, 28, 16
BOTH = {("x.example", "A"): [["192.0.2.1"]], ("x.example", "AAAA"): [["2001:db8::1"]]}


def test_both_families_are_asked_at_once() -> None:
    async def scenario() -> None:
        async with dns_server(answers=dict(BOTH), ttl=300) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            found = await resolver.addresses("x.example")
            assert found.found == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
            assert found.ttl == 300
            only = await resolver.addresses("x.example", ipv4=False)
            assert only.found == (ip_address("2001:db8::1"),)
            assert (await resolver.addresses("none.example")).found == ()
            await resolver.close()

    run(scenario())


@pytest.mark.parametrize(("ttl", "held"), [(0, 60), (59, 60), (61, 61), (3600, 3600), (86400, 3600)])
def test_ttl_is_held_between_a_minute_and_an_hour(ttl: int, held: int) -> None:
    async def scenario() -> None:
        async with dns_server(answers=dict(BOTH), ttl=ttl) as server:
            clock = HandClock()
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, clock)
            assert (await resolver.lookup("x.example", A)).records[0].ttl == held
            clock.at += held - 1
            await resolver.lookup("x.example", A)
            assert len(server.asked) == 1
            clock.at += 1
            await resolver.lookup("x.example", A)
            assert len(server.asked) == 2
            await resolver.close()

    run(scenario())


def test_many_who_ask_for_one_name_make_one_question() -> None:
    async def scenario() -> None:
        async with dns_server(answers=dict(BOTH)) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            answers = await asyncio.gather(*(resolver.lookup("x.example", A) for _ in range(50)))
            assert len(set(answers)) == 1
            assert len(server.asked) == 1
            await resolver.close()

    run(scenario())


def test_one_who_gives_up_does_not_end_it_for_the_others() -> None:
    async def scenario() -> None:
        async with dns_server(answers=dict(BOTH)) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            loop = asyncio.get_running_loop()
            first = loop.create_task(resolver.lookup("x.example", A))
            second = loop.create_task(resolver.lookup("x.example", A))
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).rcode == 0
            with pytest.raises(asyncio.CancelledError):
                await first
            await resolver.close()

    run(scenario())


def test_names_that_do_not_exist_are_remembered_for_a_minute() -> None:
    async def scenario() -> None:
        async with dns_server() as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            for _ in range(3):
                assert (await resolver.lookup("no.example", A)).rcode == NXDOMAIN
            assert len(server.asked) == 1
            await resolver.close()

    run(scenario())


def test_cache_and_questions_under_way_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(resolver_io, "MAX_CACHED", 2)
        monkeypatch.setattr(resolver_io, "MAX_LOOKUPS", 2)
        async with dns_server() as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            answers = await asyncio.gather(*(resolver.lookup(f"n{n}.example", A) for n in range(3)))
            assert [answer.rcode for answer in answers] == [NXDOMAIN, NXDOMAIN, SERVFAIL]
            await resolver.lookup("n3.example", A)
            assert len(resolver._cache) == 2
            await resolver.lookup("n0.example", A)
            assert len(server.asked) == 4
            await resolver.close()

    run(scenario())


def test_a_long_answer_is_cut() -> None:
    async def scenario() -> None:
        texts = [f'"{n:03}{"x" * 240}"' for n in range(120)]
        async with dns_server(answers={("x.example", "TXT"): [texts]}) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock())
            answer = await resolver.lookup("x.example", TXT)
            assert answer.was_cut
            assert MAX_ANSWER - 400 < len(answer.encode()) <= MAX_ANSWER + 2
            await resolver.close()

    run(scenario())


def test_closing_ends_questions_under_way() -> None:
    async def scenario() -> None:
        async with dns_server(is_silent=True) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 5, HandClock())
            asking = asyncio.get_running_loop().create_task(resolver.lookup("x.example", A))
            await asyncio.sleep(0.01)
            await resolver.close()
            assert (await asking).rcode == SERVFAIL
            assert (await resolver.lookup("y.example", A)).rcode == SERVFAIL

    run(scenario())


def test_system_servers_are_read_again_when_they_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "resolv.conf"
        clock = HandClock()
        resolver = Resolver([], 0.3, clock, system_file=file)
        assert (await resolver.lookup("x.example", A)).rcode == SERVFAIL  # no file at all
        file.write_text("nameserver 192.0.2.53\n")
        clock.at += RELOAD_S
        engine = resolver._current_engine()
        assert engine is not None
        assert engine.nameservers == ["192.0.2.53"]
        clock.at += RELOAD_S
        assert resolver._current_engine() is engine
        file.write_text("nameserver 192.0.2.54\n")
        os.utime(file, (1, 1))
        assert resolver._current_engine() is engine
        clock.at += RELOAD_S
        changed = resolver._current_engine()
        assert changed is not None
        assert changed.nameservers == ["192.0.2.54"]
        await resolver.close()

    run(scenario())


def test_hosts_file() -> None:
    text = "127.0.0.1 localhost\n::1 One two # three\n10.0.0.1\ttwo\nnonsense two\n\n"
    assert hosts_addresses(text, "two") == (ip_address("::1"), ip_address("10.0.0.1"))
    assert hosts_addresses(text, "one") == (ip_address("::1"),)
    assert hosts_addresses(text, "three") == ()


def test_a_hosts_file_that_is_not_there_names_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with dns_server(answers=dict(BOTH)) as server:
            resolver = Resolver([f"127.0.0.1:{server.port}"], 2, HandClock(), tmp_path / "none")
            assert len((await resolver.addresses("x.example")).found) == 2
            assert ip_address("127.0.0.1") in (await resolver.addresses("localhost")).found
            await resolver.close()

    run(scenario())


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_server_texts(text: str, host: str, port: int) -> None:
    server = Resolver([text], 1, HandClock())._servers[0]
    assert (server.address, server.port) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:70000", "[::1", "1:2:3"]
)
def test_wrong_servers_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="exit resolver"):
        Resolver([text], 1, HandClock())
