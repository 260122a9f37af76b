from pathlib import Path

import pytest

from tests.support.mmdb import make_mmdb
from vigilnet.base.errors import ConfigurationError
from vigilnet.routing.operators.geoip_io import open_geoip


def test_countries_of_addresses(tmp_path: Path) -> None:
    file = tmp_path / "countries.mmdb"
    file.write_bytes(make_mmdb({"192.0.2.0/24": "DE", "198.51.100.0/25": "FR"}))
    country_of = open_geoip(file)
    asked = ("192.0.2.77", "198.51.100.1", "198.51.100.200", "203.0.113.1", "2001:db8::1")
    assert [country_of(address) for address in asked] == ["DE", "FR", "", "", ""]


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "countries.mmdb"
    with pytest.raises(ConfigurationError, match=r"operators\.geoip"):
        open_geoip(file)
    file.write_bytes(b"junk")
    with pytest.raises(ConfigurationError, match=r"operators\.geoip"):
        open_geoip(file)
