"""certs.d: whose directory counts for a host, and what in it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.errors import Unavailable
from imgsign.transport.certs import Certs
from imgsign.transport.hosts import Origin
from imgsign.transport.pool import Files


def _certs(tmp_path: Path, *ca: str) -> Certs:
    return Certs({"HOME": str(tmp_path / "home")}, ca=ca, root=tmp_path)


def _make(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).write_text("")
    return directory


def test_the_first_directory_that_exists_counts_alone(tmp_path: Path) -> None:
    certs, origin = _certs(tmp_path), Origin.parse("https://registry.test:5000")
    assert certs.find(origin) == Files()
    docker = _make(tmp_path / "etc/docker/certs.d/registry.test:5000", "ca.crt", "c.cert", "c.key", "README")
    pair = (str(docker / "c.cert"), str(docker / "c.key"))
    assert certs.find(origin) == Files(ca=(str(docker / "ca.crt"),), client=(pair,))
    own = _make(tmp_path / "home/.config/containers/certs.d/registry.test:5000", "own.crt")
    assert certs.find(origin) == Files(ca=(str(own / "own.crt"),))


@pytest.mark.parametrize(
    ("url", "directory", "counts"),
    [
        ("https://registry.test", "registry.test", True),
        ("https://registry.test", "registry.test:443", True),
        ("https://registry.test:5000", "registry.test", False),
        ("https://registry.test:5000", "registry.test_5000_", True),
        ("https://registry.test", "other.test", False),
    ],
)
def test_the_port_is_part_of_the_name(tmp_path: Path, url: str, directory: str, counts: bool) -> None:
    _make(tmp_path / "etc/containers/certs.d" / directory)
    assert (_certs(tmp_path).directory(Origin.parse(url)) is not None) is counts


@pytest.mark.parametrize("host", ["..", "."])
def test_a_host_that_a_redirect_names_does_not_lead_out_of_certs_d(tmp_path: Path, host: str) -> None:
    _make(tmp_path / "etc/docker/certs.d")
    (tmp_path / "etc/docker/planted.crt").write_text("")
    assert _certs(tmp_path).find(Origin.parse(f"https://{host}/")) == Files()


@pytest.mark.parametrize(("here", "absent"), [("c.cert", "c.key"), ("c.key", "c.cert")])
def test_half_a_pair_is_an_error(tmp_path: Path, here: str, absent: str) -> None:
    directory = _make(tmp_path / "etc/docker/certs.d/registry.test", here)
    with pytest.raises(Unavailable) as e:
        _certs(tmp_path).find(Origin.parse("https://registry.test"))
    assert str(e.value) == f"cannot use '{directory / here}': '{absent}' is not beside it"


def test_an_unusable_authority_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as e:
        _certs(tmp_path, "/nonexistent.pem").context(Files())
    assert str(e.value) == "cannot use --ca '/nonexistent.pem': No such file or directory"


def test_tls_is_1_2_or_newer_and_checked(tmp_path: Path) -> None:
    import ssl

    context = _certs(tmp_path).context(Files())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
