"""A stream on its way to a target that it names itself, by CONNECT (docs/spec/exit.md section 8)."""

from collections.abc import Callable

from vigilnet.traffic.exit.prelude import OK, Prelude, PreludeError, PreludeReader, answer, answer_for
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import EndReason


class PreludeStream:
    """Reads the prelude, then waits for the dial; a `StreamConsumer` until the stream is bridged.

    Args:
        stream: whose client sends it.
        found: called once with what it asks for.
        failed: called once when it names no target, and was answered.
        give_up_at: monotonic seconds; see `is_late`.
    """

    def __init__(
        self,
        stream: Stream,
        found: Callable[["PreludeStream", Prelude], None],
        failed: Callable[["PreludeStream"], None],
        give_up_at: float,
    ) -> None:
        self.stream = stream
        self._found = found
        self._failed = failed
        self._give_up_at = give_up_at
        self._reader = PreludeReader()
        self._is_whole = False
        self._early = bytearray()  # behind the prelude; bounded by the stream's credit, which is not renewed

    def start(self) -> None:
        """Begin to read."""
        self.stream.accept()
        self.stream.set_consumer(self)

    def is_late(self, now: float) -> bool:
        """Whether the client has had its time for the prelude."""
        return not self._is_whole and now >= self._give_up_at

    def refuse(self, reason: EndReason) -> None:
        """Answer that the target was not reached, and end."""
        self._end(answer_for(reason))

    def refuse_late(self) -> None:
        """Answer that it took too long."""
        self._end(answer(408))

    def _end(self, text: bytes) -> None:
        self._is_whole = True
        self.stream.write(text)
        self.stream.close(EndReason.DONE)

    def take_early(self) -> bytes:
        """Answer that the target was reached; return what the client sent behind the prelude."""
        self.stream.write(OK)
        early, self._early = bytes(self._early), bytearray()
        return early

    # --- StreamConsumer -------------------------------------------------------------------------

    def connected(self, address: str, ttl: int) -> None:
        """For clients only."""

    def data_received(self, data: memoryview) -> None:
        """Octets of the prelude, or early ones for the target."""
        if self._is_whole:
            self._early += data
            return
        try:
            prelude = self._reader.feed(data)
        except PreludeError as error:
            self._end(answer(error.status))
            self._failed(self)
            return
        if prelude is None:
            self.stream.consumed(len(data))
            return
        self._is_whole = True
        self._early += prelude.rest
        self.stream.consumed(len(data) - len(prelude.rest))
        self._found(self, prelude)

    def eof_received(self) -> None:
        """Without a whole prelude there is nothing to do."""
        if not self._is_whole:
            self._end(answer(400))
            self._failed(self)

    def stream_closed(self, reason: EndReason) -> None:
        """The dial, if there is one, is given up by the exit's sweep."""
        if not self._is_whole:
            self._is_whole = True
            self._failed(self)

    def writable(self) -> None:
        """Answers are short."""
