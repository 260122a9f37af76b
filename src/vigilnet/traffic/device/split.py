"""Which names and programs go around the tunnel (sans-IO; docs/spec/device.md section 6)."""

from collections.abc import Iterable


def matches_domain(name: str, domains: Iterable[str]) -> bool:
    """Whether `name` is one of the domains or below one.

    >>> matches_domain("www.Example.org", ["example.org"]), matches_domain("badexample.org", ["example.org"])
    (True, False)
    """
    lower = name.lower().rstrip(".")
    return any(
        lower == domain or lower.endswith("." + domain)
        for domain in (text.lower().strip(".") for text in domains)
        if domain
    )
