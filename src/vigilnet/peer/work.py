"""Identity work: a small Argon2id puzzle that makes identities cost something (docs/spec/peer.md section 4).

    work = Argon2id(password = nonce 8 ‖ u32 epoch, salt = SHA-256(label "identity work" ‖ identity)[:16],
                    m = 1024 KiB, t = 1, p = 1, 32 octets)

is done when its first `bits` bits are zero. A speed bump, 2.2 s in the mean at 12 bits and 0.53 ms to
check; limits per prefix and reputation carry the weight.
"""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vigilnet.crypto.kdf import sha256
from vigilnet.crypto.labels import Label, label_octets

EPOCH_S: Final = 7_776_000  # 90 d
NONCE_SIZE: Final = 8
DEFAULT_BITS: Final = 12
MAX_BITS: Final = 32
_MEMORY_KIB: Final = 1024


def epoch_of(published: int) -> int:
    """Return the epoch that work for a record published at this time belongs to."""
    return published // EPOCH_S


def work_hash(identity: bytes, nonce: bytes, epoch: int, network: str = "") -> bytes:
    """Return the 32 octets whose leading zero bits count."""
    salt = sha256(label_octets(Label.IDENTITY_WORK, network), identity)[:16]
    kdf = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=_MEMORY_KIB)
    return kdf.derive(nonce + epoch.to_bytes(4))


def is_work_done(identity: bytes, nonce: bytes, epoch: int, bits: int, network: str = "") -> bool:
    """Whether `nonce` has `bits` bits of work for this identity and epoch."""
    return bits == 0 or int.from_bytes(work_hash(identity, nonce, epoch, network)) >> (256 - bits) == 0


def find_nonce(
    identity: bytes,
    epoch: int,
    bits: int,
    random_bytes: Callable[[int], bytes],
    network: str = "",
    tries: int | None = None,
) -> bytes | None:
    """Do the work: seconds at the default of 12 bits, so services run it beside the event loop.

    Returns:
        The nonce, or None if `tries` did not find one; without `tries` it goes on until it does.
    """
    first = int.from_bytes(random_bytes(NONCE_SIZE))
    done = 0
    while tries is None or done < tries:
        nonce = ((first + done) % (1 << 64)).to_bytes(NONCE_SIZE)
        if is_work_done(identity, nonce, epoch, bits, network):
            return nonce
        done += 1
    return None
