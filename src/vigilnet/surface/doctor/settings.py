"""What can be wrong with the settings and with the files that they name."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from vigilnet.node.acme import ACME_FOLDER, CERTIFICATE
from vigilnet.node.options import Options
from vigilnet.peer.special_addresses import is_public
from vigilnet.surface.control.models import Finding
from vigilnet.surface.doctor.finding import Situation, failed, noted, passed

_FILES = ("node.peer_files", "discovery.welcome_lists", "htx.templates")


def check_settings(situation: Situation) -> Iterator[Finding]:
    """Look at the settings file and at what it names."""
    loaded = situation.loaded
    if loaded is None:
        yield failed(
            "settings.broken", "The settings cannot be used",
            "A node does not start with settings that say something else than their owner meant.",
            f"correct the line that is named, in {situation.file}", situation.refusal,
        )  # fmt: skip
        return
    yield passed("settings.broken", "The settings can be read")
    if loaded.warnings:
        yield noted(
            "settings.unknown", "Some settings have no effect",
            "They are misspelt, or of another version.", "vigilnet config list", *loaded.warnings,
        )  # fmt: skip
    else:
        yield passed("settings.unknown", "Every setting is known")
    yield from _check_files(loaded.options)
    yield from _check_relay(loaded.options)
    yield from _check_certificate(loaded.options, situation.folder)


def _check_files(options: Options) -> Iterator[Finding]:
    named = [*options.node.peer_files, *options.discovery.welcome_lists, *options.htx.templates]
    if options.htx.trust_anchors is not None:
        named.append(options.htx.trust_anchors)
    missing = [str(path) for path in map(Path, named) if not path.is_file()]
    if missing:
        yield failed(
            "settings.file", "A file that the settings name is not there",
            "The node does not start, or starts without what the file holds.",
            "correct the path, or put the file back", *missing,
        )  # fmt: skip
    else:
        yield passed("settings.file", "Every file that the settings name is there")
    log = options.log.file
    if log is not None and not (log.is_file() or log.parent.is_dir()):
        yield failed(
            "settings.log", "The log file cannot be written",
            "The node does not start.", "vigilnet config reset log.file", str(log),
        )  # fmt: skip


def _check_relay(options: Options) -> Iterator[Finding]:
    if not options.relay.enabled:
        return
    private = [text for text in options.relay.advertise if _is_private(text)]
    if private and not options.link.allow_private_addresses:
        yield failed(
            "settings.advertise", "This relay tells others an address that they cannot reach",
            "Private and loopback addresses lead nowhere from elsewhere.",
            "vigilnet config set relay.advertise YOUR-PUBLIC-ADDRESS:4001", *private,
        )  # fmt: skip
    else:
        yield passed(
            "settings.advertise", "What this relay tells others can be reached, as far as one can see"
        )
    if options.exit.enabled and not (options.exit.accept_notice and options.exit.abuse_contact):
        yield failed(
            "settings.consent", "The exit has no consent or no address for complaints",
            "No exit starts without both.", "vigilnet mode exit --abuse-contact YOU@EXAMPLE.ORG",
        )  # fmt: skip


def _check_certificate(options: Options, folder: Path) -> Iterator[Finding]:
    """Look at the certificate of a relay's own site: the operator's file, or what an authority gave us."""
    settings = options.htx
    if not options.relay.enabled or not (settings.acme_directory or settings.certificate):
        return
    is_asked_for = bool(settings.acme_directory)
    file = folder / ACME_FOLDER / CERTIFICATE if is_asked_for else settings.certificate or Path()
    next_step = (
        "see `vigilnet status` for why the authority gives none; port 443 of the host name must lead here"
        if is_asked_for
        else "renew it, or have it renewed: see htx.acme_directory"
    )
    try:
        leaf = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        if not is_asked_for:
            yield failed(
                "settings.certificate", "The certificate of this relay's web site cannot be read",
                "The node does not start.", "correct htx.certificate", str(file),
            )  # fmt: skip
            return
        leaf = None
    now = datetime.now(UTC)
    if leaf is None or (is_asked_for and leaf.issuer == leaf.subject):
        yield noted(
            "settings.certificate", "This relay's web site has no certificate yet",
            "Clients do not believe it, and do not come.", next_step,
        )  # fmt: skip
    elif leaf.not_valid_after_utc <= now:
        yield failed(
            "settings.certificate", "The certificate of this relay's web site has ended",
            "Clients do not believe it, and do not come.", next_step,
            f"ended {leaf.not_valid_after_utc:%Y-%m-%d}",
        )  # fmt: skip
    elif leaf.not_valid_after_utc - now < (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 6:
        yield noted(
            "settings.certificate", "The certificate of this relay's web site ends soon",
            "Renewal is late.", next_step, f"ends {leaf.not_valid_after_utc:%Y-%m-%d}",
        )  # fmt: skip
    else:
        yield passed("settings.certificate", "The certificate of this relay's web site is valid")


def _is_private(text: str) -> bool:
    host = text.rpartition(":")[0].removeprefix("[").removesuffix("]")
    found = is_public(host)
    return host in ("", "localhost") if found is None else not found
