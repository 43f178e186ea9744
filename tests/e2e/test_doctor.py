"""``imgsign doctor`` against a real registry over TLS, for what the simulator cannot have: a certificate."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e import parts


def certificate(base: Path, *, days: int) -> Path:
    """Write a self-signed certificate for 127.0.0.1 with its key, one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Corp")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = base / "server.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    (base / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def registry(base: Path, pem: Path) -> Iterator[str]:
    """Start docker-registry over TLS, empty."""
    parts.need("docker-registry")
    host = f"127.0.0.1:{parts.free_port()}"
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(base / "storage")}},
        "http": {"addr": host, "tls": {"certificate": str(pem), "key": str(pem)}},
    }
    path = base / "registry.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    log = base / "registry.log"

    def answers() -> bool:
        try:
            return parts.Registry(host, base).get("/v2/")[0] == 400  # "Client sent an HTTP request to an HTTPS server"
        except OSError:
            return False

    with parts.started(["docker-registry", "serve", path], log):
        parts.wait_for(answers, log)
        yield host


def test_tls_of_a_real_registry_is_described(tmp_path: Path) -> None:
    with registry(tmp_path, certificate(tmp_path, days=3)) as host:
        done = parts.imgsign("doctor", f"{host}/app:1", check=False, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    assert done.returncode == 3, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line[2:].startswith("tls ")]
    assert lines[at].startswith("- tls          TLSv1.3, issued by Example Corp, until 20")
    assert lines[at + 1].strip() == "hint: its certificate ends soon: tell its operator"
    assert "  registry     answers 200, API version registry/2.0" in lines
    assert f"! image        {host} has no manifest 1 of app (MANIFEST_UNKNOWN: manifest unknown)" in lines


def test_a_certificate_nobody_vouches_for_is_bad_and_says_what_to_do(tmp_path: Path) -> None:
    with registry(tmp_path, certificate(tmp_path, days=300)) as host:
        done = parts.imgsign("doctor", f"{host}/app:1", check=False)
    assert done.returncode == 3
    assert f"! registry     cannot reach {host}: its certificate is not trusted: " in done.stdout
    assert f"--ca ca.pem, or /etc/docker/certs.d/{host}/ca.crt" in done.stdout
