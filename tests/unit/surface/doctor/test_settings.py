from pathlib import Path

import pytest

from tests.support.origins import make_certificates
from tests.support.sick import diagnose, found, situation
from vigilnet.surface.control.schema import plain
from vigilnet.surface.doctor.main import situation_of


def test_a_healthy_situation_has_nothing_broken(tmp_path: Path) -> None:
    diagnosis = diagnose(situation(tmp_path))
    assert [one.id for one in diagnosis.findings if one.level == "fail"] in ([], ["network.names"])
    assert diagnosis.passed >= 8


@pytest.mark.parametrize(
    "text", ["[circuits]\nhops = 3 3\n", "[circuits]\nhops = 99\n", "[log]\nlevel = 7\n"]
)
def test_broken_settings_are_named_with_their_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(text)
    finding = found(diagnose(situation_of(tmp_path, file)), "settings.broken")
    assert finding.level == "fail"
    assert "line 2" in finding.evidence[0]


def test_misspelt_settings_are_named(tmp_path: Path) -> None:
    finding = found(diagnose(situation(tmp_path, "[circuits]\nhopps = 3\n")), "settings.unknown")
    assert finding.level == "note"
    assert "did you mean 'circuits.hops'" in finding.evidence[0]


def test_file_that_is_not_there(tmp_path: Path) -> None:
    text = f'[discovery]\nwelcome_lists = ["{tmp_path}/gone.txt"]\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.file").evidence == (f"{tmp_path}/gone.txt",)


def test_log_file_without_a_folder(tmp_path: Path) -> None:
    text = f'[log]\nfile = "{tmp_path}/no/such/log"\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.log").level == "fail"


@pytest.mark.parametrize("address", ["10.0.0.7:4001", "127.0.0.1:4001", "[fd00::1]:4001"])
def test_relay_that_tells_a_private_address(tmp_path: Path, address: str) -> None:
    text = f'[relay]\nenabled = true\nlisten = ["127.0.0.1:0"]\nadvertise = ["{address}"]\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.advertise").evidence == (address,)


def test_exit_without_consent(tmp_path: Path) -> None:
    text = '[node]\nmode = "exit"\n[relay]\nlisten = ["127.0.0.1:0"]\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.consent").level == "fail"


def test_findings_are_plain_values(tmp_path: Path) -> None:
    shown = plain(diagnose(situation(tmp_path)))
    assert {"id", "level", "group", "title", "meaning", "next", "repair", "evidence"} == set(
        shown["findings"][0]
    )


@pytest.mark.parametrize(("days", "level"), [(60.0, "pass"), (0.1, "note"), (-0.1, "fail")])
def test_certificate_of_the_site(tmp_path: Path, days: float, level: str) -> None:
    made = make_certificates(tmp_path, days=days)
    text = f'[relay]\nenabled = true\n[htx]\ncertificate = "{made.folder}/chain.pem"\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.certificate").level == level


def test_certificate_that_was_asked_for(tmp_path: Path) -> None:
    text = '[relay]\nenabled = true\n[htx]\nacme_directory = "https://localhost/dir"\n'
    waiting = situation(tmp_path, text)
    assert found(diagnose(waiting), "settings.certificate").level == "note"
    (waiting.folder / "acme").mkdir(parents=True)
    made = make_certificates(tmp_path)
    (waiting.folder / "acme" / "certificate.pem").write_bytes((made.folder / "chain.pem").read_bytes())
    assert found(diagnose(waiting), "settings.certificate").level == "pass"


def test_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    text = f'[relay]\nenabled = true\n[htx]\ncertificate = "{tmp_path}/gone.pem"\n'
    assert found(diagnose(situation(tmp_path, text)), "settings.certificate").level == "fail"
