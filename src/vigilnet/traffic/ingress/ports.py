"""What the proxies need from above: streams, answers and datagrams (served by `routing.circuits`)."""

from collections.abc import Callable
from typing import Protocol

from vigilnet.base.errors import ErrorKind, VigilnetError
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.messages import Resolve, Resolved, Target
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason


class OnionUnavailableError(VigilnetError):
    """No circuit can be had now: no relays known, none reachable, or no exit for this target.

    Args:
        message: why.
        reason: what the application is told; None: a general failure, POLICY: no exit serves the target.
    """

    kind = ErrorKind.UNREACHABLE

    def __init__(self, message: str, reason: EndReason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


StreamTold = Callable[[Stream | VigilnetError], None]
"""Hears of a stream once the exit has reached its target, or why there is none (`Dialler.open_stream`)."""


class Opening(Protocol):
    """A stream on its way to be opened."""

    def cancel(self) -> None:
        """Give up without a word; safe to call at any time."""
        ...


class Dialler(Protocol):
    """Opens streams on circuits. Requests with different `isolation` keys never share a circuit."""

    def begin_stream(self, target: Target, isolation: str, early: bytes, told: StreamTold) -> Opening:
        """As `open_stream`, without a task: `told` is called once, after this returned, unless cancelled."""
        ...

    async def open_stream(self, target: Target, isolation: str, early: bytes = b"") -> Stream:
        """Return a stream once the exit has reached `target`; `early` is sent along with the request.

        Raises:
            StreamEndedError: the exit refused, or did not reach the target.
            OnionUnavailableError: no circuit.
        """
        ...

    async def resolve(self, request: Resolve, isolation: str) -> Resolved:
        """Return what the exit's resolver says.

        Raises:
            StreamEndedError, OnionUnavailableError: as above.
        """
        ...

    async def open_datagrams(self, isolation: str) -> DatagramFlow:
        """Return a flow for UDP to any target, once an exit serves it.

        Raises:
            StreamEndedError, OnionUnavailableError: as above.
        """
        ...
