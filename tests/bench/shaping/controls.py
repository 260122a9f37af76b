"""The control of the rule for TLS in TLS: a tunnel that hides no shape."""

import random

from tests.bench.shaping.rule import Record

NAIVE_COST = 24  # of a record around what an application wrote: tag, type, and a mux's head


def naive_tunnel(seed: int) -> list[Record]:
    """Return the records of a tunnel that sends what inner TLS writes, as it is written."""
    rng = random.Random(seed)
    at = 0.0
    records: list[Record] = []

    def say(way: int, size: int) -> None:
        nonlocal at
        while size > 0:
            records.append((at, way, min(size, 16_384) + NAIVE_COST))
            size -= 16_384
            at += 0.0001

    say(1, rng.randint(20, 90))  # the tunnel's own request, with the target's name
    if rng.random() < 0.5:
        say(-1, rng.randint(4, 40))
    say(1, rng.choice((517, 517, 1780, 1850, 1910, 2010)))
    at += 0.05
    say(-1, rng.randint(1300, 5200))
    at += 0.002
    say(1, rng.choice((64, 80)) + rng.choice((0, 0, 93, rng.randint(90, 330))))
    for _ in range(rng.randint(2, 9)):
        say(1, rng.randint(60, 700))
        at += 0.05
        say(-1, int(rng.lognormvariate(9.3, 1.2)))
    return records
