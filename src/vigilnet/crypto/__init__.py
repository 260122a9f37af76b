"""Thin over pyca/cryptography: AEAD suites, key derivation, keys, Noise handshakes. Nothing home-made."""
