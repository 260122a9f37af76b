"""Operator directories: lists of relays over HTTP that make starting faster, served and asked
(docs/spec/operator.md).

A relay registers with a signature and from its own address and repeats that each 30 s; whoever is not heard
of for 120 s is not listed. Whoever asks judges each record by its own signature, as from any other source: an
operator can leave relays out, but cannot invent or change one. A client tells a directory nothing but its
address, and not even that once it has a circuit. Nothing here is needed: without operators the other sources
of records go on.

Inputs: requests (`base.http`), signed records, the peer table. Outputs: records for the peer table, answers.
"""
