"""Errors say what went wrong, where it lies and who can act (docs/ARCHITECTURE.md, "Errors").

Messages are `what: got, expected` in lower case, without a full stop, values with units.
Rooms add subclasses beside the code that raises them.
"""

from enum import Enum


class ErrorKind(Enum):
    """Where the fault lies and who can act; two kinds differ only if a caller would react differently."""

    REMOTE_PROTOCOL = "remote protocol"  # a peer broke the protocol: drop it, lower its standing
    LOCAL_PROTOCOL = "local protocol"  # our own bug: report it
    CONFIGURATION = "configuration"  # the user must change a setting
    ENVIRONMENT = "environment"  # this machine refuses: port in use, disk full, no rights
    UNREACHABLE = "unreachable"  # the network or a peer does not answer: try another, later
    REFUSED = "refused"  # a peer answered no: by policy or for lack of room
    CLOSED = "closed"  # the object was closed, by us or by the other end


class VigilnetError(Exception):
    """Base of all errors that VigilNet raises on purpose."""

    kind: ErrorKind = ErrorKind.LOCAL_PROTOCOL

    def __init__(self, message: str, kind: ErrorKind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class RemoteProtocolError(VigilnetError):
    """The peer's fault: what it sent is malformed, forged or out of turn."""

    kind = ErrorKind.REMOTE_PROTOCOL


class LocalProtocolError(VigilnetError):
    """Our own fault: a call that the caller must not make."""

    kind = ErrorKind.LOCAL_PROTOCOL


class ConfigurationError(VigilnetError):
    """The user's setting cannot be used; the message names it and says what to do."""

    kind = ErrorKind.CONFIGURATION


class EnvironmentRefusedError(VigilnetError):
    """This machine refuses what we need (port in use, folder not writable, no rights)."""

    kind = ErrorKind.ENVIRONMENT
