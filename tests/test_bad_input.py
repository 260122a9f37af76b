"""Whatever strangers send to a live directory: the right status and a JSON error, no growth, no 5xx.

A real daemon over real HTTP on loopback; the limit of requests is off, so that each one is judged.
"""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.helper_nodes import CONSENT, PAGE, HelperNode, exit_settings, web_server
from tests.support.origins import make_certificates
from tests.support.ports import free_port
from tests.support.strangers import DAY, REGISTER, Junk, Stranger, resident, rows
from tests.support.waiting import wait_until
from vigilnet.base.codec import decode, encode

pytestmark = pytest.mark.slow

JUNK = 10_000
MOST_GROWTH = 8 << 20


def directory(folder: Path, **settings: str) -> HelperNode:
    given = exit_settings(1) | settings
    return HelperNode(folder, "super", ("--accept-exit-notice",), given, CONSENT)


def other_letters(text: str) -> str:
    """The same octets in base64url, with unused bits set: a second encoding."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def other_cbor(body: dict[str, Any]) -> dict[str, Any]:
    """The same record in CBOR that is not the shortest, its length in two octets more."""
    import base64

    record = base64.urlsafe_b64decode(body["record"] + "==")
    parts = decode(record, "record")
    assert isinstance(parts, list | tuple)
    again = encode(list(parts))
    assert again == record
    longer = b"\x9a\0\0\0\3" + record[1:]  # an array of three, its head in five octets
    return body | {"record": base64.urlsafe_b64encode(longer).decode().rstrip("=")}


def test_each_bad_registration_gets_its_status_and_leaves_nothing(tmp_path: Path) -> None:
    with directory(tmp_path / "super") as node:
        good = Stranger("good").says()
        assert node.ask(REGISTER, good) == (200, {"registered": True, "is_new": True})
        now, other = time.time(), Stranger("other")
        signature = Stranger("thief").says()["signature"]
        cases: dict[str, tuple[object, int, str]] = {
            "replayed": (good, 403, "said before"),
            "forged": (other.says() | {"signature": signature}, 403, "not signed by the relay"),
            "of somebody else": (other.says() | {"peer_id": good["peer_id"]}, 403, ""),
            "of another network": (Stranger("far", "elsewhere").says(), 403, "not signed by the relay"),
            "expired": (other.says(published=now - 3 * DAY), 403, "record is"),
            "from the future": (other.says(published=now + DAY), 403, "record is"),
            "signed long ago": (other.says(signed=now - 700), 403, "signed too long ago"),
            "second encoding, base64": (
                other.says() | {"signature": other_letters(str(other.says()["signature"]))}, 400, "",
            ),
            "padding, base64": (other.says() | {"signature": f"{signature}=="}, 400, ""),
            "second encoding, CBOR": (other_cbor(other.says()), 400, ""),
            "record too long": (other.says() | {"record": "A" * 1400}, 400, ""),
            "bad country": (other.says() | {"country": "usa"}, 400, "country"),
            "no country": ({k: v for k, v in other.says().items() if k != "country"}, 400, "country"),
            "not an object": ([], 400, ""),
            "deep": (b"[" * 4000, 400, ""),
            "not UTF-8": (b"\xff\xfe{}", 400, ""),
            "too long": (b" " * 8193, 413, ""),
            "10 MB": (bytes(10_000_000), 413, ""),
        }  # fmt: skip
        before = rows(node)
        for name, (body, status, reason) in cases.items():
            code, said = node.ask(REGISTER, body)
            assert code == status, (name, code, said)
            assert isinstance(said["error"], str), name
            assert reason in said.get("details", ""), (name, said)
        assert rows(node) == before
        assert list(node.listed()) == [good["peer_id"]]
        assert "this is a bug" not in node.log


def test_ten_thousand_junk_registrations_leave_no_growth(tmp_path: Path) -> None:
    with directory(tmp_path / "super") as node:
        assert node.ask(REGISTER, Stranger("good").says())[0] == 200
        junk = Junk(node)
        junk.send(1000)  # what a process needs anyhow is there before we measure
        before = resident(node)
        codes = junk.send(JUNK)
        assert set(codes) == {400, 403}
        assert sum(codes.values()) == JUNK
        assert resident(node) - before < MOST_GROWTH
        assert rows(node) == 1
        assert "this is a bug" not in node.log


def test_slow_senders_are_cut_off_and_keep_nobody_waiting(tmp_path: Path) -> None:
    with directory(tmp_path / "super") as node:
        host, _, port = node.ready["status"].rpartition(":")
        slow: list[socket.socket] = []
        for number in range(40):  # 64 of one address are let in
            sender = socket.create_connection((host, int(port)), 60)
            head = b"POST /api/relay/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8000\r\n"
            sender.sendall(head + (b"\r\n{" if number % 2 else b"X-Slow: "))
            slow.append(sender)
        over = threading.Event()

        def drip() -> None:
            while not over.wait(0.5):
                for sender in slow:
                    with contextlib.suppress(OSError):
                        sender.send(b" ")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            begun = time.monotonic()
            assert node.ask("/api/relays/by-country")[0] == 200
            assert time.monotonic() - begun < 10.0  # the first of the slow ones is cut off then
            for sender in slow:
                sender.settimeout(120)
                with contextlib.suppress(ConnectionError):
                    said = b""
                    while more := sender.recv(4096):
                        said += more
                    assert said.startswith(b"HTTP/1.1 408 ")
                    assert b'"error"' in said
        finally:
            over.set()
            dripping.join()
            for sender in slow:
                sender.close()
        wait_until(lambda: node.ask("/metrics")[1]["status_conn_active"] <= 1, "they are gone")


def test_a_directory_over_https_is_asked_and_registered_with_by_its_pin(tmp_path: Path) -> None:
    make_certificates(tmp_path, "directory.example")
    shown = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())[0]
    port = free_port()
    settings = {
        "operators.listen": f"127.0.0.1:{port}",
        "operators.certificate": str(tmp_path / "chain.pem"),
        "operators.certificate_key": str(tmp_path / "key.pem"),
    }
    with web_server() as target:
        node = HelperNode(
            tmp_path / "super", "super", ("--accept-exit-notice",), exit_settings(target) | settings, CONSENT
        )
        with node:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain) as secure,
            ):
                assert (secure.version() or "") >= "TLSv1.2"
            url = f"https://127.0.0.1:{port}"
            pinned = f"{url}#sha256={shown.fingerprint(hashes.SHA256()).hex()}"
            with HelperNode(tmp_path / "relay", "relay", ("--operators", pinned)) as relay:
                wait_until(lambda: relay.ready["peer_id"] in node.listed(), "the relay is listed")
                arguments, hops = ("--operators", pinned), {"circuits.hops": "2"}
                with HelperNode(tmp_path / "client", "client", arguments, hops) as client:
                    client.wait_state("connected")
                    assert client.fetch(target) == PAGE
            other = f"{url}#sha256={bytes(32).hex()}"
            with HelperNode(tmp_path / "wary", "client", ("--operators", other)) as wary:
                wait_until(lambda: "another certificate" in wary.log, "it says why it does not ask")
                assert wary.status()["peers_total"] == 0
