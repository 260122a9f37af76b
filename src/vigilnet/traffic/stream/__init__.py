"""Streams: what applications send over a circuit, and how much of it may be on its way.

Relay messages and their bodies, streams and datagram flows, credit, acknowledgement, the congestion
window, and the mux that packs all of them into records. Knows no keys, hops or links: a circuit
carries its records (`outbox.Carriage`). Both ends of a circuit use it.
"""
