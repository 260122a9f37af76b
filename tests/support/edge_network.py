"""A network of one wire: the real mux at both ends and the real exit, with no onion between them.

    async with DirectNetwork(exit_options) as network:
        stream = await network.open_stream(Target("127.0.0.1", port), "")

`network` serves the proxies' `Dialler`. Requests of one isolation key share a circuit.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from vigilnet.base.clock import Clock, SystemClock
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.cell import CELL_SIZE, TAG_ROOM
from vigilnet.traffic.exit.options import Options
from vigilnet.traffic.exit.service import ExitService
from vigilnet.traffic.ingress.begun_io import BegunByTask
from vigilnet.traffic.ingress.ports import OnionUnavailableError, Opening, StreamTold
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow, Flow
from vigilnet.traffic.stream.messages import BeginFlag, Resolve, Resolved, Target
from vigilnet.traffic.stream.mux import Acceptor, StreamMux
from vigilnet.traffic.stream.outbox import MuxOptions
from vigilnet.traffic.stream.stream import Stream, StreamEndedError
from vigilnet.traffic.stream.wire import AREA_AT, AREA_SIZES, EndReason, split_area

UDP = Target("", 0, 17, BeginFlag.IPV4_OK | BeginFlag.IPV6_OK)
OPEN_EXIT = Options(enabled=True, policy="open", allow_private_targets=True)


class _End:
    """One end of the wire; a mux's `Carriage`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._is_woken = False
        self._sealed: list[tuple[bytes, int, bytes]] = []
        self._count = 0
        self.mux: StreamMux
        self.far: _End

    def new_record(self, cells: int) -> memoryview:
        return memoryview(bytearray(AREA_AT + AREA_SIZES[cells] + 2 * TAG_ROOM + CELL_SIZE))

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        self._count += 1
        tag = self._count.to_bytes(16)
        self._sealed.append((bytes(record[AREA_AT : AREA_AT + AREA_SIZES[cells]]), cells, tag))
        return record, tag

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._run)

    def wake_later(self, delay: float) -> None:
        self._loop.call_later(delay, self.wake)

    def failed(self, error: Exception) -> None:
        raise error

    def _run(self) -> None:
        self._is_woken = False
        now = self._clock.now()
        for _ in range(16):
            if self.mux.pull(now) is None:
                break
        else:
            self.wake()
        sealed, self._sealed = self._sealed, []
        for area, cells, tag in sealed:
            self.far.mux.receive(split_area(memoryview(area)), tag, cells, now)


class DirectCircuit:
    """A client's mux joined to an exit's."""

    def __init__(self, acceptor: Acceptor | None, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        near, far = _End(loop, clock), _End(loop, clock)
        near.far, far.far = far, near
        self.client = near.mux = StreamMux(near, MuxOptions(), clock.now, acceptor=None, is_client=True)
        self.exit = far.mux = StreamMux(far, MuxOptions(), clock.now, acceptor=acceptor, is_client=False)

    def close(self) -> None:
        self.client.close()
        self.exit.close()


class DirectNetwork:
    """Serves the proxies' `Dialler` with a real exit."""

    def __init__(
        self, options: Options = OPEN_EXIT, clock: Clock | None = None, hosts_file: Path = Path("/dev/null")
    ) -> None:
        self.clock = clock or SystemClock()
        self.exit = ExitService(options, self.clock, hosts_file)
        self.tasks = TaskGroup("direct network")
        self.circuits: dict[str, list[DirectCircuit]] = {}
        self.is_down = False
        self.down_reason: EndReason | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for circuits in self.circuits.values():
            for circuit in circuits:
                circuit.close()
        await self.exit.close()
        await self.tasks.close()
        assert self.exit._tasks.failures == self.tasks.failures == []

    def circuit(self, isolation: str) -> DirectCircuit:
        """The circuit that requests of this key get."""
        if self.is_down:
            raise OnionUnavailableError("no circuit", self.down_reason)
        circuits = self.circuits.setdefault(isolation, [])
        for circuit in circuits:
            if circuit.client.can_open:
                return circuit
        circuits.append(DirectCircuit(self.exit, self.clock))
        return circuits[-1]

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening:
        return BegunByTask(self.tasks, self.open_stream(target, isolation, early), told)

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        stream = self.circuit(isolation).client.open_stream(target, early)
        await _wait_open(stream)
        return stream

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        answered: asyncio.Future[Resolved | EndReason] = asyncio.get_running_loop().create_future()
        self.circuit(isolation).client.resolve(
            request, lambda answer: None if answered.done() else answered.set_result(answer)
        )
        answer = await answered
        if isinstance(answer, EndReason):
            raise StreamEndedError(answer)
        return answer

    async def open_datagrams(self, isolation: str, target: Target = UDP) -> DatagramFlow:
        flow = self.circuit(isolation).client.open_datagrams(target)
        await _wait_open(flow)
        return flow

    async def open_echo(self, target: Target, isolation: str) -> EchoFlow:
        flow = self.circuit(isolation).client.open_echo(target)
        await _wait_open(flow)
        return flow


async def _wait_open(opening: Stream | Flow) -> None:
    answered: asyncio.Future[EndReason | None] = asyncio.get_running_loop().create_future()
    set_result: Callable[[EndReason | None], None] = answered.set_result
    opening.on_opened = lambda reason: None if answered.done() else set_result(reason)
    try:
        reason = await answered
    except asyncio.CancelledError:
        opening.close(EndReason.RESET)
        raise
    finally:
        opening.on_opened = None
    if reason is not None:
        raise StreamEndedError(reason)
