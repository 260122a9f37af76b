"""The rule for TLS in TLS, and what it looks at; needs nothing but Python.

It was fixed before any flow of ours was looked at, by an earlier experiment on other code.
"""

Record = tuple[float, int, int]  # seconds, 1 up or -1 down, octets behind the header


def bursts(records: list[Record], cost: int = 0) -> list[tuple[int, int, int]]:
    """Join records of one direction: (direction, octets, records)."""
    found: list[tuple[int, int, int]] = []
    last = 0.0
    for at, way, size in records:
        if found and found[-1][0] == way and (cost or at - last < 0.2):
            found[-1] = (way, found[-1][1] + size - cost, found[-1][2] + 1)
        else:
            found.append((way, size - cost, 1))
        last = at
    return found


def is_tls_in_tls(records: list[Record]) -> bool:
    """Whether the first 24 records hold the bursts of a TLS handshake.

    230 to 2300 octets up in at most 2 records, 1100 to 7500 down, then 60 to 420 up: an inner hello, an inner
    server's flight, an inner Finished; within the first 8 bursts.
    """
    found = bursts(records[:24], cost=17)
    for at in range(min(8, len(found) - 2)):
        (way, hello, pieces), (_, flight, _), (_, finished, _) = found[at : at + 3]
        if (
            way > 0
            and 230 <= hello <= 2300
            and pieces <= 2
            and 1100 <= flight <= 7500
            and 60 <= finished <= 420
        ):
            return True
    return False
