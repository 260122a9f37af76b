"""Writes the vectors of docs/spec/discovery.md: `python -m tests.vectors.discovery.generate`.

Deterministic: the record is that of ../protocol/record.json, keys come from fixed seeds.
"""

import json
from pathlib import Path

from tests.support.vectors import protocol_vectors
from vigilnet.peer.identity import Identity
from vigilnet.routing.discovery.invite import format_invite
from vigilnet.routing.discovery.welcome import format_welcome

FOLDER = Path(__file__).parent
SIGNER = bytes(range(32))


def invites() -> dict[str, object]:
    """One invite, and a welcome list that holds it, plain and signed in two networks."""
    record = bytes.fromhex(protocol_vectors("record")[0]["record"])
    signer = Identity.from_seed(SIGNER)
    return {
        "record": record.hex(),
        "invite": format_invite(record),
        "signer_seed": SIGNER.hex(),
        "signer": signer.peer_id,
        "welcome_plain": format_welcome([record], remark="ours"),
        "welcome_signed": format_welcome([record], signer, remark="ours"),
        "welcome_signed_lab": format_welcome([record], signer, "lab"),
    }


def main() -> None:
    """Write every file."""
    for name, make in (("invite", invites),):
        (FOLDER / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
