"""Our clients give up with the alert that the real program does (tests/support/browser_alerts.py)."""

import asyncio
from pathlib import Path

import pytest

from tests.support.browser_alerts import AT, changing
from tests.support.htx import browser
from tests.support.modern_server import modern_server
from tests.support.origins import HOST, Certificates, make_certificates
from tests.support.waiting import wait_until
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.alerts import CLOSE_NOTIFY, DECODE_ERROR, Fault, TlsFaultError, alert_for
from vigilnet.traffic.transport.htx.htx_io import HtxTransport

BAD_RECORD = "bad record mac"
MEASURED = {  # what OpenSSL heard from Chromium 156, Firefox 153 and curl 7.88 with OpenSSL 3.0
    ("chromium", "unknown root"): "alert certificate unknown",
    ("chromium", "another name"): "alert certificate unknown",
    ("chromium", "expired"): "alert certificate unknown",
    ("chromium", "session id"): "alert decode error",
    ("chromium", "suite"): "alert illegal parameter",
    ("chromium", "server random"): BAD_RECORD,
    ("firefox", "unknown root"): "alert unknown ca",
    ("firefox", "session id"): "alert illegal parameter",
    ("firefox", "suite"): "alert illegal parameter",
    ("firefox", "server random"): BAD_RECORD,
    ("curl", "unknown root"): "alert unknown ca",
    ("curl", "another name"): "",  # a goodbye: it looks at the name when TLS is through
    ("curl", "expired"): "alert certificate expired",
    ("curl", "session id"): "alert illegal parameter",
    ("curl", "encrypted record"): BAD_RECORD,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("good"))


def heard_by(folder: Path, believed: Certificates, name: str, at: int | None) -> str:
    """Visit a server; return what it heard at the end."""
    transport = HtxTransport(browser(believed, name))

    def visit(port: int) -> None:
        with pytest.raises(OSError, match="htx"):
            asyncio.run(transport.look_at_origin("127.0.0.1", port, HOST))

    with modern_server(folder) as server:
        if at is None:
            visit(server.port)
        else:
            with changing(server.port, at) as port:
                visit(port)
        wait_until(lambda: server.alerts, "what the server heard")
        return server.alerts[0]


@pytest.mark.parametrize(("name", "kind"), MEASURED)
def test_each_template_gives_up_as_its_program_does(
    good: Certificates, tmp_path: Path, name: str, kind: str
) -> None:
    folder, believed = good.folder, good
    if kind == "unknown root":
        believed = make_certificates(tmp_path)
    elif kind in ("another name", "expired"):
        host, days = ("other.example.test", 60) if kind == "another name" else (HOST, -0.5)
        believed = make_certificates(tmp_path, host, days=days)
        folder = tmp_path
    assert MEASURED[name, kind] in heard_by(folder, believed, name, AT.get(kind))


def test_other_faults_have_the_alert_of_the_standard() -> None:
    assert alert_for(RemoteProtocolError("x"), "chromium") == DECODE_ERROR
    assert alert_for(TlsFaultError("x", Fault.SIGNATURE), "curl") == 51
    assert alert_for(TlsFaultError("x", Fault.ORDER), "mine") == 10
    assert alert_for(TlsFaultError("x", Fault.VERSION), "chromium") is None
    assert alert_for(TlsFaultError("x", Fault.NAME), "curl") == CLOSE_NOTIFY
