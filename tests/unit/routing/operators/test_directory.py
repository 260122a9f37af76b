"""What a directory takes, refuses and tells; the clock is the test's."""

import json
from dataclasses import replace

import pytest

from tests.support.operators import ADMIN, HOST, START, DirectoryLab, Relay, body_of
from vigilnet.base.http.messages import Request
from vigilnet.peer.sources import Source
from vigilnet.routing.operators.wire import encode_registration


def test_relay_registers_and_is_listed_with_its_record() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    assert lab.listed() == {}
    assert lab.register(relay.registration()) == (200, True)
    [entry] = lab.listed()["DE"]
    record = entry.pop("record")
    assert entry == {
        "peer_id": relay.peer_id,
        "addrs": ["/ip4/192.0.2.7/tcp/4001"],
        "country": "DE",
        "capabilities": ["relay"],
        "last_seen": START,
        "first_seen": START,
    }
    assert record == encode_registration(relay.registration())["record"]
    assert lab.view.get(relay.maker.identity.public) is not None  # and so gossip passes it on


def test_heartbeat_updates_and_keeps_first_seen() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    lab.register(relay.registration())
    lab.forward(30)
    assert lab.register(relay.registration(lab.wall)) == (200, False)
    [entry] = lab.listed()["DE"]
    assert (entry["first_seen"], entry["last_seen"]) == (START, START + 30)
    assert len(lab.directory.registry) == 1


def test_silent_relay_is_hidden_after_its_time_and_forgotten_by_pruning() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    lab.register(relay.registration())
    lab.forward(120)
    assert lab.ids() == {relay.peer_id}
    lab.forward(1)
    assert lab.ids() == set()
    assert (len(lab.directory.registry), lab.directory.registry.active(lab.now)) == (1, 0)
    assert lab.directory.registry.prune(lab.now) == [relay.peer_id]
    assert len(lab.directory.registry) == 0
    assert lab.register(relay.registration(lab.wall)) == (200, True)
    assert lab.ids() == {relay.peer_id}


def test_times_that_a_relay_claims_count_for_nothing() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    lab.register(replace(relay.registration(), last_seen=1, first_seen=1))
    assert [(entry["last_seen"], entry["first_seen"]) for entry in lab.listed()["DE"]] == [(START, START)]


def test_registration_of_another_address_is_refused() -> None:
    lab = DirectoryLab()
    status, reason = lab.register(Relay("one").registration(), peer="192.0.2.8")
    assert (status, reason) == (
        403, "none of the record's addresses is the one that this request came from",
    )  # fmt: skip
    assert lab.register(Relay("one").registration(), peer="::ffff:192.0.2.7") == (200, True)


def test_forged_registrations_are_refused() -> None:
    lab, relay, other = DirectoryLab(), Relay("one"), Relay("two")
    good = relay.registration()
    forged = [
        replace(good, signature=bytes(64)),
        replace(good, signed_at=good.signed_at + 1),
        replace(good, peer_id=other.peer_id),
        replace(good, record=other.record().encoded),
        replace(good, record=other.record().encoded, peer_id=other.peer_id),
        replace(good, record=good.record[:-1] + bytes([good.record[-1] ^ 1])),
        Relay("one", network="other").registration(),
    ]
    for said in forged:
        status, reason = lab.register(said)
        assert (status, "not signed by the relay" in str(reason)) == (403, True)
    assert len(lab.directory.registry) == 0


def test_registration_said_before_is_refused_even_after_pruning() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    said = relay.registration(START + 5)
    assert lab.register(said)[0] == 200
    assert lab.register(said)[0] == 403
    assert lab.register(relay.registration(START + 4))[0] == 403
    lab.forward(300)
    lab.directory.registry.prune(lab.now)
    assert lab.register(said)[0] == 403
    assert lab.register(relay.registration(lab.wall))[0] == 200


@pytest.mark.parametrize("seconds", [-601, 601])
def test_clock_that_is_far_off_is_told(seconds: int) -> None:
    status, reason = DirectoryLab().register(Relay("one").registration(START + seconds))
    assert (status, "compare the clocks" in str(reason)) == (403, True)


def test_expired_record_is_refused() -> None:
    lab, relay = DirectoryLab(), Relay("one")
    lab.forward(86_400)
    status, reason = lab.register(relay.registration(lab.wall))
    assert (status, reason) == (403, "record is expired, or from the future")


def test_record_in_another_encoding_is_malformed() -> None:
    relay = Relay("one")
    value = encode_registration(relay.registration())
    encoded = relay.record().encoded
    # the same array with its length in the next wider form
    longer = b"\x98\x03" + encoded[1:]
    from vigilnet.routing.operators.wire import to_base64

    status, reason = DirectoryLab().register({**value, "record": to_base64(longer)})
    assert status == 400
    assert "record" in str(reason)
    for text in (str(value["record"]) + "=", str(value["record"]) + "AA", "!" * 40, "A" * 1400):
        assert DirectoryLab().register({**value, "record": text})[0] == 400


def test_unsigned_registration_is_refused_unless_compat() -> None:
    relay = Relay("one")
    assert DirectoryLab().register(relay.unsigned())[0] == 403
    lab = DirectoryLab(compat=True)
    assert lab.register(relay.unsigned()) == (200, True)
    assert lab.register(relay.unsigned()) == (200, False)
    [entry] = lab.listed()["US"]
    assert "record" not in entry
    assert entry["last_seen"] == START


def test_unsigned_registration_is_bound_to_its_address_except_on_this_machine() -> None:
    lab, relay = DirectoryLab(compat=True), Relay("one")
    assert lab.register(relay.unsigned(), peer="192.0.2.8")[0] == 403
    assert lab.register(relay.unsigned(), peer="127.0.0.1")[0] == 200
    assert lab.register(relay.unsigned())[0] == 403  # known from another address


def test_signed_relay_is_not_replaced_by_an_unsigned_claim() -> None:
    lab, relay = DirectoryLab(compat=True), Relay("one")
    lab.register(relay.registration())
    assert lab.register(relay.unsigned()) == (403, "peer_id is another relay's")
    assert "record" in lab.listed()["DE"][0]


@pytest.mark.parametrize("name", ["peer_id", "addrs", "country", "capabilities", "last_seen", "first_seen"])
def test_all_six_fields_are_asked_for(name: str) -> None:
    value = Relay("one").unsigned()
    del value[name]
    status, reason = DirectoryLab(compat=True).register(value)
    assert (status, name in str(reason)) == (400, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"peer_id": "me"},
        {"peer_id": "12D3KooW" + "0" * 20},
        {"peer_id": 7},
        {"addrs": []},
        {"addrs": "/ip4/1.2.3.4/tcp/1"},
        {"addrs": ["/ip4/1.2.3.4/tcp/0"]},
        {"addrs": ["/ip4/1.2.3.4/tcp/65536"]},
        {"addrs": ["/ip6/1.2.3.4/tcp/1"]},
        {"addrs": ["/ip4/1.2.3.4"]},
        {"addrs": ["/unix/x/tcp/1"]},
        {"addrs": ["/dns4/-bad-/tcp/1"]},
        {"addrs": ["/ip4/1.2.3.4/tcp/1"] * 9},
        {"addrs": ["/ip4/1.2.3.4/tcp/1/" + "x" * 256]},
        {"country": "us"},
        {"country": "UK"},
        {"country": "USA"},
        {"country": "../"},
        {"country": None},
        {"capabilities": []},
        {"capabilities": ["<script>"]},
        {"capabilities": ["x" * 17]},
        {"last_seen": -1},
        {"last_seen": 1.5},
        {"last_seen": True},
        {"first_seen": 1 << 54},
        {"record": "AA"},
        {"signature": "AA"},
    ],
)
def test_malformed_fields_are_refused(changes: dict[str, object]) -> None:
    lab = DirectoryLab(compat=True)
    assert lab.register(Relay("one").unsigned(**changes))[0] == 400
    assert len(lab.directory.registry) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"peer_id":' + b"[" * 3000])
def test_body_that_is_no_object_is_refused_in_qnets_words(body: bytes) -> None:
    lab = DirectoryLab()
    judged = lab.directory.judge(Request("POST", "/", peer=HOST, body=body), lab.wall, lab.now)
    assert judged.status == 400  # type: ignore[union-attr]
    assert body_of(judged)["error"] == "invalid JSON body"  # type: ignore[arg-type]


def test_countries_are_filtered_exactly_and_bad_ones_refused() -> None:
    lab = DirectoryLab()
    lab.register(Relay("one").registration())
    lab.register(Relay("two").registration(country="FR"))
    assert sorted(lab.listed()) == ["DE", "FR"]
    assert [list(lab.listed(country=country)) for country in ("FR", "US", "fr")] == [["FR"], [], []]
    for country in ("", "USA", "1A", "ü!"):
        answer = lab.directory.by_country(Request("GET", "/", {"country": country}), lab.now)
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid country")


def test_operators_corrections_win_over_what_a_relay_claims() -> None:
    lab = DirectoryLab(overrides=("192.0.2.0/24=CH",))
    lab.register(Relay("one").registration())
    assert list(lab.listed()) == ["CH"]


def test_relay_without_country_is_listed_under_the_unknown_one() -> None:
    lab = DirectoryLab()
    lab.register(Relay("one").registration(country=""))
    assert list(lab.listed()) == ["ZZ"]


def test_places_are_limited_in_the_public_network() -> None:
    lab = DirectoryLab()
    answers = [lab.register(Relay(f"relay {number}").registration())[0] for number in range(5)]
    assert answers == [200] * 4 + [429]
    free = DirectoryLab(has_limits=False)
    assert all(free.register(Relay(f"relay {number}").registration())[0] == 200 for number in range(5))


@pytest.mark.slow
def test_ten_thousand_junk_registrations_leave_nothing() -> None:
    lab = DirectoryLab(compat=True)
    value = Relay("one").unsigned()
    for number in range(10_000):
        junk = {
            **value,
            "peer_id": f"12D3KooWjunk{number}",
            "addrs": [f"/ip4/{HOST}/tcp/{number % 60_000 + 1}"],
        }
        assert lab.register(junk)[0] in (200, 400, 403, 429)
    assert len(lab.directory.registry) <= 4
    lab.forward(121)
    lab.directory.registry.prune(lab.now)
    assert len(lab.directory.registry) == 0


def test_relay_heard_by_gossip_and_reached_is_listed_until_it_lapses_here() -> None:
    lab, heard, lapsed = DirectoryLab(), Relay("heard"), Relay("lapsed")
    lab.take(heard.record().encoded, Source("gossip"))
    assert lab.ids() == set()  # not reached yet
    lab.view.mark_reached(heard.maker.identity.public)
    lab.forward(1)
    assert lab.ids() == {heard.peer_id}
    lab.register(lapsed.registration())
    lab.view.mark_reached(lapsed.maker.identity.public)
    lab.forward(1)
    assert lab.ids() == {heard.peer_id, lapsed.peer_id}
    lab.forward(121)
    lab.directory.registry.prune(lab.now)
    assert lab.ids() == {heard.peer_id}
    assert len(json.dumps(lab.listed(country="DE"))) > 100


def test_who_may_prune() -> None:
    lab = DirectoryLab()
    token = {"authorization": f"Bearer {ADMIN}"}
    assert lab.directory.may_prune(Request("GET", "/", peer="127.0.0.1"))
    assert not lab.directory.may_prune(Request("GET", "/", peer="192.0.2.1"))
    assert lab.directory.may_prune(Request("GET", "/", headers=token, peer="192.0.2.1"))


def test_operator_tells_who_it_is() -> None:
    assert body_of(DirectoryLab().directory.operator()) == {}
    record = Relay("operator").record().encoded
    assert "record" in body_of(DirectoryLab(own_record=record).directory.operator())
