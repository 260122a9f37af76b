"""HTTP with an authority that answers too much, without end, elsewhere or not at all."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("requests", reason="needs the extra `acme`")

from requests import Session
from requests.exceptions import InvalidHeader, InvalidSchema, RequestException, TooManyRedirects

from tests.support.origins import make_certificates
from vigilnet.node.acme_http import MAX_ANSWER, MAX_REDIRECTS, BoundedExchange, TooLongError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Script = Callable[[ssl.SSLSocket], None]


@contextlib.contextmanager
def serving(folder: Path, script: Script) -> Iterator[tuple[str, Path]]:
    """Let `script` answer every request; give the address and whom to believe."""
    made = make_certificates(folder, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.folder / "chain.pem", made.folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as asker:
                    if asker.recv(65536).endswith(b"\r\n\r\n"):
                        script(asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://localhost:{listener.getsockname()[1]}/", made.folder / "root.pem"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked(url: str, root: Path) -> bytes:
    with Session() as session:
        exchange = BoundedExchange(session)
        try:
            return session.get(url, timeout=60, verify=str(root)).content
        finally:
            exchange.abort()


def of_length(count: int) -> Script:
    def answer(asker: ssl.SSLSocket) -> None:
        asker.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % count + bytes(count))

    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


def test_an_answer_has_a_longest_length(folder: Path) -> None:
    with serving(folder, of_length(MAX_ANSWER)) as (url, root):
        assert len(asked(url, root)) == MAX_ANSWER
    with serving(folder, of_length(MAX_ANSWER + 1)) as (url, root), pytest.raises(TooLongError):
        asked(url, root)


def test_an_answer_without_an_end_is_cut(folder: Path) -> None:
    def answer(asker: ssl.SSLSocket) -> None:
        asker.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            asker.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    with serving(folder, answer) as (url, root), pytest.raises(TooLongError):
        asked(url, root)


def test_an_answer_that_is_cut_off_is_an_error_of_the_network(folder: Path) -> None:
    def answer(asker: ssl.SSLSocket) -> None:
        asker.sendall(HEAD + b"Content-Length: 10\r\n\r\n12345")

    with serving(folder, answer) as (url, root), pytest.raises(RequestException):
        asked(url, root)


def test_a_packed_answer_is_refused(folder: Path) -> None:
    def answer(asker: ssl.SSLSocket) -> None:
        asker.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")

    with serving(folder, answer) as (url, root), pytest.raises(InvalidHeader):
        asked(url, root)


@pytest.mark.parametrize(
    ("place", "error"), [("http://localhost:1/", InvalidSchema), ("/again", TooManyRedirects)]
)
def test_redirects_are_few_and_never_in_the_clear(
    folder: Path, place: str, error: type[RequestException]
) -> None:
    count = 0

    def answer(asker: ssl.SSLSocket) -> None:
        nonlocal count
        count += 1
        asker.sendall(
            f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nConnection: close\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )

    with serving(folder, answer) as (url, root), pytest.raises(error):
        asked(url, root)
    assert count <= MAX_REDIRECTS + 1


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n1"])
def test_whoever_waits_is_woken_when_it_is_broken_off(folder: Path, sent: bytes) -> None:
    began, over = threading.Event(), threading.Event()
    raised: list[Exception] = []

    def answer(asker: ssl.SSLSocket) -> None:
        asker.sendall(sent)
        began.set()
        over.wait(60)

    with serving(folder, answer) as (url, root), Session() as session:
        exchange = BoundedExchange(session)

        def ask() -> None:
            try:
                session.get(url, timeout=60, verify=str(root))
            except RequestException as error:
                raised.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert began.wait(60)
        exchange.abort()
        asking.join(60)
        over.set()
        assert len(raised) == 1
        with pytest.raises(RequestException):
            session.get(url, timeout=60, verify=str(root))  # and no other one begins
        exchange.abort()
