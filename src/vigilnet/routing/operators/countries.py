"""Country codes of relays: ISO 3166-1 alpha-2, and the operator's corrections (sans-IO)."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

from vigilnet.base.errors import ConfigurationError

UNKNOWN: Final = "ZZ"  # reserved by ISO 3166 for users; what a relay gets whose country nobody knows
_TEXT: Final = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW
BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI
FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN
IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME
MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE
YT ZA ZM ZW
"""
CODES: Final = frozenset(_TEXT.split())

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_country(text: str) -> bool:
    """Whether `text` is an assigned code.

    >>> [is_country(text) for text in ("DE", "de", "UK", "ZZ", "DEU", "")]
    [True, False, False, False, False, False]
    """
    return text in CODES


def parse_override(text: str) -> tuple[IpNetwork, str]:
    """Read a correction such as `192.0.2.0/24=DE`.

    Raises:
        ConfigurationError: not of this form, or no country.
    """
    network, equals, country = text.partition("=")
    try:
        parsed = ipaddress.ip_network(network.strip())
    except ValueError as error:
        raise ConfigurationError(f"countries: {text!r}: {error}") from error
    if not equals or not is_country(country.strip()):
        raise ConfigurationError(f"countries: got {text!r}, expected like 192.0.2.0/24=DE")
    return parsed, country.strip()


class Countries:
    """Says in which country an address is.

    Args:
        overrides: corrections, see `parse_override`; the longest prefix wins.
        lookup: the database; returns "" for what it does not know.
    """

    def __init__(self, overrides: Sequence[str] = (), lookup: Callable[[str], str] | None = None) -> None:
        parsed = [parse_override(text) for text in overrides]
        self._overrides = sorted(parsed, key=lambda item: -item[0].prefixlen)
        self._lookup = lookup or (lambda address: "")

    def country_of(self, address: str, claimed: str) -> str:
        """Return the country of an address: correction, database, what the relay claims, or "ZZ"."""
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        for network, country in self._overrides:
            if parsed in network:
                return country
        found = self._lookup(str(parsed))
        if is_country(found):
            return found
        return claimed if is_country(claimed) else UNKNOWN
