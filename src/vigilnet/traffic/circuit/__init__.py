"""Circuits: onion layers, handshakes, relay messages, streams, flow and congestion control."""
