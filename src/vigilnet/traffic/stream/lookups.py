"""The look-ups of names of one circuit at one of its ends (sans-IO; docs/spec/circuit.md section 6)."""

from collections.abc import Callable

from vigilnet.traffic.stream.late import ClosedStreams, LateMessages
from vigilnet.traffic.stream.messages import Resolve, Resolved
from vigilnet.traffic.stream.outbox import Outbox
from vigilnet.traffic.stream.wire import MAX_BODY, EndReason, MessageType

Answer = Callable[[Resolved | EndReason], None]


class Lookups:
    """Those that nobody has answered yet.

    Args:
        outbox: takes what is sent.
        closed: remembers what is over.
        clock: monotonic seconds.
    """

    def __init__(self, outbox: Outbox, closed: ClosedStreams, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._closed = closed
        self._clock = clock
        self.open: dict[int, Answer] = {}

    def ask(self, identifier: int, request: Resolve, answer: Answer) -> None:
        """Send RESOLVE; `answer` is called once, with a reason if it fails."""
        self.open[identifier] = answer
        self._outbox.queue(MessageType.RESOLVE, identifier, request.encode())

    def abandon(self, identifier: int, end: bytes) -> None:
        """Wait for an answer no longer, and send `end`; an answer that is on its way is dropped."""
        if self.open.pop(identifier, None) is not None:
            self._outbox.queue(MessageType.END, identifier, end)
            self._closed.remember(
                identifier, LateMessages(self._clock(), ends=1, others={MessageType.RESOLVED: 1})
            )

    def serve(self, identifier: int, request: Resolve, resolve: Callable[..., None]) -> None:
        """Have `resolve` answer a request that came; an answer to one that has ended is dropped."""
        self.open[identifier] = lambda _: None

        def answer(resolved: Resolved) -> None:
            if self.open.pop(identifier, None) is not None:
                body = resolved.encode()
                if len(body) > MAX_BODY[7]:
                    body = Resolved(resolved.rcode, was_cut=True).encode()
                self._outbox.queue(MessageType.RESOLVED, identifier, body)
                self._closed.remember(identifier, LateMessages(self._clock(), ends=1))

        resolve(request, answer)

    def answered(self, identifier: int, resolved: Resolved) -> None:
        """RESOLVED came."""
        answer = self.open.pop(identifier, None)
        if answer is None:
            self._closed.late(identifier).take(MessageType.RESOLVED)
        else:
            self._closed.remember(identifier, LateMessages(self._clock()))
            answer(resolved)

    def end(self, identifier: int, reason: EndReason) -> bool:
        """END came; return whether it was for one that is open."""
        answer = self.open.pop(identifier, None)
        if answer is None:
            return False
        self._closed.remember(identifier, LateMessages(self._clock()))
        answer(reason)
        return True

    def take_all(self) -> list[Answer]:
        """The circuit is gone: forget all look-ups, and return who is to be told."""
        answers, self.open = self.open, {}
        return list(answers.values())
