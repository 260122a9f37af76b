"""Who a node is: identity, keys and their rotation, the signed record, and the table of known records.

In: records as octets from any source, wall time, randomness. Out: verified `PeerRecord`s and our own
signed one. Knows no links, no discovery and no paths; a record says nothing about reachability.
"""
