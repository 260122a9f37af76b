"""A sample transport: octets XORed with a mask from the relay's record. It hides nothing from anybody."""

from collections.abc import Callable, Mapping, Sequence

from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind, CarrierUser, Listener
from vigilnet.traffic.transport.pluggable.plugin import PluginContext
from vigilnet.traffic.transport.tcp_io import TcpTransport

MASK = 1  # the key of our param; 0 is the transport's name


class MaskedCarrier:
    """Stands between a plain carrier and the link: serves `Carrier` to the link, `CarrierUser` to TCP."""

    kind = CarrierKind.PLUGGABLE
    binding = bytes(32)
    has_tls_records = False

    def __init__(self, below: Carrier, mask: int) -> None:
        self._below = below
        self._table = bytes(octet ^ mask for octet in range(256))
        self._user: CarrierUser | None = None
        self._buffer = memoryview(b"")

    @property
    def remote_host(self) -> str:
        return self._below.remote_host

    def start(self, user: CarrierUser) -> None:
        self._user = user
        self._below.start(self)

    def write(self, parts: Sequence[memoryview | bytes]) -> bool:
        return self._below.write([bytes(part).translate(self._table) for part in parts])

    def close(self) -> None:
        self._below.close()

    def receive_buffer(self) -> memoryview:
        assert self._user is not None  # noqa: S101 nothing is received before `start`
        self._buffer = self._user.receive_buffer()
        return self._buffer

    def octets_received(self, count: int) -> None:
        assert self._user is not None  # noqa: S101
        self._buffer[:count] = bytes(self._buffer[:count]).translate(self._table)
        self._user.octets_received(count)

    def carrier_writable(self) -> None:
        if self._user is not None:
            self._user.carrier_writable()

    def carrier_closed(self, error: OSError | None) -> None:
        if self._user is not None:
            self._user.carrier_closed(error)


class MaskedTransport:
    """Serves `Plugin`."""

    def __init__(self, mask: int) -> None:
        self._mask = mask
        self._tcp = TcpTransport()

    def address_params(self) -> Mapping[int, object]:
        return {MASK: self._mask}

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        mask = params.get(MASK)
        if not isinstance(mask, int) or not 0 <= mask < 256:
            raise ConnectionAbortedError("masked: no mask in the address")
        return MaskedCarrier(await self._tcp.dial(host, port), mask)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> Listener:
        return await self._tcp.listen(host, port, lambda below: accept(MaskedCarrier(below, self._mask)))


def make(context: PluginContext) -> MaskedTransport:
    """What the entry point names."""
    return MaskedTransport(int(context.options.get("mask", "0x55"), 16))
