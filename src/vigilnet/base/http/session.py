"""One connection of the server: a machine around h11 with limits and deadlines (sans-IO).

    reading the head ──▶ judged ──▶ reading the body ──▶ answering ──▶ the next head, or over
                           └─ refused: answered unread, then over

What arrives while a request is answered waits: the service reads no more until then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from typing import Final

import h11

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.base.http.messages import Request, Response, error_response, parse_target

FOR_EVERY_ANSWER: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_METHODS_WITHOUT_BODY: Final = ("HEAD",)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take of us."""

    max_head: int = 16_384  # octets of request line and headers
    head_s: float = (
        10.0  # from the connection's start, or the end of the answer before, to the end of the head
    )
    body_s: float = 15.0
    answer_s: float = 30.0  # for the other end to take an answer that is not streamed


class Stage(Enum):
    """Where a connection stands."""

    HEAD = "head"
    BODY = "body"
    ANSWERING = "answering"
    OVER = "over"  # send what there is, then close


Judge = Callable[[Request], "int | Response"]


class ServerSession:
    """The server's side of one connection.

    Args:
        judge: called with each request's head; returns how long its body may be, or the refusal.
        template: a request with what is the same for all of this connection: peer, port, uid.
        limits: what it may take.
        now: monotonic seconds.
    """

    def __init__(self, judge: Judge, template: Request, limits: Limits, now: float) -> None:
        self._judge = judge
        self._template = template
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_head)
        self._out = bytearray()
        self._request = template
        self._body = bytearray()
        self._max_body = 0
        self._deadline: float | None = now + limits.head_s
        self._has_begun = False
        self.stage = Stage.HEAD
        self.was_refused_unread = False  # a body may still be on its way: do not close abruptly

    def receive(self, data: bytes, now: float) -> Request | None:
        """Take octets in, b"" for the end of the stream; return a request once it is complete."""
        if self.stage is Stage.OVER:
            return None
        self._has_begun = self._has_begun or bool(data)
        try:
            self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            self._refuse(_malformed(error))
            return None
        return self.next_request(now)

    def next_request(self, now: float) -> Request | None:
        """Return the next request among the octets that are here."""
        try:
            while self.stage in (Stage.HEAD, Stage.BODY):
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    self._continue_if_awaited()
                    return None
                if isinstance(event, h11.Request):
                    self._head(event, now)
                elif isinstance(event, h11.Data):
                    self._data(event)
                elif isinstance(event, h11.EndOfMessage):
                    self.stage = Stage.ANSWERING
                    self._deadline = None
                    return replace(self._request, body=bytes(self._body))
                else:  # the other end closed
                    self._over()
        except h11.RemoteProtocolError as error:
            self._refuse(_malformed(error))
        return None

    def _head(self, event: h11.Request, now: float) -> None:
        headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        method = event.method.decode("ascii")
        self._request = replace(self._template, method=method, headers=headers)
        try:
            path, query = parse_target(event.target.decode("ascii"))
        except RemoteProtocolError as error:
            self._refuse(error_response(400, str(error)))
            return
        self._request = replace(self._request, path=path, query=query)
        verdict = self._judge(self._request)
        if not isinstance(verdict, Response):
            verdict = self._body_verdict(verdict, headers)
        if isinstance(verdict, Response):
            self._refuse(verdict)
            return
        self._max_body = verdict
        self.stage = Stage.BODY
        self._deadline = now + self._limits.body_s

    @staticmethod
    def _body_verdict(max_body: int, headers: dict[str, str]) -> int | Response:
        if int(headers.get("content-length", "0")) > max_body:
            return _too_long(max_body)
        if headers.get("content-encoding", "identity") != "identity":
            return error_response(415, "content encoding not supported")
        return max_body

    def _data(self, event: h11.Data) -> None:
        self._body += event.data
        if len(self._body) > self._max_body:
            self._refuse(_too_long(self._max_body))

    def _continue_if_awaited(self) -> None:
        if self.stage is Stage.BODY and self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def answer(self, response: Response, now: float) -> None:
        """Answer the request that was returned last; the parts of another body than bytes follow."""
        if self.stage is not Stage.ANSWERING:
            raise LocalProtocolError(f"http session: answer while {self.stage.value}")
        body = response.body
        if isinstance(body, bytes):
            self._send_head(response, len(body))
            self.send_chunk(body)
            self.end_answer(now)
        else:
            self._send_head(response, sum(map(len, body)) if isinstance(body, tuple) else None)

    def send_chunk(self, chunk: bytes) -> None:
        """Send a part of the answer's body."""
        if chunk and self._request.method not in _METHODS_WITHOUT_BODY:
            self._send(h11.Data(data=chunk))

    def end_answer(self, now: float) -> None:
        """End the answer; the next request may be here already (`next_request`)."""
        self._send(h11.EndOfMessage())
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._body.clear()
            self.stage = Stage.HEAD
            self._has_begun = False
            self._deadline = now + self._limits.head_s
        else:
            self._over()

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def deadline(self) -> float | None:
        """When to call `on_deadline`."""
        return self._deadline

    def on_deadline(self, now: float) -> None:
        """The request did not come in time."""
        if self._deadline is None or now < self._deadline:
            return
        if self._has_begun:
            self._refuse(error_response(408, "request took too long"))
        else:
            self._over()

    def _refuse(self, response: Response) -> None:
        """Answer without having read all, after which the connection is over."""
        self.was_refused_unread = True
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = response.body if isinstance(response.body, bytes) else b""
            headers = {**response.headers, "Connection": "close"}
            self._send_head(replace(response, headers=headers), len(body))
            self.send_chunk(body)
            self._send(h11.EndOfMessage())
        self._over()

    def _over(self) -> None:
        self.stage = Stage.OVER
        self._deadline = None

    def _send_head(self, response: Response, length: int | None) -> None:
        fields = {**FOR_EVERY_ANSWER, "Content-Type": response.content_type, **response.headers}
        if length is not None:
            fields["Content-Length"] = str(length)
        else:  # whoever watches for the other end's leaving reads, and loses, what it sends meanwhile
            fields["Connection"] = "close"
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()]
        reason = HTTPStatus(response.status).phrase.encode("ascii")
        self._send(h11.Response(status_code=response.status, headers=headers, reason=reason))

    def _send(self, event: h11.Event) -> None:
        self._out += self._http.send(event) or b""


def _malformed(error: h11.RemoteProtocolError) -> Response:
    status = error.error_status_hint
    if status == 431:
        return error_response(431, "request head too large")
    return error_response(400, "malformed request")


def _too_long(limit: int) -> Response:
    return error_response(413, "body too large", f"at most {limit} octets")
