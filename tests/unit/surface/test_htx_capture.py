import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from tests.support.hellos import captured, template_of
from tests.support.needs import needs_programs
from vigilnet.surface import htx_capture
from vigilnet.surface.htx_capture import KNOWN, capture, capture_by_hand, main, make_template
from vigilnet.traffic.transport.htx.client_hello import decode_client_hello
from vigilnet.traffic.transport.htx.fingerprint import normalised
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.templates import parse_template
from vigilnet.traffic.transport.htx.wire import encode_record


@pytest.mark.slow
@pytest.mark.parametrize("browser", KNOWN)
def test_our_hello_equals_the_installed_browser_s_or_the_stored_one(browser: str) -> None:
    """Captured here where the program is; the bundled template is compared if it is of this version."""
    if any(map(shutil.which, KNOWN[browser][0])):
        hellos, version = capture(browser, 3 if browser == "curl" else 10)
    else:
        hellos, version = captured(browser), template_of(browser).browser
    bundled = template_of(browser)
    number = bundled.browser.split()[1]
    templates = [make_template(browser, version, hellos, 1.0), *([bundled] if number in version else [])]
    for template in templates:
        for record_version, real in hellos:
            built = build(template, real.server_name or "", os.urandom, os.urandom(32))
            ours = normalised(decode_client_hello(built.hello.encode()), template)
            assert ours == normalised(real, template)
            assert record_version == template.record_version


@pytest.mark.slow
@needs_programs("curl")
def test_a_template_is_written_and_never_over_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.json"
    arguments = ["capture", "curl", "--count", "2", "--output", str(output)]
    assert main(arguments) == 0
    assert "t13d" in capsys.readouterr().out
    assert parse_template(output.read_text(), "mine").is_checked
    assert main(arguments) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_what_cannot_be_captured_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["capture", "lynx", "--output", "/nowhere/x.json"]) == 2
    assert "--by-hand" in capsys.readouterr().err
    assert main(["capture", "curl", "--count", "0", "--output", "/nowhere/x.json"]) == 2
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert main(["capture", "curl", "--output", "/nowhere/x.json"]) == 1
    assert "not installed" in capsys.readouterr().err


def test_by_hand_it_waits_for_whatever_says_hello(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, hello = captured("edge")[0]
    written = threading.Event()
    said: list[str] = []

    def write(text: str, **_: object) -> None:
        said.append(text)
        written.set()

    def visit() -> None:
        assert written.wait(60)
        port = int(said[0].split("localhost:")[1].split("/")[0])
        for octets in (b"GET / HTTP/1.0\r\n\r\n", b"", encode_record(22, hello.encode(), 0x0301)):
            with socket.create_connection(("127.0.0.1", port), 5) as visitor:
                visitor.sendall(octets)

    monkeypatch.setattr(htx_capture, "write", write)
    visitor = threading.Thread(target=visit)
    visitor.start()
    assert capture_by_hand(1) == [(0x0301, hello)]
    visitor.join()
