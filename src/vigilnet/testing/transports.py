"""The contract of a transport as tests: subclass it, say how yours is made, run pytest (docs/plugins.md).

    class TestMine(TransportContract):
        def make(self) -> Plugin:
            return make(self.context())

Everything runs on loopback, over real sockets.
"""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import LocalProtocolError
from vigilnet.peer.address import PeerAddress, TransportKind
from vigilnet.traffic.transport.carrier import Carrier, CarrierKind, Listener, Transport
from vigilnet.traffic.transport.pluggable.plugin import PluginContext

PATIENCE_S: Final = 20.0
NAME: Final = "contract"


class ContractUser:
    """A link's side of a carrier: keeps what comes and what is told."""

    def __init__(self, buffer: int = 65_536) -> None:
        self.received = bytearray()
        self.closed: list[OSError | None] = []
        self.writable = 0
        self._buffer = memoryview(bytearray(buffer))

    def receive_buffer(self) -> memoryview:
        """As `CarrierUser` says."""
        return self._buffer

    def octets_received(self, count: int) -> None:
        """As `CarrierUser` says."""
        _check(0 < count <= len(self._buffer), f"{count} octets into a buffer of {len(self._buffer)}")
        _check(not self.closed, "octets behind carrier_closed")
        self.received += self._buffer[:count]

    def carrier_writable(self) -> None:
        """As `CarrierUser` says."""
        self.writable += 1

    def carrier_closed(self, error: OSError | None) -> None:
        """As `CarrierUser` says."""
        self.closed.append(error)
        _check(len(self.closed) == 1, "carrier_closed told twice")


class Ends:
    """Both ends of one carrier, with users."""

    def __init__(self, dialled: Carrier, accepted: Carrier, buffer: int = 65_536) -> None:
        self.dialled, self.accepted = dialled, accepted
        self.here, self.there = ContractUser(buffer), ContractUser(buffer)


class TransportContract:
    """What links rely on. Override `make`, and `kind` for anything but a plug-in."""

    kind: CarrierKind = CarrierKind.PLUGGABLE
    host = "127.0.0.1"
    first = b"a link's dialler speaks first"

    def make(self) -> Transport:
        """Return a new transport; called inside the running event loop."""
        raise NotImplementedError

    def params_of(self, transport: Transport) -> Mapping[int, object]:
        """Return what `dial` is given: the transport's own params with its name before them."""
        given: Mapping[int, object] = getattr(transport, "address_params", dict)()
        return {0: NAME, **given}

    def context(self, **options: str) -> PluginContext:
        """Return a context for `make`, with a folder that is not there yet."""
        return PluginContext(Path(tempfile.gettempdir()) / f"contract-{os.getpid()}", os.urandom, options)

    # --- the contract ---------------------------------------------------------------------------

    def test_octets_arrive_in_order_both_ways(self) -> None:
        """Whatever the sizes of parts, and whatever they are made of."""

        async def scenario() -> None:
            async with self._ends() as ends:
                out = [os.urandom(size) for size in (1, 2, 16_401, 70_000, 3, 200_000)]
                for data in out:
                    ends.dialled.write([data[:1], memoryview(data)[1:]])
                    ends.accepted.write([memoryview(bytearray(data))])
                whole = self.first + b"".join(out)
                await _until(lambda: len(ends.there.received) >= len(whole), "octets at the listening end")
                await _until(lambda: len(ends.here.received) >= len(whole) - len(self.first), "octets here")
                _check(bytes(ends.there.received) == whole, "octets differ at the listening end")
                _check(bytes(ends.here.received) == b"".join(out), "octets differ at the dialling end")

        self._run(scenario())

    def test_small_buffers_lose_nothing(self) -> None:
        """The user's buffer may be smaller than what has come."""

        async def scenario() -> None:
            async with self._ends(buffer=7) as ends:
                data = os.urandom(5_000)
                ends.dialled.write([data])
                await _until(lambda: len(ends.there.received) >= len(data) + len(self.first), "octets")
                _check(bytes(ends.there.received) == self.first + data, "octets differ")

        self._run(scenario())

    def test_a_full_carrier_says_so_and_says_when_it_is_not(self) -> None:
        """`write` gives False when it keeps octets, `carrier_writable` follows, and nothing is lost."""

        async def scenario() -> None:
            async with self._ends() as ends:
                data, sent = os.urandom(65_536), 0
                for _ in range(64):
                    waits = ends.here.writable
                    sent += len(data)
                    if not ends.dialled.write([data]):
                        await _until(lambda waits=waits: ends.here.writable > waits, "carrier_writable")  # type: ignore[misc]
                await _until(lambda: len(ends.there.received) >= sent + len(self.first), "octets")

        self._run(scenario())

    def test_what_was_written_before_a_close_arrives(self) -> None:
        """Both ends hear once that it closed; calls after that do no harm."""

        async def scenario() -> None:
            async with self._ends() as ends:
                data = os.urandom(300_000)
                ends.dialled.write([data])
                ends.dialled.close()
                ends.dialled.close()
                await _until(lambda: bool(ends.there.closed), "the listening end hears of the close")
                _check(bytes(ends.there.received) == self.first + data, "octets lost by a close")
                ends.accepted.close()
                await _until(lambda: bool(ends.here.closed), "the dialling end hears of the close")
                ends.dialled.write([b"late"])
                ends.accepted.write([b"late"])

        self._run(scenario())

    def test_the_listening_end_may_close_first(self) -> None:
        """The same from the other side."""

        async def scenario() -> None:
            async with self._ends() as ends:
                ends.accepted.write([b"bye"])
                ends.accepted.close()
                await _until(lambda: bool(ends.here.closed), "the dialling end hears of the close")
                _check(bytes(ends.here.received) == b"bye", "octets lost by a close")

        self._run(scenario())

    def test_many_links_do_not_disturb_each_other(self) -> None:
        """Each has its own octets."""

        async def scenario() -> None:
            transport = self.make()
            accepted: list[tuple[Carrier, ContractUser]] = []
            listener = await transport.listen(self.host, 0, lambda carrier: accepted.append(_taken(carrier)))
            dialled = []
            for number in range(8):
                carrier = await transport.dial(self.host, listener.port, self.params_of(transport))
                user = ContractUser()
                carrier.start(user)
                carrier.write([bytes((number,)) * 50_000])
                dialled.append((carrier, user))
            await _until(
                lambda: len(accepted) == 8 and all(len(user.received) == 50_000 for _, user in accepted),
                "octets of 8 links",
            )
            _check(
                {bytes(user.received[:1]) for _, user in accepted} == {bytes((n,)) for n in range(8)},
                "mixed up",
            )
            _check(all(len(set(user.received)) == 1 for _, user in accepted), "mixed up")
            listener.close()
            await _close(*dialled, *accepted)

        self._run(scenario())

    def test_carriers_say_what_they_are(self) -> None:
        """Kind, binding, record headers and the neighbour's address, the same or mirrored at both ends."""

        async def scenario() -> None:
            async with self._ends() as ends:
                for carrier in (ends.dialled, ends.accepted):
                    _check(carrier.kind is self.kind, f"kind is {carrier.kind!r}, not {self.kind!r}")
                    _check(len(carrier.binding) == 32, "binding is not 32 octets")
                    _check(carrier.remote_host == self.host, "remote_host is not the neighbour's address")
                _check(ends.dialled.binding == ends.accepted.binding, "bindings differ")
                _check(ends.dialled.has_tls_records == ends.accepted.has_tls_records, "frame headers differ")

        self._run(scenario())

    def test_nobody_there_is_an_os_error(self) -> None:
        """A port where nobody listens, and one whose listener closed."""

        async def scenario() -> None:
            transport = self.make()
            listener = await transport.listen(self.host, 0, lambda _: None)
            port = listener.port
            listener.close()
            await asyncio.sleep(0)
            try:
                carrier = await asyncio.wait_for(
                    transport.dial(self.host, port, self.params_of(transport)), PATIENCE_S
                )
            except OSError:
                return
            carrier.close()
            _check(is_true=False, what="dial succeeds where nobody listens")

        self._run(scenario())

    def test_a_taken_port_is_an_os_error(self) -> None:
        """Listening twice at one port."""

        async def scenario() -> None:
            transport = self.make()
            listener = await transport.listen(self.host, 0, lambda _: None)
            try:
                again = await self.make().listen(self.host, listener.port, lambda _: None)
            except OSError:
                return
            finally:
                listener.close()
            again.close()
            _check(is_true=False, what="two listeners at one port")

        self._run(scenario())

    def test_strangers_do_no_harm(self) -> None:
        """Whoever connects and says anything at all, or nothing, keeps nobody else out."""

        async def scenario() -> None:
            async with self._ends() as ends:
                strangers = [self._stranger(ends_port) for ends_port in [self._port] * 4]
                await asyncio.sleep(0.05)
                data = os.urandom(10_000)
                ends.dialled.write([data])
                await _until(lambda: len(ends.there.received) >= len(data) + len(self.first), "octets")
                for sock in strangers:
                    sock.close()

        self._run(scenario())

    def test_params_fit_into_a_record(self) -> None:
        """Canonical CBOR values, keys from 1 on, within an address's 256 octets."""

        async def scenario() -> None:
            transport = self.make()
            listener = await transport.listen(self.host, 0, lambda _: None)
            listener.close()
            params = self.params_of(transport)
            _check(all(key >= 0 for key in params), "keys are no numbers from 0 on")
            try:
                PeerAddress.build(TransportKind.PLUGGABLE, self.host, 1, params)  # type: ignore[arg-type]
            except LocalProtocolError as error:
                raise AssertionError(f"params do not fit: {error}") from error
            _check(_size(list(params.items())) <= 200, "params take more than 200 octets")

        self._run(scenario())

    # --- how it is run --------------------------------------------------------------------------

    _port = 0

    def _stranger(self, port: int) -> socket.socket:
        sock = socket.create_connection((self.host, port))
        sock.send(os.urandom(64))
        return sock

    @asynccontextmanager
    async def _ends(self, buffer: int = 65_536) -> AsyncIterator[Ends]:
        """Give both ends of one carrier, the dialler having spoken."""
        transport = self.make()
        accepted: asyncio.Queue[Carrier] = asyncio.Queue()
        listener: Listener = await transport.listen(self.host, 0, accepted.put_nowait)
        self._port = listener.port
        opened: list[tuple[Carrier, ContractUser]] = []
        try:
            params = self.params_of(transport)
            dialled = await asyncio.wait_for(transport.dial(self.host, listener.port, params), PATIENCE_S)
            here = ContractUser(buffer)
            opened.append((dialled, here))
            dialled.start(here)
            dialled.write([self.first])
            ends = Ends(dialled, await asyncio.wait_for(accepted.get(), PATIENCE_S), buffer)
            ends.here = here
            opened.append((ends.accepted, ends.there))
            ends.accepted.start(ends.there)
            await _until(lambda: len(ends.there.received) >= len(self.first), "the first octets")
            yield ends
        except BaseException:
            with contextlib.suppress(AssertionError):
                await _close(*opened)
            raise
        finally:
            listener.close()
            opened += [_taken(accepted.get_nowait()) for _ in range(accepted.qsize())]  # strangers
        await _close(*opened)

    def _run(self, scenario: Coroutine[Any, Any, None]) -> None:
        asyncio.run(asyncio.wait_for(scenario, 3 * PATIENCE_S))


def _taken(carrier: Carrier) -> tuple[Carrier, ContractUser]:
    user = ContractUser()
    carrier.start(user)
    return carrier, user


async def _close(*carriers: tuple[Carrier, ContractUser]) -> None:
    for carrier, _ in carriers:
        carrier.close()
    await _until(lambda: all(user.closed for _, user in carriers), "carriers close")


async def _until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 a transport of others: nobody tells us
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not after {PATIENCE_S} s") from None


def _check(is_true: bool, what: str) -> None:
    if not is_true:
        raise AssertionError(what)


def _size(value: object) -> int:
    """An upper bound of what a value takes in CBOR."""
    if isinstance(value, str | bytes):
        return len(value) + 3
    if isinstance(value, Sequence):
        return 3 + sum(map(_size, value))
    return 9
