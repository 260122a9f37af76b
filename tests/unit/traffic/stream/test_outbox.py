"""The outbox by itself; what it does for a whole circuit is in test_mux."""

from tests.support.mux_pair import ListCarriage
from vigilnet.traffic.stream.outbox import SENDME_INTERVAL_S, MuxOptions, Outbox


def test_a_timer_that_fires_early_does_not_leave_a_sendme_unpaid() -> None:
    """A one-hop download stood still for ever: uvloop's timers may fire up to a tick early."""
    carriage = ListCarriage()
    outbox = Outbox(carriage, MuxOptions(), 0.0, lambda stream: None)
    outbox.owe_sendme(28, bytes(16), 1.0)
    assert outbox.pull(1.0) is not None, "the first is paid at once"
    outbox.owe_sendme(56, bytes(16), 1.0)
    carriage.later.clear()
    assert outbox.pull(1.0 + SENDME_INTERVAL_S / 4) is None
    assert carriage.later, "asked to be pulled again"
    assert outbox.pull(1.0 + SENDME_INTERVAL_S) is not None
