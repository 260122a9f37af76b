import json
import socket
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.sick import diagnose, found, resolver, situation
from vigilnet.surface.doctor.network import Network, check_relays
from vigilnet.traffic.transport.htx.recordings import OLD_AFTER_DAYS


def asking(*servers: tuple[str, int], timeout_s: float = 60.0) -> Network:
    return Network(resolvers=servers, timeout_s=timeout_s)


def test_resolver_that_is_well(tmp_path: Path) -> None:
    with resolver() as server:
        diagnosis = diagnose(situation(tmp_path), network=asking(server))
    for identifier in ("network.names", "network.udp", "network.portal"):
        assert found(diagnosis, identifier).level == "pass"


def test_dead_resolver(tmp_path: Path) -> None:
    server = ("127.0.0.1", free_port())
    finding = found(diagnose(situation(tmp_path), network=asking(server, timeout_s=0.3)), "network.names")
    assert finding.level == "fail"
    assert "vigilnet dns overlay" in finding.next


def test_no_resolver_at_all(tmp_path: Path) -> None:
    finding = found(diagnose(situation(tmp_path), network=asking()), "network.names")
    assert finding.evidence == ("no resolver is set",)


@pytest.mark.slow
def test_dropped_datagrams(tmp_path: Path) -> None:
    with resolver(udp=False) as server:
        network = asking(server, timeout_s=1.0)
        assert found(diagnose(situation(tmp_path), network=network), "network.udp").level == "note"


def test_network_that_answers_every_name_itself(tmp_path: Path) -> None:
    with resolver(lies=True) as server:
        finding = found(diagnose(situation(tmp_path), network=asking(server)), "network.portal")
    assert finding.level == "fail"
    assert "192.0.2.80" in finding.evidence[0]


def test_origin_that_does_not_answer(tmp_path: Path) -> None:
    text = f'[relay]\nenabled = true\nlisten = ["127.0.0.1:0"]\n[htx]\norigin = "127.0.0.1:{free_port()}"\n'
    assert found(diagnose(situation(tmp_path, text)), "network.origin").level == "fail"


def test_visits_that_are_missing_old_or_no_visits(tmp_path: Path) -> None:
    def level(visits: str) -> str:
        text = f'[relay]\nenabled = true\nlisten_htx = ["127.0.0.1:0"]\n[htx]\n{visits}\n'
        return found(diagnose(situation(tmp_path, text)), "network.visits").level

    assert level("") == "note"
    file = tmp_path / "visits"
    line = {"v": 1, "steps": [[1, 0, 0, 87], [1, 0, 0, 467], [-1, 2, 0, 205], [1, 1, 0, 26]]}
    today = int(time.time() // 86_400)
    for day, expected in ((today, "pass"), (today - OLD_AFTER_DAYS - 1, "note"), ("x", "fail")):
        file.write_text(json.dumps(line | {"day": day}))
        assert level(f'visits = "{file}"') == expected


def test_relays_that_nobody_answers_for() -> None:
    (finding,) = check_relays([f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"])
    assert (finding.id, finding.level) == ("network.blocked", "fail")
    with socket.socket() as relay:
        relay.bind(("127.0.0.1", 0))
        relay.listen()
        (finding,) = check_relays([f"127.0.0.1:{free_port()}", f"127.0.0.1:{relay.getsockname()[1]}"])
    assert finding.level == "pass"
    assert list(check_relays([])) == []
