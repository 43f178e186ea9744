"""Images read with the Pod's own imagePullSecrets: a fake API server, and a real registry with passwords."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from imgsign import Reference, Registries, SignOptions, sign
from imgsign.admission.pull_secrets import PullSecrets
from imgsign.errors import AuthenticationFailed, Unavailable
from tests.bench.admission_body import body
from tests.e2e import images, parts
from tests.e2e.certificates import Authority
from tests.e2e.webhook import Cluster, webhook
from tests.signing_keys import signer

TOKEN = "service-account-token-of-the-webhook"
PASSWORD = "tenant-password-4711"
HTPASSWD = "tenant:$2b$05$UqUa1YRMrEzHMIIyn.stwuGis2ESVaAESrAa8y/NMH42dDPzG6CoW\n"
"""bcrypt of it, as crypt(3) writes it."""


@dataclass
class Api:
    """A Kubernetes API that knows some Secrets."""

    server: str
    base: Path
    secrets: dict[str, object] = field(default_factory=dict)
    status: int = 200
    asked: list[tuple[str, str]] = field(default_factory=list)

    def secret(self, name: str, auths: dict[str, str]) -> None:
        """Keep a docker config: registry -> ``user:password``."""
        entries = {host: {"auth": base64.b64encode(pair.encode()).decode()} for host, pair in auths.items()}
        self.raw(name, {"auths": entries})

    def raw(self, name: str, config: object) -> None:
        """Keep a Secret with this docker config."""
        data = base64.b64encode(json.dumps(config).encode()).decode()
        self.secrets[f"/api/v1/namespaces/shop/secrets/{name}"] = {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": data},
        }

    def reader(self) -> PullSecrets:
        """Read it as a Pod does."""
        return PullSecrets(self.server, token=self.base / "token", ca=self.base / "ca.crt")


@contextlib.contextmanager
def api_server(base: Path) -> Iterator[Api]:
    base.mkdir(parents=True)
    certificate, key = Authority(base).issue("api", "127.0.0.1")
    (base / "token").write_text(TOKEN + "\n")

    known: list[Api] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api = known[0]
            api.asked.append((self.path, self.headers.get("Authorization", "")))
            found = api.secrets.get(self.path)
            status = api.status if api.status != 200 else 404 if found is None else 200
            raw = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api = Api(f"127.0.0.1:{server.server_address[1]}", base)
    known.append(api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(name="api")
def running_api(tmp_path: Path) -> Iterator[Api]:
    with api_server(tmp_path / "api") as found:
        yield found


def test_a_credential_goes_only_to_the_registry_it_is_for(api: Api) -> None:
    api.secret("pull", {"a.example": "u:p", "b.example:5000": "v:q"})
    reader = api.reader()
    found = reader.find("shop", ["pull"], "a.example")
    assert found is not None
    assert (found.user, found.secret, found.source) == ("u", "p", "secret 'shop/pull'")
    assert reader.find("shop", ["pull"], "b.example") is None
    assert reader.find("shop", ["pull"], "evil.example") is None
    assert api.asked == [("/api/v1/namespaces/shop/secrets/pull", f"Bearer {TOKEN}")]


def test_the_first_secret_with_an_entry_counts_and_a_missing_one_is_passed_over(api: Api) -> None:
    api.secret("one", {"other.example": "x:y"})
    api.secret("two", {"a.example": "u:p"})
    api.secret("three", {"a.example": "w:r"})
    found = api.reader().find("shop", ["gone", "one", "two", "three"], "a.example")
    assert found is not None
    assert found.user == "u"
    assert [path.rpartition("/")[2] for path, _ in api.asked] == ["gone", "one", "two"]


@pytest.mark.parametrize(
    "name", ["../../../secrets/other", "a/b", "a?x=1", "A", "", "a\r\nHost: x", "%2e%2e", "a" * 300]
)
def test_a_name_that_kubernetes_does_not_allow_is_never_asked_for(api: Api, name: str) -> None:
    with pytest.raises(AuthenticationFailed, match="is not a name that Kubernetes allows"):
        api.reader().find("shop", [name], "a.example")
    assert api.asked == []


def test_credential_helpers_of_a_tenant_are_refused(api: Api) -> None:
    api.raw("pull", {"credHelpers": {"a.example": "anything"}})
    with pytest.raises(AuthenticationFailed, match="names credential helpers, which are programs"):
        api.reader().find("shop", ["pull"], "a.example")


def test_a_secret_that_may_not_be_read_is_an_error_that_says_so(api: Api) -> None:
    api.status = 403
    with pytest.raises(AuthenticationFailed, match=r"imgsign may not read secret 'shop/pull' \(HTTP 403\)") as refused:
        api.reader().find("shop", ["pull"], "a.example")
    assert refused.value.hint == "grant its service account get on that secret"


def test_an_api_server_that_fails_is_no_missing_secret(api: Api) -> None:
    api.status = 500
    with pytest.raises(Unavailable, match="the API server answered HTTP 500"):
        api.reader().find("shop", ["pull"], "a.example")


def test_an_api_server_with_another_authority_gets_no_token(api: Api, tmp_path: Path) -> None:
    Authority(tmp_path / "other")
    reader = PullSecrets(api.server, token=api.base / "token", ca=tmp_path / "other" / "ca.crt")
    with pytest.raises(Unavailable, match="the API server did not answer"):
        reader.find("shop", ["pull"], "a.example")
    assert api.asked == []


def test_a_pod_is_judged_with_its_own_secret_and_its_neighbour_is_not(tmp_path: Path, api: Api) -> None:
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(HTPASSWD)
    with parts.registry(tmp_path / "open") as writable:
        digest = images.push(writable, "private/app", "1")
    with parts.registry(tmp_path / "open", htpasswd=htpasswd) as registry:
        config = tmp_path / "docker"
        config.mkdir()
        auth = base64.b64encode(f"tenant:{PASSWORD}".encode()).decode()
        (config / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        name = Reference.parse(f"{registry.host}/private/app:1")
        sign([name], signer("release"), SignOptions(), locate=Registries({"DOCKER_CONFIG": str(config)}))
        api.secret("pull", {registry.host: f"tenant:{PASSWORD}"})
        cluster = Cluster(tmp_path / "c", signer("release").public_key.to_pem(), registry.host)
        host, _, port = api.server.partition(":")
        env = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOME": str(tmp_path / "nobody")}
        options = ("--pull-secrets", "--service-account", str(api.base))
        pinned = f"{name}@{digest}"
        with webhook(tmp_path / "w", cluster, *options, env=env) as found:
            without = found.review(body([pinned]))
            message = str(cast(dict[str, object], without["status"])["message"])
            assert "[authentication-failed]" in message
            assert api.asked == []
            review = json.loads(body([pinned]))
            review["request"]["object"]["spec"]["imagePullSecrets"] = [{"name": "pull"}]
            with_secret = found.review(json.dumps(review).encode())
            assert with_secret["allowed"] is True, with_secret
        seen = found.out.read_text() + found.err.read_text() + message
        assert PASSWORD not in seen
        assert auth not in seen
        assert TOKEN not in seen
