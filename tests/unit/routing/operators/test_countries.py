import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.routing.operators.countries import CODES, Countries, parse_override


def test_the_list_is_that_of_iso() -> None:
    assert len(CODES) == 249
    assert {"DE", "US", "TW", "XK"} & CODES == {"DE", "US", "TW"}


def test_correction_wins_over_database_over_claim() -> None:
    known = {"192.0.2.1": "FR", "192.0.2.2": "??"}
    countries = Countries(["192.0.2.0/24=CH", "192.0.2.9/32=AT", "2001:db8::/32=SE"])
    looked_up = Countries((), lambda address: known.get(address, ""))
    assert countries.country_of("192.0.2.1", "US") == "CH"
    assert countries.country_of("192.0.2.9", "US") == "AT"
    assert countries.country_of("::ffff:192.0.2.9", "US") == "AT"
    assert countries.country_of("2001:db8::1", "US") == "SE"
    assert looked_up.country_of("192.0.2.1", "US") == "FR"
    assert looked_up.country_of("192.0.2.2", "US") == "US"
    assert looked_up.country_of("192.0.2.3", "") == "ZZ"


@pytest.mark.parametrize(
    "text", ["192.0.2.0/24", "192.0.2.1/24=DE", "x=DE", "192.0.2.0/24=de", "192.0.2.0/24=XX"]
)
def test_bad_corrections_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="countries"):
        parse_override(text)
