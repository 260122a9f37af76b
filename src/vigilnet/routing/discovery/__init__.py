"""Finding peers without a centre: invites, welcome lists, gossip; judged by signatures, not by source.

In: octets from people, files, links and circuits. Out: records offered to `peer.view`, which alone
decides whether they are good. Does not dial, and holds no record of its own (docs/spec/discovery.md).
"""
