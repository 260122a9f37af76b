from vigilnet.traffic.transport.htx.relays_met import (
    CLOCK_AGREES_S,
    INTERCEPTED_S,
    LEAST_PAUSE_S,
    MAX_RELAYS,
    MOST_PAUSE_S,
    Advice,
    RelaysMet,
)

PLACE = ("192.0.2.1", 443, bytes(32))
OTHER = ("192.0.2.2", 443, bytes(32))


def test_after_one_failure_the_clock_is_read_and_after_two_there_is_a_pause() -> None:
    relays = RelaysMet()
    assert relays.advice(PLACE, 0) is Advice.DIAL
    relays.did_not_answer(PLACE, 0)
    assert relays.advice(PLACE, 0) is Advice.READ_CLOCK
    relays.did_not_answer(PLACE, 1)
    assert relays.advice(PLACE, 1 + LEAST_PAUSE_S - 0.1) is Advice.WAIT
    assert relays.advice(PLACE, 1 + LEAST_PAUSE_S) is Advice.READ_CLOCK
    assert relays.advice(OTHER, 1) is Advice.DIAL


def test_pauses_grow_up_to_an_hour_and_end_with_an_answer() -> None:
    relays, now = RelaysMet(), 0.0
    for _ in range(30):
        relays.did_not_answer(PLACE, now)
    assert relays.advice(PLACE, now + MOST_PAUSE_S - 1) is Advice.WAIT
    assert relays.advice(PLACE, now + MOST_PAUSE_S) is Advice.READ_CLOCK
    relays.answered(PLACE)
    assert relays.advice(PLACE, now) is Advice.DIAL


def test_the_origin_s_clock_counts_for_this_relay_alone() -> None:
    relays = RelaysMet()
    assert relays.offset_s(PLACE) == 0
    relays.clock_read(PLACE, 5000.0, 1000.0)
    assert relays.offset_s(PLACE) == 4000
    assert relays.offset_s(OTHER) == 0
    relays.clock_read(PLACE, None, 1000.0)
    assert relays.offset_s(PLACE) == 4000
    relays.clock_read(PLACE, 1000.0 + CLOCK_AGREES_S, 1000.0)
    assert relays.offset_s(PLACE) == 0


def test_an_intercepted_relay_is_left_alone_for_an_hour() -> None:
    relays = RelaysMet()
    relays.intercepted(PLACE, 10)
    assert relays.advice(PLACE, 9 + INTERCEPTED_S) is Advice.WAIT
    assert relays.count_intercepted(9 + INTERCEPTED_S) == 1
    assert relays.advice(PLACE, 10 + INTERCEPTED_S) is Advice.DIAL
    assert relays.count_intercepted(10 + INTERCEPTED_S) == 0


def test_another_protocol_than_before_is_noticed_for_each_template() -> None:
    relays = RelaysMet()
    assert not relays.is_new_alpn(PLACE, "chromium", b"h2")
    assert not relays.is_new_alpn(PLACE, "chromium", b"h2")
    assert relays.is_new_alpn(PLACE, "chromium", b"http/1.1")
    assert not relays.is_new_alpn(PLACE, "curl", b"http/1.1")


def test_only_so_many_are_remembered() -> None:
    relays = RelaysMet()
    relays.did_not_answer(PLACE, 0)
    for port in range(MAX_RELAYS):
        relays.advice(("192.0.2.3", port, b""), 0)
    assert relays.advice(PLACE, 0) is Advice.DIAL
