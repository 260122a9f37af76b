"""Welcome lists: invites in a file that anybody may write, sign, edit and pass on (discovery.md section 3).

    vigilnet welcome 1
    # a remark
    vigilnet:...
    vigilnet:...
    signed 12D3KooW... <base64url of the signature over all lines before, without padding>

The last line is optional. The relays in a list are ordinary relays without any privilege, and no list
is compiled in.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.peer.identity import SIGNATURE_SIZE, Identity, is_signed_by, parse_peer_id
from vigilnet.routing.discovery.invite import MAX_INVITE_LENGTH, format_invite, parse_invite

HEAD: Final = "vigilnet welcome 1"
SIGNED: Final = "signed"
MAX_ENTRIES: Final = 256
MAX_LIST_SIZE: Final = 512 * 1024
MAX_LINE_LENGTH: Final = MAX_INVITE_LENGTH + 25


@dataclass(frozen=True)
class WelcomeList:
    """What a list holds; `signer` is the identity key whose signature was verified, or None."""

    records: tuple[bytes, ...]
    signer: bytes | None = None


def format_welcome(
    records: Sequence[bytes], signer: Identity | None = None, network: str = "", remark: str = ""
) -> str:
    """Return a list of encoded records, signed if there is a signer.

    Args:
        records: encoded records, at most `MAX_ENTRIES`.
        signer: whose list it is.
        network: name of a private network.
        remark: one line for people.
    """
    if len(records) > MAX_ENTRIES or "\n" in remark or len(remark) > 200 or not remark.isascii():
        raise LocalProtocolError(f"welcome list: over {MAX_ENTRIES} records, or no such remark")
    lines = [HEAD, *([f"# {remark}"] if remark else []), *map(format_invite, records)]
    text = "".join(f"{line}\n" for line in lines)
    if signer is None:
        return text
    signature = base64.urlsafe_b64encode(signer.sign(_signed_octets(text.encode(), network)))
    return f"{text}{SIGNED} {signer.peer_id} {signature.rstrip(b'=').decode()}\n"


def parse_welcome(content: bytes, network: str = "") -> WelcomeList:
    """Read a list and verify its signature if it has one; the records in it are not judged here.

    Raises:
        RemoteProtocolError: not a list, beyond a limit, or a signature that does not fit; the text
            names the line.
    """
    if len(content) > MAX_LIST_SIZE:
        raise RemoteProtocolError(f"welcome list: {len(content)} octets, at most {MAX_LIST_SIZE}")
    if not content.isascii():
        raise RemoteProtocolError("welcome list: not plain ascii text")
    content = content.replace(b"\r\n", b"\n")  # editors and mail change line ends; signing is before that
    lines = content.decode("ascii").split("\n")
    if lines[0].rstrip() != HEAD:
        raise RemoteProtocolError(f"welcome list: first line is not {HEAD!r}")
    records: list[bytes] = []
    for number, line in enumerate(lines[1:], 2):
        if line.startswith(f"{SIGNED} "):
            return WelcomeList(tuple(records), _verified(content, lines, number, network))
        if line.strip() and not line.startswith("#"):
            records.append(_entry(line, number, len(records)))
    return WelcomeList(tuple(records))


def _entry(line: str, number: int, count: int) -> bytes:
    if count >= MAX_ENTRIES:
        raise RemoteProtocolError(f"welcome list, line {number}: over {MAX_ENTRIES} invites")
    try:
        return parse_invite(line)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"welcome list, line {number}: {error}") from error


def _verified(content: bytes, lines: Sequence[str], number: int, network: str) -> bytes:
    """Return the identity key whose signature stands on line `number`, the last one."""
    if any(line.strip() for line in lines[number:]):
        raise RemoteProtocolError(f"welcome list, line {number}: more follows the signature")
    words = lines[number - 1].split()
    if len(words) != 3 or len(words[2]) != -(-SIGNATURE_SIZE * 4 // 3):
        raise RemoteProtocolError(f"welcome list, line {number}: not `{SIGNED} PEER-ID SIGNATURE`")
    signer = parse_peer_id(words[1])
    try:
        signature = base64.b64decode(words[2] + "==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise RemoteProtocolError(f"welcome list, line {number}: signature is not base64url") from error
    head = b"".join(line.encode() + b"\n" for line in lines[: number - 1])
    if not is_signed_by(signer, signature, _signed_octets(head, network)):
        raise RemoteProtocolError(
            f"welcome list, line {number}: signature does not fit; if you edited the list, remove this line"
        )
    return signer


def _signed_octets(text: bytes, network: str) -> bytes:
    return label_octets(Label.WELCOME_LIST, network) + b"\0" + text
