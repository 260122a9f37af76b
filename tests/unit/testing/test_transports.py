"""The contract on our own transports, on the sample plug-in as others would run it, and on broken ones."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vigilnet.base.clock import SystemClock
from vigilnet.testing import transports
from vigilnet.testing.transports import ContractUser, TransportContract
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, Transport
from vigilnet.traffic.transport.shadowsocks.methods import secret_from
from vigilnet.traffic.transport.shadowsocks.shadowsocks_io import Server, ShadowsocksTransport
from vigilnet.traffic.transport.tcp_io import TcpListener, TcpTransport

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "docs" / "sample-plugin"
METHOD, WORD = "chacha20-ietf-poly1305", "a password"


class TestTcp(TransportContract):
    kind = CarrierKind.PLAIN

    def make(self) -> Transport:
        return TcpTransport()


class TestTcp6(TestTcp):
    host = "::1"


class TestShadowsocks(TransportContract):
    kind = CarrierKind.SHADOWSOCKS

    def make(self) -> Transport:
        clock = SystemClock()
        return ShadowsocksTransport(
            clock, os.urandom, Server(secret_from(METHOD, WORD), clock, os.urandom, 64)
        )

    def params_of(self, transport: Transport) -> Mapping[int, object]:
        return {0: METHOD, 1: WORD}


class Losing(TcpTransport):
    """Loses octets, and says that it is HTX."""

    def __init__(self) -> None:
        super().__init__(CarrierKind.HTX_BORROWED)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> TcpListener:
        def taken(carrier: Carrier) -> None:
            write = carrier.write
            carrier.write = lambda parts: write(parts[:-1])  # type: ignore[method-assign]
            accept(carrier)

        return await super().listen(host, port, taken)

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        assert params == {0: "contract"}
        return await super().dial(host, port)


class LosingContract(TransportContract):
    def make(self) -> Transport:
        return Losing()


def test_a_transport_that_breaks_the_contract_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "PATIENCE_S", 0.5)
    with pytest.raises(AssertionError, match="kind is"):
        LosingContract().test_carriers_say_what_they_are()
    with pytest.raises(AssertionError, match="octets here: not after"):
        LosingContract().test_octets_arrive_in_order_both_ways()
    with pytest.raises(NotImplementedError):
        TransportContract().test_a_taken_port_is_an_os_error()


def test_a_user_told_twice_or_too_late_complains() -> None:
    user = ContractUser()
    user.carrier_closed(None)
    with pytest.raises(AssertionError, match="twice"):
        user.carrier_closed(None)
    with pytest.raises(AssertionError, match="behind"):
        user.octets_received(1)


@pytest.mark.slow
def test_the_sample_is_installed_loaded_and_keeps_the_contract(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, "--target", str(tmp_path / "site"), str(SAMPLE)], check=True, cwd=tmp_path, timeout=120
    )
    paths = os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": paths}
    program = (
        "import os, pathlib;"
        "from vigilnet.node.plugins import load_plugins;"
        "from vigilnet.traffic.transport.pluggable.options import Options;"
        "options = Options(plugins=('masked',), plugin_options=('masked = mask=0x11',));"
        "print(load_plugins(options, pathlib.Path('.'), os.urandom)['masked'].address_params())"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert loaded.stdout == "{1: 17}\n"
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SAMPLE / "test_masked.py")]
    ran = subprocess.run(
        tests, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout
    assert "11 passed" in ran.stdout, ran.stdout
