"""The five modes of a node, and what each does.

mode       relays  exits  runs a directory  registers  asks directories
client     no      no     no                no         yes
relay      yes     no     no                yes        yes
bootstrap  yes     no     yes               no         no
exit       yes     yes    no                yes        yes
super      yes     yes    yes               yes        yes: other operators'
"""

from enum import Enum
from typing import Final

from vigilnet.base.errors import ConfigurationError

ALIASES: Final = {"relay-only": "relay", "exit-node": "exit"}  # of before
EXIT_NOTICE: Final = (
    "An exit sends other people's traffic to the Internet from your address. Complaints about it, and "
    "questions of the police, come to you; in some countries you may answer for it. Ask your provider, and "
    "do not run an exit at home. docs/exit-notice.md says more."
)


class InvalidModeError(ConfigurationError):
    """A mode that never was one."""


class Mode(Enum):
    """What a node does for others."""

    CLIENT = "client"
    RELAY = "relay"
    BOOTSTRAP = "bootstrap"
    EXIT = "exit"
    SUPER = "super"

    @property
    def runs_directory(self) -> bool:
        """Whether it serves a directory of relays."""
        return self in (Mode.BOOTSTRAP, Mode.SUPER)

    @property
    def sends_heartbeat(self) -> bool:
        """Whether it registers with operators, again and again."""
        return self in (Mode.RELAY, Mode.EXIT, Mode.SUPER)

    @property
    def supports_relay(self) -> bool:
        """Whether it forwards for strangers."""
        return self is not Mode.CLIENT

    @property
    def supports_exit(self) -> bool:
        """Whether strangers' traffic leaves here."""
        return self in (Mode.EXIT, Mode.SUPER)

    @property
    def queries_directory(self) -> bool:
        """Whether it asks operators for relays."""
        return self is not Mode.BOOTSTRAP

    @property
    def features(self) -> tuple[str, ...]:
        """What is on, in words for the log."""
        words = {
            "relays for others": self.supports_relay,
            "exit to the Internet": self.supports_exit,
            "directory": self.runs_directory,
            "registers with operators": self.sends_heartbeat,
            "asks operators": self.queries_directory,
        }
        return tuple(word for word, is_on in words.items() if is_on)


def parse_mode(text: str) -> Mode:
    """Return the mode of this name, or of an old alias.

    Raises:
        InvalidModeError: there is none.
    """
    name = text.strip().lower()
    try:
        return Mode(ALIASES.get(name, name))
    except ValueError as error:
        names = ", ".join(mode.value for mode in Mode)
        raise InvalidModeError(f"Invalid helper mode: '{text}'. Valid modes: {names}") from error


def mode_of(*, is_relay: bool, is_exit: bool) -> Mode:
    """Return the mode of settings that name none."""
    if not is_relay:
        return Mode.CLIENT
    return Mode.EXIT if is_exit else Mode.RELAY


def check_consent(*, has_accepted: bool, abuse_contact: str) -> None:
    """Let an exit start only with its owner's consent.

    Raises:
        ConfigurationError: it is missing; the text says what to read and what to give.
    """
    missing = []
    if not has_accepted:
        missing.append("--accept-exit-notice (or exit.accept_notice = true)")
    if not abuse_contact:
        missing.append("an address for complaints: EXIT_ABUSE_EMAIL or exit.abuse_contact")
    if missing:
        raise ConfigurationError(f"exit: {EXIT_NOTICE} To consent, give {' and '.join(missing)}")
