"""Circuits: the way through 1 to 10 relays. Handshakes, onion layers, building, relaying, teardown.

The client's and the relay's side of each circuit; what travels inside is the stream room's.
"""
