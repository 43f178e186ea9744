"""A token server on loopback whose tokens a docker-registry verifies by its ``rootcertbundle``.

Sources: distribution ``docs/content/spec/auth/jwt.md`` (claims, ``x5c``), ``token.md`` (GET), ``oauth.md`` (POST).
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

ISSUER, SERVICE = "token server of the tests", "registry of the tests"


@dataclass(slots=True)
class TokenServer:
    """Users with passwords, identity tokens with users, and all requests that came, secrets included."""

    port: int
    bundle: Path
    users: dict[str, str]
    identity: dict[str, str] = field(default_factory=dict)
    gives_identity: bool = False
    requests: list[str] = field(default_factory=list)

    @property
    def auth(self) -> dict[str, object]:
        """The ``auth`` of a docker-registry's configuration."""
        realm = f"http://127.0.0.1:{self.port}/token"
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self.bundle)}}


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _jwt(key: rsa.RSAPrivateKey, certificate: bytes, user: str, scopes: list[str]) -> str:
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    claims = {
        "iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": secrets.token_hex(8), "access": access,
    }  # fmt: skip
    header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]}
    signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{signed}.{_b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


@contextlib.contextmanager
def token_server(base: Path, users: dict[str, str]) -> Iterator[TokenServer]:
    """Serve until the end of the block."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = _certificate(key)
    bundle = base / "token-root.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    der = certificate.public_bytes(serialization.Encoding.DER)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            given = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic ")).decode()
            user, _, password = given.partition(":")
            query = parse_qs(urlsplit(self.path).query)
            found.requests.append(f"GET {self.path}")
            if user not in found.users or found.users[user] != password:
                self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]})
                return
            answer = {"token": _jwt(key, der, user, query.get("scope", []))}
            if found.gives_identity and "offline_token" in query:
                answer["refresh_token"] = secrets.token_urlsafe(24)
                found.identity[answer["refresh_token"]] = user
            self.answer(200, answer)

        def do_POST(self) -> None:
            form = parse_qs(self.read_body().decode())
            scopes = " ".join(form.get("scope", [])).split()  # skopeo repeats the field, oauth.md joins by blanks
            found.requests.append(f"POST {form['grant_type'][0]} {' '.join(scopes)}")
            user = found.identity.get(form.get("refresh_token", [""])[0])
            if user is None:
                self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "unknown refresh token"}]})
                return
            self.answer(200, {"access_token": _jwt(key, der, user, scopes)})

        def read_body(self) -> bytes:
            if self.headers["Transfer-Encoding"] != "chunked":
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, status: int, body: object) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = TokenServer(port=server.server_address[1], bundle=bundle, users=users)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
