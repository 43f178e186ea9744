"""Real TLS: own authorities, client certificates, a storage host that one is redirected to, a proxy with a password."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import images, parts
from tests.e2e.certificates import Authority

HTPASSWD = "user:$2b$05$hEG3uunBdoMnTzu7X3OsNuOx0zAAV0tVaZCEIifoROxatw7pntFPy\n"  # of "secret"
PROXY_PASSWORD = "proxy-secret-1f2e"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.Registry]:
    """A registry over TLS at this machine's own address, since proxies are not used for loopback."""
    address = _own_address()
    pair = authority.issue("registry", address, "127.0.0.1", "localhost")
    base = tmp_path_factory.mktemp("secure")
    with parts.registry(base, tls=(*pair, authority.file), address=address) as found:
        yield found


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; TEST-NET-1
        return str(probe.getsockname()[0])


def _sign(name: str, key: Path, *options: str | Path, **environ: str) -> None:
    parts.imgsign("sign", name, "-k", key, *options, env={"IMGSIGN_PASSWORD": "test", **environ})


def _certs_d(home: Path, host: str) -> Path:
    directory = home / ".config/containers/certs.d" / host
    directory.mkdir(parents=True)
    return directory


def test_an_unknown_authority_is_refused_with_what_to_do(secure: parts.Registry, release_key: Path) -> None:
    done = parts.imgsign("verify", f"{secure.host}/app:1", "-k", f"{release_key.with_suffix('.pub')}", check=False)
    assert done.returncode == 3
    assert "its certificate is not trusted: unable to get local issuer certificate" in done.stdout + done.stderr


def test_an_authority_is_trusted_by_option_certs_d_and_variable(
    secure: parts.Registry, authority: Authority, release_key: Path, tmp_path: Path
) -> None:
    images.push(secure, "own", "1")
    name, key = f"{secure.host}/own:1", release_key.with_suffix(".pub")
    _sign(name, release_key, "--ca", authority.file)
    parts.imgsign("verify", name, "-k", key, env={"SSL_CERT_FILE": str(authority.file)})
    shutil.copy(authority.file, _certs_d(tmp_path, secure.host) / "ca.crt")
    done = parts.imgsign("verify", name, "-k", key, env={"HOME": str(tmp_path)})
    assert done.stdout.startswith(f"allowed {name}@sha256:")


def test_login_trusts_the_authority_it_is_given(secure: parts.Registry, authority: Authority, tmp_path: Path) -> None:
    def login(*options: str | Path) -> tuple[int, str]:
        command = ("login", secure.host, "-u", "user", "--password-stdin", *options)
        done = parts.imgsign(*command, input="secret\n", check=False, env={"DOCKER_CONFIG": str(tmp_path / "docker")})
        return done.returncode, done.stdout + done.stderr

    code, said = login()
    assert code == 3
    assert "its certificate is not trusted" in said
    assert f"hint: if a private authority signs it: --ca ca.pem, or /etc/docker/certs.d/{secure.host}/ca.crt" in said
    assert not (tmp_path / "docker").exists()
    code, said = login("--ca", authority.file)
    assert code == 0
    assert f"logged in to {secure.host}, stored in " in said


def test_a_registry_with_tls_and_htpasswd_from_login_to_verify(
    authority: Authority, release_key: Path, tmp_path: Path
) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text(HTPASSWD)
    pair = authority.issue("guarded", _own_address())
    tls = (*pair, authority.file)
    with parts.registry(tmp_path / "guarded", tls=tls, htpasswd=passwords, address=_own_address()) as guarded:
        env = {"DOCKER_CONFIG": str(tmp_path / "docker"), "IMGSIGN_PASSWORD": "test"}
        trust = ("--ca", authority.file)

        def login(password: str) -> tuple[int, str]:
            command = ("login", guarded.host, "-u", "user", "--password-stdin", *trust)
            done = parts.imgsign(*command, input=password, check=False, env=env)
            return done.returncode, done.stdout + done.stderr

        code, said = login("wrong-1f2e")
        assert code == 3
        assert "does not accept this user and password, nothing was stored" in said
        assert "wrong-1f2e" not in said
        assert login("secret")[0] == 0
        name, key = f"{guarded.host}/guarded:1", release_key.with_suffix(".pub")
        skopeo = ("skopeo", "copy", "--dest-cert-dir", authority.file.parent / "only-ca", "--authfile")
        (authority.file.parent / "only-ca").mkdir()
        shutil.copy(authority.file, authority.file.parent / "only-ca")
        parts.need("umoci", "skopeo")
        layout = tmp_path / "layout"
        parts.run("umoci", "init", "--layout", layout)
        parts.run("umoci", "new", "--image", f"{layout}:a")
        parts.run(*skopeo, tmp_path / "docker/config.json", f"oci:{layout}:a", f"docker://{name}")
        parts.imgsign("sign", name, "-k", release_key, *trust, env=env)
        done = parts.imgsign("verify", name, "-k", key, *trust, env=env)
        assert done.stdout.startswith(f"allowed {name}@sha256:")
        anonymous = parts.imgsign("verify", name, "-k", key, *trust, check=False)
    assert anonymous.returncode == 3
    assert "asked without credentials" in anonymous.stderr


def test_half_a_client_certificate_is_an_error(secure: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    directory = _certs_d(tmp_path, secure.host)
    (directory / "client.cert").write_text("")
    key = release_key.with_suffix(".pub")
    done = parts.imgsign("verify", f"{secure.host}/own:1", "-k", key, check=False, env={"HOME": str(tmp_path)})
    assert done.returncode == 3
    assert (
        "': 'client.key' is not beside it\nhint: a client certificate is a pair: NAME.cert and NAME.key" in done.stderr
    )


def test_a_client_certificate_opens_an_mtls_front(
    registry: parts.Registry, authority: Authority, release_key: Path, tmp_path: Path
) -> None:
    certificate, private = authority.issue("front", "127.0.0.1")
    server = (
        f"listen 127.0.0.1:PORT ssl; ssl_certificate {certificate}; ssl_certificate_key {private};"
        f"ssl_client_certificate {authority.file}; ssl_verify_client on;"
        f"location / {{ proxy_pass http://{registry.host}; proxy_set_header Host $http_host;"
        "proxy_set_header X-Forwarded-Proto https; }"
    )
    images.push(registry, "mtls", "1")
    key = release_key.with_suffix(".pub")
    with parts.nginx(tmp_path / "nginx", server) as port:
        name = f"127.0.0.1:{port}/mtls:1"
        home = tmp_path / "home"
        directory = _certs_d(home, f"127.0.0.1:{port}")
        shutil.copy(authority.file, directory / "ca.crt")
        refused = parts.imgsign("verify", name, "-k", key, check=False, env={"HOME": str(home)})
        assert refused.returncode == 3
        assert f"127.0.0.1:{port} answered 400 to GET manifest 1 of mtls" in refused.stdout + refused.stderr
        certificate, private = authority.issue("client")
        shutil.copy(certificate, directory / "client.cert")
        shutil.copy(private, directory / "client.key")
        _sign(name, release_key, HOME=str(home))
        done = parts.imgsign("verify", name, "-k", key, env={"HOME": str(home)})
        assert done.stdout.startswith(f"allowed {name}@sha256:")


def test_blobs_may_be_on_another_host_by_redirect(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    store = f"listen 127.0.0.1:PORT; location / {{ proxy_pass http://{registry.host}; }}"
    images.push(registry, "moved", "1")
    with parts.nginx(tmp_path / "store", store) as storage:
        front = (
            f"listen 127.0.0.1:PORT; location ~ /blobs/sha256 {{ if ($request_method = GET) {{"
            f"return 307 http://localhost:{storage}$request_uri; }} proxy_pass http://{registry.host};"
            "proxy_set_header Host $http_host; }"
            f"location / {{ proxy_pass http://{registry.host}; proxy_set_header Host $http_host; }}"
        )
        with parts.nginx(tmp_path / "front", front) as port:
            name, key = f"127.0.0.1:{port}/moved:1", release_key.with_suffix(".pub")
            _sign(name, release_key)
            parts.imgsign("pull", name, f"oci:{tmp_path}/layout", "-k", key)
            assert "/v2/moved/blobs/sha256" in (tmp_path / "store/access.log").read_text()


def test_a_proxy_with_a_password_is_used_and_its_password_stays_hidden(
    secure: parts.Registry, authority: Authority, release_key: Path, tmp_path: Path
) -> None:
    images.push(secure, "proxied", "1")
    name, key = f"{secure.host}/proxied:1", release_key.with_suffix(".pub")
    with parts.tinyproxy(tmp_path / "proxy", "user", PROXY_PASSWORD) as (port, log):
        proxy = {"HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}"}
        _sign(name, release_key, "--ca", authority.file, **proxy)
        done = parts.imgsign("verify", name, "-k", key, "--ca", authority.file, env=proxy)
        assert done.stdout.startswith(f"allowed {name}@sha256:")
        assert f"CONNECT {secure.host}" in log.read_text()
        before = log.read_text().count("CONNECT ")
        network = f"{secure.host.partition(':')[0]}/24"
        parts.imgsign("verify", name, "-k", key, "--ca", authority.file, env={**proxy, "NO_PROXY": network})
        assert log.read_text().count("CONNECT ") == before
        wrong = {"HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}x@127.0.0.1:{port}"}
        refused = parts.imgsign("verify", name, "-k", key, "--ca", authority.file, check=False, env=wrong)
    assert refused.returncode == 3
    assert "through the proxy" in refused.stdout + refused.stderr
    assert PROXY_PASSWORD not in done.stdout + done.stderr + refused.stdout + refused.stderr
