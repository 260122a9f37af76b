"""What a browser answers to an origin that is not what it should be (docs/spec/htx.md section 5).

Measured with the real programs where the table says so (tests/support/browser_alerts.py); the rest is what
RFC 8446 asks of every client.
"""

from enum import Enum
from typing import Final

from vigilnet.base.errors import RemoteProtocolError

CLOSE_NOTIFY: Final = 0
DECODE_ERROR: Final = 50


class Fault(Enum):
    """What is wrong."""

    ROOT = "no root that is known"
    NAME = "for another name"
    TIME = "not valid now"
    SESSION_ID = "another session id"
    ILLEGAL = "what was not offered"
    RECORD = "a record that does not open"
    SIGNATURE = "a signature or finished that does not verify"
    ORDER = "a message out of turn"
    ECH = "an encrypted hello that the origin could not open"
    VERSION = "an older TLS"  # the browser would go on: there is no alert


_ALL: Final = {
    Fault.ROOT: 46,
    Fault.NAME: 46,
    Fault.TIME: 46,
    Fault.SESSION_ID: 47,
    Fault.ILLEGAL: 47,
    Fault.RECORD: 20,
    Fault.SIGNATURE: 51,
    Fault.ORDER: 10,
    Fault.ECH: 121,
}
_BORINGSSL: Final = {Fault.SESSION_ID: 50}
_OWN: Final[dict[str, dict[Fault, int]]] = {
    "chromium": _BORINGSSL,  # measured
    "edge": _BORINGSSL,
    "safari": _BORINGSSL,
    "firefox": {Fault.ROOT: 48, Fault.NAME: 42, Fault.TIME: 45},  # measured but for name and time
    "curl": {Fault.ROOT: 48, Fault.NAME: CLOSE_NOTIFY, Fault.TIME: 45},  # measured: judges the name later
}


class TlsFaultError(RemoteProtocolError):
    """A fault for which browsers have an alert."""

    def __init__(self, text: str, fault: Fault) -> None:
        super().__init__(text)
        self.fault = fault


def alert_for(error: RemoteProtocolError, browser: str) -> int | None:
    """Return the alert that a template's browser sends; None if it sends none."""
    if not isinstance(error, TlsFaultError):
        return DECODE_ERROR
    return _OWN.get(browser, {}).get(error.fault, _ALL.get(error.fault))
