"""The relay's decision about one connection (docs/spec/htx.md section 7; sans-IO).

    UNDECIDED --no client hello, or not authentic----------------------------> PLAIN (for ever)
        | authentic hello
    WATCHING --no TLS 1.3, an alert, or 4 records that do not open-----------> PLAIN
        | a record opens
    SWITCHED

Until the switch every octet goes on to the other side: at once while undecided or plain, by whole records
while watching, so that the switch falls between two of them. A second hello, where the origin asks for one,
need not be judged: the keys are bound to it as well.
"""

from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.noise import KEM_PUBLIC_SIZE
from vigilnet.traffic.transport.htx.authenticator import Authenticator, binding_of, switch_keys
from vigilnet.traffic.transport.htx.client_hello import X25519MLKEM768, decode_client_hello
from vigilnet.traffic.transport.htx.switch import Opened, SwitchKey
from vigilnet.traffic.transport.htx.wire import (
    MAX_HELLO,
    MESSAGE_HEAD,
    RECORD_HEAD,
    TLS_1_3,
    MessageReader,
    MessageType,
    Record,
    RecordReader,
    RecordType,
    decode_server_hello,
)

# From the specification.
MAX_TRIES: Final = 4  # application records of the client; its Finished is one

_HANDSHAKE: Final = bytes((RecordType.HANDSHAKE,))


class SessionState(Enum):
    """What became of a connection so far."""

    UNDECIDED = "undecided"
    WATCHING = "watching"
    PLAIN = "plain"
    SWITCHED = "switched"


class RelaySession:
    """One accepted connection and the one to the origin.

    Args:
        authenticator: of the whole relay.
        network: the private network's name.
    """

    def __init__(self, authenticator: Authenticator, network: str = "") -> None:
        self._authenticator = authenticator
        self._network = network
        self._client_records = RecordReader()
        self._origin_records = RecordReader()
        self._hello_reader = MessageReader(MAX_HELLO)
        self._server_reader = MessageReader(MAX_HELLO)
        self._shared = b""
        self._client_hello = b""
        self._hellos = b""  # what the switch is bound to, but for the origin's last word
        self._is_retried = False  # the origin asked for another hello
        self._awaits_hello = False  # which is not here yet
        self._keys: tuple[SwitchKey, SwitchKey] | None = None
        self._tries = 0
        self._unjudged = bytearray()
        self.state = SessionState.UNDECIDED
        self.binding = b""
        self.first = Opened(0, b"", b"")  # what was in the record that switched
        self.rest: list[Record] = []  # records of the client behind it
        self.is_faulty = False  # the record that switched is not of its form
        self.to_origin = bytearray()
        self.to_client = bytearray()
        self.is_new = True  # nothing came from the client yet

    @property
    def is_switched(self) -> bool:
        """Whether the connection is a link's from now on."""
        return self.state is SessionState.SWITCHED

    @property
    def keys(self) -> tuple[SwitchKey, SwitchKey]:
        """(client's, relay's) keys, once switched."""
        if self._keys is None:
            raise RemoteProtocolError("htx: no keys before the switch")
        return self._keys

    @property
    def leftover(self) -> bytes:
        """The client's octets that are no whole record yet, once switched."""
        return self._client_records.leftover

    def kem(self) -> MLKEM768PublicKey | None:
        """The ML-KEM key of the client's hello; None if it has none."""
        try:
            share = decode_client_hello(self._client_hello).key_shares.get(X25519MLKEM768, b"")
            return MLKEM768PublicKey.from_public_bytes(share[:KEM_PUBLIC_SIZE])
        except (RemoteProtocolError, ValueError):
            return None

    def client_data(self, data: bytes) -> None:
        """Take octets of the client."""
        if self.state is SessionState.WATCHING:
            self._watch_client(data)
            return
        if self.is_new and data[:1] != _HANDSHAKE:  # no need to read further
            self.state = SessionState.PLAIN
        self.is_new = False
        self.to_origin += data
        if self.state is SessionState.UNDECIDED:
            self._unjudged += data

    def judge(self, wall: float, now: float) -> None:
        """Decide about what came, once it is on its way: what that takes shows to nobody then."""
        if self._unjudged:
            data, self._unjudged = bytes(self._unjudged), bytearray()
            self._look_for_hello(data, wall, now)

    def origin_data(self, data: bytes) -> int:
        """Take octets of the origin; return how many records of it go on behind the client's Finished."""
        if self.state in (SessionState.UNDECIDED, SessionState.PLAIN):
            self.to_client += data
            return 0
        try:
            records = self._origin_records.feed(data)
        except RemoteProtocolError:
            self._become_plain()
            return 0
        for record in records:
            self.to_client += record.header + record.fragment
            self._look_for_server_hello(record)
        return len(records) if self._tries else 0

    def to_client_parts(self) -> list[bytes]:
        """Take what waits for the client, to be written: records behind its Finished each by itself."""
        waiting, self.to_client = bytes(self.to_client), bytearray()
        if self.state is not SessionState.WATCHING or not self._tries:
            return [waiting]  # an origin's handshake is one flight
        parts = []
        at = 0
        while at < len(waiting):
            end = at + RECORD_HEAD + int.from_bytes(waiting[at + 3 : at + RECORD_HEAD], "big")
            parts.append(waiting[at:end])
            at = end
        return parts

    def client_ended(self) -> None:
        """The client sends no more: nothing is held back any longer."""
        self._become_plain()

    def _become_plain(self) -> None:
        """Splice for ever, beginning with what was held back."""
        if self.state is SessionState.WATCHING:
            self.to_origin += self._client_records.leftover
            self.to_client += self._origin_records.leftover
        if not self.is_switched:
            self.state = SessionState.PLAIN
            self._shared = b""

    # --- undecided ------------------------------------------------------------------------------

    def _look_for_hello(self, data: bytes, wall: float, now: float) -> None:
        try:
            for record in self._client_records.feed(data):
                if record.kind != RecordType.HANDSHAKE or self.state is not SessionState.UNDECIDED:
                    self.state = SessionState.PLAIN
                    return
                self._hello_reader.feed(record.fragment)
                message = self._hello_reader.next()
                if message is not None:
                    self._authenticate(message, wall, now)
        except RemoteProtocolError:
            self.state = SessionState.PLAIN
        # what is left went to the origin already: a switch must not fall inside it
        if self._client_records.leftover and self.state is SessionState.WATCHING:
            self.state = SessionState.PLAIN

    def _authenticate(self, message: bytes, wall: float, now: float) -> None:
        shared = None
        if self._hello_reader.is_between_messages:
            shared = self._authenticator.judge(message, wall, now)
        if shared is None:
            self.state = SessionState.PLAIN
            return
        self._shared = shared
        self._client_hello = self._hellos = message
        self.state = SessionState.WATCHING

    # --- watching -------------------------------------------------------------------------------

    def _look_for_server_hello(self, record: Record) -> None:
        if self._keys is not None or self.state is not SessionState.WATCHING:
            return
        try:
            message = self._server_message(record)
            if message is None:
                return
            hello = decode_server_hello(message[MESSAGE_HEAD:])
        except RemoteProtocolError:
            self._become_plain()
            return
        if hello.version != TLS_1_3 or self._awaits_hello or (hello.is_retry and self._is_retried):
            self._become_plain()
            return
        if hello.is_retry:
            self._hellos += message
            self._is_retried = self._awaits_hello = True
            return
        self.binding = binding_of(self._hellos, message)
        to_relay, to_client = switch_keys(self._shared, self.binding, self._network)
        self._shared = b""
        self._keys = (SwitchKey(to_relay), SwitchKey(to_client))

    def _server_message(self, record: Record) -> bytes | None:
        if record.kind == RecordType.CHANGE_CIPHER_SPEC and self._is_retried:
            return None
        if record.kind != RecordType.HANDSHAKE:  # an alert, for one
            raise RemoteProtocolError(f"origin: record of type {record.kind} before its hello")
        self._server_reader.feed(record.fragment)
        message = self._server_reader.next()
        if message is not None and message[0] != MessageType.SERVER_HELLO:
            raise RemoteProtocolError(f"origin: message {message[0]} before its hello")
        return message

    def _watch_client(self, data: bytes) -> None:
        try:
            records = self._client_records.feed(data)
        except RemoteProtocolError:
            self._become_plain()
            return
        is_broken = False
        for at, record in enumerate(records):
            opened = self._try(record)
            if opened is not None:
                self.state = SessionState.SWITCHED
                self.first = opened
                self.rest = records[at + 1 :]
                return
            self.to_origin += record.header + record.fragment
            is_broken = is_broken or not self._look_for_second_hello(record)
        if self._tries >= MAX_TRIES or is_broken:
            self._become_plain()

    def _look_for_second_hello(self, record: Record) -> bool:
        """Take the hello that the origin asked for; return whether the client still does as one of ours."""
        if not self._awaits_hello or record.kind == RecordType.CHANGE_CIPHER_SPEC:
            return True
        if record.kind != RecordType.HANDSHAKE:
            return False
        try:
            self._hello_reader.feed(record.fragment)
            message = self._hello_reader.next()
        except RemoteProtocolError:
            return False
        if message is None:
            return True
        self._hellos += message
        self._awaits_hello = False
        return message[0] == MessageType.CLIENT_HELLO and self._hello_reader.is_between_messages

    def _try(self, record: Record) -> Opened | None:
        is_ours = record.kind == RecordType.APPLICATION_DATA and self._tries < MAX_TRIES
        if self._keys is None or not is_ours:
            return None
        self._tries += 1
        try:
            return self._keys[0].open(record)
        except RemoteProtocolError:
            self.is_faulty = True
            return Opened(0, b"", b"")
