"""Writes streams.json: python tests/vectors/shadowsocks/generate.py > tests/vectors/shadowsocks/streams.json.

Straight from the layouts of the protocol's texts, sharing no code with the program.
"""

import base64
import hashlib
import hmac
import json
import sys

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

CIPHERS: dict[str, type[AESGCM] | type[ChaCha20Poly1305]] = {"aes": AESGCM, "cha": ChaCha20Poly1305}
TARGET = bytes((3, 9)) + b"a.example" + (443).to_bytes(2, "big")
FIRST, SECOND, ANSWER = b"first octets", b"x" * 300, b"the answer"
NOW = 1_800_000_000


class Sealer:
    def __init__(self, cipher: str, key: bytes) -> None:
        self.aead = CIPHERS[cipher](key)
        self.count = 0

    def __call__(self, data: bytes) -> bytes:
        sealed = self.aead.encrypt(self.count.to_bytes(12, "little"), data, None)
        self.count += 1
        return bytes(sealed)

    def chunk(self, data: bytes) -> bytes:
        return self(len(data).to_bytes(2, "big")) + self(data)


def of_2017(name: str, size: int) -> dict[str, str]:
    password = "a password"  # noqa: S105
    key = b""
    while len(key) < size:
        key += hashlib.md5(key[-16:] + password.encode()).digest()  # noqa: S324
    up_salt, down_salt = bytes(range(size)), bytes(range(100, 100 + size))

    def sealer(salt: bytes) -> Sealer:
        extracted = hmac.new(salt, key[:size], "sha1").digest()
        first = hmac.new(extracted, b"ss-subkey\x01", "sha1").digest()
        second = hmac.new(extracted, first + b"ss-subkey\x02", "sha1").digest()
        return Sealer(name[:3], (first + second)[:size])

    up, down = sealer(up_salt), sealer(down_salt)
    client = up_salt + up.chunk(TARGET + FIRST) + up.chunk(SECOND)
    server = down_salt + down.chunk(ANSWER) + down.chunk(SECOND)
    return {"method": name, "password": password, "client": client.hex(), "server": server.hex()}


def of_2022(name: str, size: int) -> dict[str, str]:
    psk = bytes(range(50, 50 + size))
    up_salt, down_salt = bytes(range(size)), bytes(range(100, 100 + size))

    def sealer(salt: bytes) -> Sealer:
        context = "shadowsocks 2022 session subkey"
        cipher = "cha" if "chacha" in name else "aes"
        return Sealer(cipher, blake3(psk + salt, derive_key_context=context).digest(size))

    up, down = sealer(up_salt), sealer(down_salt)
    head = TARGET + b"\0\0" + FIRST
    time = NOW.to_bytes(8, "big")
    client = up_salt + up(b"\0" + time + len(head).to_bytes(2, "big")) + up(head) + up.chunk(SECOND)
    answered = down(b"\1" + time + up_salt + len(ANSWER).to_bytes(2, "big"))
    server = down_salt + answered + down(ANSWER) + down.chunk(SECOND)
    password = base64.b64encode(psk).decode()
    return {"method": name, "password": password, "client": client.hex(), "server": server.hex()}


if __name__ == "__main__":
    vectors = [
        of_2017("aes-128-gcm", 16),
        of_2017("aes-256-gcm", 32),
        of_2017("chacha20-ietf-poly1305", 32),
        of_2022("2022-blake3-aes-128-gcm", 16),
        of_2022("2022-blake3-aes-256-gcm", 32),
        of_2022("2022-blake3-chacha20-poly1305", 32),
    ]
    json.dump({"vectors": vectors}, sys.stdout, indent=1)
    sys.stdout.write("\n")
