"""Managed proxies as processes: shell scripts that say what a proxy may say, and a real one."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.carriers import until
from tests.support.needs import needs_programs
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.transport.pluggable import process_io
from vigilnet.traffic.transport.pluggable.messages import ProxyOutput, client_environment
from vigilnet.traffic.transport.pluggable.process_io import ManagedProxy

READY = "echo VERSION 1; echo CMETHOD x socks5 127.0.0.1:9; echo CMETHODS DONE; "


def proxy(script: str, tmp_path: Path) -> ManagedProxy:
    state = tmp_path / "state"
    environment = client_environment(["x"], str(state))
    return ManagedProxy(("/bin/sh", "-c", script), environment, state, ProxyOutput(["x"], is_server=False))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_proxy_gets_its_environment_and_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGILNET_SECRET", "x")

    async def scenario() -> None:
        ours = proxy(f"env > {tmp_path}/env; pwd >> {tmp_path}/env; {READY} cat", tmp_path)
        await ours.start(10)
        assert ours.is_running
        assert ours.output.client_methods["x"].port == 9
        await ours.close()
        await ours.close()
        assert not ours.is_running

    asyncio.run(scenario())
    lines = (tmp_path / "env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert "TOR_PT_MANAGED_TRANSPORT_VER=1" in lines
    assert "VIGILNET_SECRET" not in names
    assert str(tmp_path / "state") in lines
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "ended before"),
        ("echo VERSION 2; cat", "version 2"),
        ("echo ENV-ERROR no state; cat", "no state"),
        ("head -c 100000 /dev/zero; cat", "limit"),
        ("cat", "not ready in time"),
    ],
)
def test_a_proxy_that_does_not_get_ready_is_ended(script: str, said: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        ours = proxy(script, tmp_path)
        with pytest.raises(EnvironmentRefusedError, match=said):
            await ours.start(0.3 if script == "cat" else 10)
        assert not ours.is_running

    asyncio.run(scenario())


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    ours = ManagedProxy(("/nowhere/obfs4",), {}, tmp_path / "s", ProxyOutput(["x"], is_server=False))
    with pytest.raises(EnvironmentRefusedError, match="/nowhere/obfs4: cannot be started"):
        asyncio.run(ours.start(1))


def test_its_end_is_told_and_what_it_says_is_read_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        ended = asyncio.Event()
        ours = proxy(READY + "head -c 300000 /dev/zero | tr '\\0' '\\n'; echo LOG x", tmp_path)
        ours.on_ended = ended.set
        await ours.start(10)
        async with asyncio.timeout(60):
            await ended.wait()
        assert not ours.is_running
        await ours.close()

    asyncio.run(scenario())


def test_a_proxy_that_does_not_want_to_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_io, "STOP_S", 0.05)

    async def scenario() -> None:
        ours = proxy(f"trap '' TERM; echo $$ > {tmp_path}/pid; {READY} while :; do sleep 0.1; done", tmp_path)
        await ours.start(10)
        await ours.close()
        assert not is_alive(int((tmp_path / "pid").read_text()))

    asyncio.run(scenario())


@needs_programs("snowflake-client")
def test_debians_snowflake_client_starts(tmp_path: Path) -> None:
    """Started and heard out; it is not asked to connect, for its broker is not on this machine."""

    async def scenario() -> None:
        state = tmp_path / "state"
        output = ProxyOutput(["snowflake"], is_server=False)
        environment = client_environment(["snowflake"], str(state))
        ours = ManagedProxy(("snowflake-client", "-url", "http://127.0.0.1:1/"), environment, state, output)
        await ours.start(20)
        assert output.client_methods["snowflake"].version == 5
        await ours.close()

    asyncio.run(scenario())


def test_a_proxy_does_not_outlive_us(tmp_path: Path) -> None:
    """Its standard input ends with us, however we end; programs of this interface then end."""

    async def scenario() -> None:
        ours = proxy(f"echo $$ > {tmp_path}/pid; {READY} cat", tmp_path)
        await ours.start(10)
        os._exit(0)

    child = os.fork()
    if child == 0:
        asyncio.run(scenario())
    os.waitpid(child, 0)
    asyncio.run(until(lambda: not is_alive(int((tmp_path / "pid").read_text()))))
