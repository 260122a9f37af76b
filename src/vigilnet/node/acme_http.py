"""HTTP with an authority, bounded: how long an answer is, where it leads, and that it can be broken off.

The package requests limits each read of a socket, and neither the octets nor the time of the whole.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any, Final

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, RequestException
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError

MAX_ANSWER: Final = 256 * 1024
MAX_REDIRECTS: Final = 3
READ_SIZE: Final = 16 * 1024


class TooLongError(RequestException):
    """An answer has more octets than any that an authority needs."""


class BoundedExchange:
    """Makes a session keep within the limits; `abort`, from any thread, ends what is under way and all after.

    It must be called at the end in any case: until then connections stay open.
    """

    def __init__(self, session: Session) -> None:
        self._lock = threading.Lock()
        self._opened: list[socket.socket] = []
        self._is_over = False
        session.trust_env = False  # what the owner has set for other programs is not ours
        session.max_redirects = MAX_REDIRECTS
        session.headers["Accept-Encoding"] = "identity"  # a few packed octets can be many
        session.adapters.clear()  # no http://, wherever a redirect leads
        session.mount("https://", _Adapter(self))

    def opened(self, connection: socket.socket) -> None:
        """Take note of a connection; OSError once it is over."""
        with self._lock:
            if self._is_over:
                connection.close()
                raise OSError("broken off")
            self._opened.append(connection.dup())  # the TLS socket takes the other one over

    def abort(self) -> None:
        """Break every connection; safe to call twice."""
        with self._lock:
            self._is_over = True
            opened, self._opened = self._opened, []
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class _Adapter(HTTPAdapter):
    def __init__(self, exchange: BoundedExchange) -> None:
        self._exchange = exchange
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:  # noqa: ANN401  # as the base class
        super().init_poolmanager(*args, **more)
        exchange = self._exchange

        class Connection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                made = super()._new_conn()
                exchange.opened(made)
                return made

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"https": Pool}

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # as the base class
        timeout: Any = None,  # noqa: ANN401
        verify: bool | str = True,
        cert: Any = None,  # noqa: ANN401
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        del stream, proxies
        answer = super().send(request, stream=True, timeout=timeout, verify=verify, cert=cert)
        try:
            body = _body_of(answer)
        except BaseException:
            answer.close()
            raise
        answer._content, answer._content_consumed = body, True  # type: ignore[attr-defined]  # noqa: SLF001
        return answer


def _body_of(answer: Response) -> bytes:
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise InvalidHeader("packed, which was not asked for")
    body = bytearray()
    while piece := _read(answer):
        body += piece
        if len(body) > MAX_ANSWER:
            raise TooLongError(f"longer than {MAX_ANSWER} octets")
    return bytes(body)


def _read(answer: Response) -> bytes:
    try:
        return bytes(answer.raw.read(READ_SIZE, decode_content=False))
    except (HTTPError, OSError) as error:
        raise RequestException("cut off") from error
