"""The books of the pool: who gets which circuit, and when one is retired."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.peer.descriptor import ExitSummary
from vigilnet.routing.circuits.pool import Options, Pool, PooledCircuit
from vigilnet.traffic.circuit.client import CircuitState


@dataclass
class FakeMux:
    can_open: bool = True
    is_idle: bool = True


@dataclass(eq=False)
class FakeCircuit:
    """What the pool looks at of a circuit."""

    books: "Books"
    mux: FakeMux = field(default_factory=FakeMux)
    state: CircuitState = CircuitState.OPEN

    @property
    def is_closed(self) -> bool:
        return self.state is CircuitState.CLOSED

    def close(self) -> None:
        assert not self.is_closed
        self.state = CircuitState.CLOSED
        self.books.pool.remove(self)  # type: ignore[arg-type]  # a stand-in


class Books:
    """A pool with circuits that a test makes."""

    def __init__(self, **options: float) -> None:
        self.now = 0.0
        self.pool = Pool(Options(**options), lambda: self.now)  # type: ignore[arg-type]  # numbers

    def add(self, exit_name: bytes = b"x", ports: ExitSummary | None = None) -> FakeCircuit:
        circuit = FakeCircuit(self)
        self.pool.add(PooledCircuit(circuit, exit_name, ports, self.now))  # type: ignore[arg-type]
        return circuit

    def take(self, isolation: str, port: int | None = 443) -> FakeCircuit | None:
        entry = self.pool.take(isolation, port)
        return None if entry is None else entry.circuit  # type: ignore[return-value]


def test_isolation_keys_never_share_a_circuit() -> None:
    books = Books()
    for _ in range(3):
        books.add()
    taken = {key: books.take(key) for key in ("a", "b", "c")}
    assert len(set(taken.values())) == 3
    assert None not in taken.values()
    assert books.take("d") is None
    for key, circuit in taken.items():
        assert books.take(key) is circuit, "a key comes back to its own"


def test_circuit_without_room_is_passed_over() -> None:
    books = Books()
    first, second = books.add(), books.add()
    assert books.take("a") is first
    first.mux.can_open = False
    assert books.take("a") is second
    first.mux.can_open = True
    assert books.take("a") is first


def test_exit_that_does_not_serve_the_port_is_passed_over() -> None:
    books = Books()
    web = ExitSummary(is_accept_list=True, ranges=((80, 80), (443, 443)))
    books.add(ports=web)
    assert books.take("a", 25) is None
    assert books.take("a", 443) is not None
    assert books.take("a", None) is not None
    entry = next(iter(books.pool.entries))
    entry.refused_ports.add(443)
    assert books.take("a", 443) is None
    assert books.take("a", 80) is not None


def test_retired_circuit_takes_nothing_new_and_closes_when_idle() -> None:
    books = Books(dirty_life_s=600)
    circuit = books.add()
    circuit.mux.is_idle = False
    assert books.take("a") is circuit
    books.now = 601.0
    books.pool.sweep()
    assert books.take("a") is None
    assert not circuit.is_closed
    circuit.mux.is_idle = True
    books.pool.sweep()
    assert circuit.is_closed


def test_used_circuit_is_closed_after_its_idle_time() -> None:
    books = Books(idle_s=60)
    circuit = books.add()
    circuit.mux.is_idle = False
    books.take("a")
    books.now = 100.0
    books.pool.sweep()
    circuit.mux.is_idle = True
    books.now = 159.0
    books.pool.sweep()
    assert not circuit.is_closed
    books.now = 161.0
    books.pool.sweep()
    assert circuit.is_closed


def test_circuit_just_taken_is_not_closed_as_idle() -> None:
    books = Books(idle_s=60)
    circuit = books.add()
    books.now = 300.0
    assert books.take("a") is circuit
    books.pool.sweep()
    assert not circuit.is_closed, "it was clean for long, but is used since now"


def test_clean_circuits_are_replaced_by_age() -> None:
    books = Books(clean_life_s=600)
    circuit = books.add()
    books.now = 599.0
    books.pool.last_stream_at = books.now
    books.pool.sweep()
    assert not circuit.is_closed
    books.now = 601.0
    books.pool.sweep()
    assert circuit.is_closed


def test_quiet_client_keeps_one_clean_circuit() -> None:
    books = Books(build_ahead=3, quiet_after_s=600, clean_life_s=5000)
    circuits = [books.add() for _ in range(3)]
    assert books.pool.wanted() == 0
    books.now = 601.0
    books.pool.sweep()
    assert sum(not circuit.is_closed for circuit in circuits) == 1
    assert books.pool.wanted() == 0
    books.take("a")
    assert books.pool.wanted() == 3


def test_wanted_counts_what_is_being_built_and_keeps_the_limit() -> None:
    books = Books(build_ahead=3, max_circuits=4)
    assert books.pool.wanted() == 3
    books.pool.building = 2
    assert books.pool.wanted() == 1
    for number in range(2):
        books.add()
        books.take(str(number))
    assert books.pool.wanted() == 0, "two used and two being built are four"


def test_limit_closes_the_longest_idle_used_circuit_first() -> None:
    books = Books(build_ahead=1, max_circuits=3)
    first, second, clean = books.add(), books.add(), books.add()
    assert books.take("a") is first
    books.now = 1.0
    assert books.take("b") is second
    for circuit, idle_since in ((first, 7.0), (second, 5.0), (clean, 1.0)):
        entry = next(entry for entry in books.pool.entries if entry.circuit is circuit)  # type: ignore[comparison-overlap]
        entry.idle_since = idle_since
    assert books.pool.may_build()
    assert second.is_closed
    first.mux.is_idle = False
    books.pool.building = 1
    assert books.pool.may_build()
    assert clean.is_closed
    books.pool.building = 2
    assert not books.pool.may_build(), "the last one is in use"
    assert not first.is_closed


def test_new_identity_retires_all_and_closes_the_idle() -> None:
    books = Books()
    used, idle, clean = books.add(), books.add(), books.add()
    assert books.take("a") is used
    used.mux.is_idle = False
    books.take("b")
    books.pool.retire_all()
    assert not used.is_closed
    assert idle.is_closed
    assert clean.is_closed
    assert books.take("a") is None
    assert books.pool.clean == 0


@pytest.mark.parametrize(
    "options", [{"hops": 0}, {"hops": 11}, {"build_ahead": 0}, {"build_ahead": 11}, {"max_circuits": 2}]
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        replace(Options(), **options)


def test_kept_circuit_outlives_age_and_idleness_until_it_is_let_go() -> None:
    books = Books(idle_s=60, dirty_life_s=600, max_circuits=1, build_ahead=1)
    circuit = books.add()
    assert not books.pool.keep(circuit, is_kept=True), "nobody uses it"  # type: ignore[arg-type]  # a stand-in
    books.take("a")
    assert books.pool.keep(circuit, is_kept=True)  # type: ignore[arg-type]
    books.now = 5000.0
    books.pool.sweep()
    assert not books.pool.may_build(), "not closed to make room either"
    assert books.take("a") is circuit
    assert books.pool.keep(circuit, is_kept=False)  # type: ignore[arg-type]
    books.pool.sweep()
    assert circuit.is_closed


def test_new_identity_is_stronger_than_a_kept_circuit() -> None:
    books = Books()
    circuit = books.add()
    circuit.mux.is_idle = False
    books.take("a")
    books.pool.keep(circuit, is_kept=True)  # type: ignore[arg-type]
    books.pool.retire_all()
    assert books.take("a") is None
    assert not books.pool.keep(circuit, is_kept=True)  # type: ignore[arg-type]
    circuit.mux.is_idle = True
    books.pool.sweep()
    assert circuit.is_closed
