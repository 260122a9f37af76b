"""The TLS 1.3 client that talks to the origin (docs/spec/htx.md section 5; RFC 8446; sans-IO).

It runs the origin's real handshake to the end, as the browser of its template would: no resumption, no early
data, no client certificate. What comes after is the switch's affair (`switch`), which needs the transcript's
first two messages and, for records of the origin that are still on their way, the opened keys.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.alerts import CLOSE_NOTIFY, Fault, TlsFaultError, alert_for
from vigilnet.traffic.transport.htx.certificates import UntrustedCertificateError, check_signature, decompress
from vigilnet.traffic.transport.htx.client_hello import X25519, X25519MLKEM768
from vigilnet.traffic.transport.htx.ech import (
    EchConfig,
    InnerHello,
    decode_configs,
    is_taken,
    is_taken_in_retry,
)
from vigilnet.traffic.transport.htx.hello import BuiltHello, ShareKeys, build_retry
from vigilnet.traffic.transport.htx.key_schedule import (
    SUITES,
    KeySchedule,
    RecordProtection,
    TlsSuite,
    finished,
    is_finished,
)
from vigilnet.traffic.transport.htx.wire import (
    MAX_FRAGMENT,
    MESSAGE_HEAD,
    TLS_1_3,
    ExtensionType,
    MessageReader,
    MessageType,
    Record,
    RecordReader,
    RecordType,
    ServerHello,
    check_new_session_ticket,
    decode_alert,
    decode_alpn,
    decode_certificate,
    decode_certificate_verify,
    decode_compressed_certificate,
    decode_encrypted_extensions,
    decode_key_update,
    decode_server_hello,
    encode_message,
    encode_record,
)

_KEM_CIPHERTEXT: Final = 1088
_CHANGE_CIPHER_SPEC: Final = encode_record(RecordType.CHANGE_CIPHER_SPEC, b"\1")
MAX_TICKETS: Final = 16

CheckChain = Callable[[Sequence[bytes]], None]


class TlsState(Enum):
    """What is awaited."""

    SERVER_HELLO = "server hello"
    ENCRYPTED_EXTENSIONS = "encrypted extensions"
    CERTIFICATE = "certificate"
    CERTIFICATE_VERIFY = "certificate verify"
    FINISHED = "finished"
    OPEN = "open"
    CLOSED = "closed"


class TlsAlertError(TlsFaultError):
    """The server gave up the handshake, or speaks another TLS than we can go on with."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Fault.VERSION)


class EchRefusedError(TlsFaultError):
    """The origin took the outer hello; `configs` are what it says to use instead, under its certificate.

    Raised behind a whole handshake with the public name, as browsers go on to the end before they try again.
    """

    def __init__(self, configs: Sequence[EchConfig]) -> None:
        super().__init__("ech: the origin did not take it: its config has changed", Fault.ECH)
        self.configs = tuple(configs)


@dataclass(frozen=True)
class Handshake:
    """What a finished handshake leaves behind."""

    hellos: bytes  # the client's, a whole message; or its first one, what asked for another, and that one
    server_hello: bytes
    suite: int
    group: int
    alpn: bytes
    chain: tuple[bytes, ...]
    was_retried: bool


class TlsClient:
    """One connection to an origin.

    Args:
        built: our hello, session id included.
        check_chain: judges the origin's certificates (DER, leaf first), raising RemoteProtocolError; for the
            name in the outer hello once `has_refused_ech`.
        inner: the hello inside ours, if it has a real ECH: the handshake ends open with it or not at all.
    """

    def __init__(self, built: BuiltHello, check_chain: CheckChain, inner: InnerHello | None = None) -> None:
        self._built = built
        self._inner = inner
        self._check_chain = check_chain
        self._records = RecordReader()
        self._messages = MessageReader()
        self._transcript: list[bytes] = [built.hello.encode()]
        self._schedule: KeySchedule | None = None
        self._reader: RecordProtection | None = None
        self._writer: RecordProtection | None = None
        self._secrets = (b"", b"")  # client's and server's handshake traffic secrets
        self._server_hello: ServerHello | None = None
        self._facts: dict[str, bytes] = {}
        self._hellos = self._transcript[0]
        self._chain: list[bytes] = []
        self._was_retried = False
        self.has_refused_ech = False
        self._tickets = 0
        self._outbox = bytearray(
            encode_record(RecordType.HANDSHAKE, self._transcript[0], built.template.record_version)
        )
        self._received = bytearray()
        self.state = TlsState.SERVER_HELLO
        self.handshake: Handshake | None = None

    # --- the five verbs, as far as a client without timers has them -----------------------------

    def receive(self, data: bytes | memoryview) -> None:
        """Take octets from the origin.

        Raises:
            RemoteProtocolError: the origin broke the protocol, gave up, or is not trusted; the alert that
                the browser would send lies in `data_to_send`.
        """
        if self.state is TlsState.CLOSED:
            return
        try:
            for record in self._records.feed(data):
                self.receive_record(record)
        except RemoteProtocolError as error:
            self._fail(error)
            raise

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def data_received(self) -> bytes:
        """Return what the origin's application said."""
        data = bytes(self._received)
        self._received.clear()
        return data

    def send(self, data: bytes) -> None:
        """Queue application octets, one record for each 16 KiB."""
        if self.state is not TlsState.OPEN or self._writer is None:
            raise LocalProtocolError(f"tls: sending while {self.state.value} is awaited")
        for at in range(0, len(data), MAX_FRAGMENT):
            self._outbox += self._writer.seal(RecordType.APPLICATION_DATA, data[at : at + MAX_FRAGMENT])

    def close(self) -> None:
        """Say goodbye as a browser does."""
        if self.state is TlsState.OPEN and self._writer is not None:
            self._outbox += self._writer.seal(RecordType.ALERT, bytes((1, CLOSE_NOTIFY)))
        self.state = TlsState.CLOSED

    @property
    def leftover(self) -> bytes:
        """Octets of a record that is not whole yet."""
        return self._records.leftover

    # --- records --------------------------------------------------------------------------------

    def receive_record(self, record: Record) -> None:
        """Take one record of the origin; used alone after the switch, for those still on their way."""
        if record.kind == RecordType.CHANGE_CIPHER_SPEC:
            if record.fragment != b"\1" or self.state is TlsState.OPEN:
                raise RemoteProtocolError("tls: a change of cipher spec that says something")
            return
        kind, data = record.kind, record.fragment
        if self._reader is not None:
            kind, data = self._reader.open(record)
        if kind == RecordType.ALERT:
            self._alert(data)
        elif kind == RecordType.HANDSHAKE:
            self._messages.feed(data)
            while self.state is not TlsState.CLOSED and (message := self._messages.next()) is not None:
                self._message(message)
        elif self.state is TlsState.OPEN:
            self._received += data
        else:
            raise RemoteProtocolError("tls: application data during the handshake")

    def _alert(self, data: bytes) -> None:
        _, description = decode_alert(data)
        is_goodbye = description == CLOSE_NOTIFY and self.state is TlsState.OPEN
        self.state = TlsState.CLOSED
        if not is_goodbye:
            raise TlsAlertError(f"tls: the origin gave up with alert {description}")

    def _message(self, message: bytes) -> None:
        kind, body = message[0], message[MESSAGE_HEAD:]
        match self.state, kind:
            case TlsState.SERVER_HELLO, MessageType.SERVER_HELLO:
                self._take_server_hello(message, decode_server_hello(body))
            case TlsState.ENCRYPTED_EXTENSIONS, MessageType.ENCRYPTED_EXTENSIONS:
                self._take_extensions(message, decode_encrypted_extensions(body))
            case TlsState.CERTIFICATE, MessageType.CERTIFICATE | MessageType.COMPRESSED_CERTIFICATE:
                self._take_certificate(message, kind)
            case TlsState.CERTIFICATE_VERIFY, MessageType.CERTIFICATE_VERIFY:
                scheme, signature = decode_certificate_verify(body)
                self._check_scheme(scheme)
                check_signature(self._chain[0], scheme, signature, self._digest())
                self._transcript.append(message)
                self.state = TlsState.FINISHED
            case TlsState.FINISHED, MessageType.FINISHED:
                self._take_finished(message)
            case TlsState.OPEN, _:
                self._take_later(kind, body)
            case _:
                raise TlsFaultError(f"tls: message {kind} while {self.state.value} is awaited", Fault.ORDER)

    def _digest(self) -> bytes:
        if self._schedule is None:
            raise LocalProtocolError("tls: no transcript hash before the suite is known")
        digest = hashlib.new(self._schedule.suite.hash_name)
        for message in self._transcript:
            digest.update(message)
        return digest.digest()

    # --- the server's flight --------------------------------------------------------------------

    def _take_server_hello(self, message: bytes, hello: ServerHello) -> None:
        built = self._built
        if hello.version != TLS_1_3:
            raise TlsAlertError(f"tls: the origin chose version {hello.version:#06x}, 1.3 is needed")
        if hello.session_id != built.hello.session_id:
            raise TlsFaultError("server hello: another session id", Fault.SESSION_ID)
        if hello.suite not in built.hello.suites or hello.suite not in SUITES:
            raise TlsFaultError(f"server hello: suite {hello.suite:#06x} was not offered", Fault.ILLEGAL)
        if self._server_hello and self._server_hello.suite != hello.suite:
            raise TlsFaultError(f"server hello: suite {hello.suite:#06x} after another", Fault.ILLEGAL)
        if not self._messages.is_between_messages:
            raise RemoteProtocolError("server hello: more in its record")
        self._server_hello = hello
        if hello.is_retry:
            self._retry(message, hello)
            return
        self._check_ech(message, SUITES[hello.suite])
        shared = shared_secret(built.keys, hello)
        self._transcript.append(message)
        self._schedule = schedule = KeySchedule(SUITES[hello.suite], shared)
        digest = self._digest()
        self._secrets = (
            schedule.traffic_secret(b"c hs traffic", digest),
            schedule.traffic_secret(b"s hs traffic", digest),
        )
        self._writer = RecordProtection(schedule.suite, self._secrets[0])
        self._reader = RecordProtection(schedule.suite, self._secrets[1])
        self._facts["server hello"] = message
        self.state = TlsState.ENCRYPTED_EXTENSIONS

    def _check_ech(self, message: bytes, suite: TlsSuite) -> None:
        """Go on with the inner hello where the origin took it, else with the outer one, to an end."""
        inner = self._inner
        if inner is None or self.has_refused_ech:
            return
        if self._was_retried:  # the transcript is the inner hellos' since then
            if not is_taken(suite, inner.hello, b"".join(self._transcript), message):
                raise TlsFaultError("server hello: takes no ech, though the retry did", Fault.ILLEGAL)
        elif is_taken(suite, inner.hello, inner.hello.encode(), message):
            self._transcript[0] = inner.hello.encode()
        else:
            self.has_refused_ech = True

    def _retry(self, message: bytes, hello: ServerHello) -> None:
        if self._was_retried:
            raise RemoteProtocolError("server hello: asks twice for another hello")
        self._was_retried = True
        built = build_retry(self._built, hello.share_group, hello.cookie)
        suite, first, second = SUITES[hello.suite], self._transcript[0], built.hello
        if self._inner is not None:
            inside = self._inner.hello
            hashed = _message_hash(suite, inside.encode())
            self.has_refused_ech = not is_taken_in_retry(suite, inside, hashed, hello, message)
            if not self.has_refused_ech:
                built, self._inner = self._inner.inside(built, 1)
                first, second = inside.encode(), self._inner.hello
        self._built = built
        self._transcript = [_message_hash(suite, first), message, second.encode()]
        said = built.hello.encode()
        self._hellos += message + said
        self._outbox += _CHANGE_CIPHER_SPEC + encode_record(RecordType.HANDSHAKE, said)

    def _take_extensions(self, message: bytes, extensions: dict[int, bytes]) -> None:
        offered = {kind for kind, _ in self._built.hello.extensions}
        if not extensions.keys() <= offered:
            raise RemoteProtocolError("encrypted extensions: one that was not offered")
        if ExtensionType.ALPN in extensions:
            name = decode_alpn(extensions[ExtensionType.ALPN])
            if name not in self._built.template.alpn:
                raise RemoteProtocolError("alpn: a protocol that was not offered")
            self._facts["alpn"] = name
        if self._inner is not None and ExtensionType.ECH in extensions:
            if not self.has_refused_ech:
                raise RemoteProtocolError("encrypted extensions: other ech configs, though ours was taken")
            self._facts["configs"] = extensions[ExtensionType.ECH]
        self._transcript.append(message)
        self.state = TlsState.CERTIFICATE

    def _take_certificate(self, message: bytes, kind: int) -> None:
        body = message[MESSAGE_HEAD:]
        if kind == MessageType.COMPRESSED_CERTIFICATE:
            algorithm, size, data = decode_compressed_certificate(body)
            offered = self._built.hello.extension(ExtensionType.COMPRESS_CERTIFICATE) or b"\0"
            if algorithm.to_bytes(2, "big") not in {offered[at : at + 2] for at in range(1, len(offered), 2)}:
                raise RemoteProtocolError(f"compressed certificate: algorithm {algorithm} was not offered")
            body = decompress(algorithm, data, size)
        self._chain = decode_certificate(body)
        self._transcript.append(message)
        self.state = TlsState.CERTIFICATE_VERIFY

    def _check_scheme(self, scheme: int) -> None:
        offered = self._built.hello.extension(ExtensionType.SIGNATURE_ALGORITHMS) or b""
        if scheme.to_bytes(2, "big") not in {offered[at : at + 2] for at in range(2, len(offered), 2)}:
            raise RemoteProtocolError(f"certificate verify: scheme {scheme:#06x} was not offered")

    def _take_finished(self, message: bytes) -> None:
        schedule, hello = self._schedule, self._server_hello
        if schedule is None or hello is None or self._writer is None:
            raise LocalProtocolError("tls: finished without keys")
        suite = schedule.suite
        if not is_finished(suite, self._secrets[1], self._digest(), message[MESSAGE_HEAD:]):
            raise TlsFaultError("tls: the origin's finished is wrong", Fault.SIGNATURE)
        if not self._messages.is_between_messages:
            raise RemoteProtocolError("tls: more behind finished under the same key")
        late_fault: TlsFaultError | None = self._judge_chain()
        self._transcript.append(message)
        digest = self._digest()
        schedule.advance()
        ours = finished(suite, self._secrets[0], digest)
        if not self._was_retried:
            self._outbox += _CHANGE_CIPHER_SPEC
        self._outbox += self._writer.seal(RecordType.HANDSHAKE, encode_message(MessageType.FINISHED, ours))
        self._writer = RecordProtection(suite, schedule.traffic_secret(b"c ap traffic", digest))
        self._reader = RecordProtection(suite, schedule.traffic_secret(b"s ap traffic", digest))
        self._secrets = (b"", b"")
        self.state = TlsState.OPEN
        self.handshake = Handshake(
            hellos=self._hellos,
            server_hello=self._facts["server hello"],
            suite=hello.suite,
            group=hello.share_group or 0,
            alpn=self._facts.get("alpn", b""),
            chain=tuple(self._chain),
            was_retried=self._was_retried,
        )
        if late_fault is None and self.has_refused_ech:
            late_fault = EchRefusedError(decode_configs(self._facts.get("configs", b"\0\4\0\0\0\0")))
        if late_fault is not None:
            self.handshake = None
            raise late_fault

    def _judge_chain(self) -> UntrustedCertificateError | None:
        """Raise what the browser says at once; return what it finds only when it is through."""
        try:
            self._check_chain(self._chain)
        except UntrustedCertificateError as error:
            if alert_for(error, self._built.template.name) != CLOSE_NOTIFY:
                raise
            return error
        return None

    def _take_later(self, kind: int, body: bytes) -> None:
        """Take what may come behind the handshake: tickets and key updates."""
        if self._reader is None or self._writer is None:
            raise LocalProtocolError("tls: open without keys")
        if kind == MessageType.NEW_SESSION_TICKET and self._tickets < MAX_TICKETS:
            self._tickets += 1
            check_new_session_ticket(body)
        elif kind == MessageType.KEY_UPDATE and self._messages.is_between_messages:
            if decode_key_update(body):
                answer = encode_message(MessageType.KEY_UPDATE, b"\0")
                self._outbox += self._writer.seal(RecordType.HANDSHAKE, answer)
                self._writer.update()
            self._reader.update()
        else:
            raise RemoteProtocolError(f"tls: message {kind} after the handshake")

    # --- giving up ------------------------------------------------------------------------------

    def _fail(self, error: RemoteProtocolError) -> None:
        number = alert_for(error, self._built.template.name)
        if self.state is not TlsState.CLOSED and number is not None:
            alert = bytes((1 if number == CLOSE_NOTIFY else 2, number))
            if self._writer is None:
                self._outbox += encode_record(RecordType.ALERT, alert)
            else:
                self._outbox += self._writer.seal(RecordType.ALERT, alert)
        self.state = TlsState.CLOSED


def _message_hash(suite: TlsSuite, hello: bytes) -> bytes:
    """Return what stands for a first hello in the transcript of two (RFC 8446 section 4.4.1)."""
    return encode_message(254, hashlib.new(suite.hash_name, hello).digest())


def shared_secret(keys: ShareKeys, hello: ServerHello) -> bytes:
    """Return what our key shares and the server's give together.

    Raises:
        RemoteProtocolError: a group whose share we did not send, or a share that is none.
    """
    group, share = hello.share_group, hello.share
    try:
        if group == X25519 and keys.x25519 is not None:
            return keys.x25519.exchange(X25519PublicKey.from_public_bytes(share))
        if group == X25519MLKEM768 and keys.hybrid is not None:
            kem, x25519 = keys.hybrid
            point = X25519PublicKey.from_public_bytes(share[_KEM_CIPHERTEXT:])
            return kem.decapsulate(share[:_KEM_CIPHERTEXT]) + x25519.exchange(point)
        if keys.curve is not None and group == curve_group(keys.curve.curve):
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(keys.curve.curve, share)
            return keys.curve.exchange(ec.ECDH(), theirs)
    except ValueError as error:
        raise RemoteProtocolError(f"server hello: share of group {group} is none") from error
    raise RemoteProtocolError(f"server hello: group {group} has no share of ours")


def curve_group(curve: ec.EllipticCurve) -> int:
    """Return the number of a NIST curve among TLS groups."""
    return 23 if isinstance(curve, ec.SECP256R1) else 24
