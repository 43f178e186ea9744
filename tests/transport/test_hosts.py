"""Origins, hops and proxies: what a registry's address may be, and where it may send us."""

from __future__ import annotations

import pytest

from imgsign.errors import RegistryError
from imgsign.transport.hosts import Origin, Proxies, api_origin, check_hop, is_internal, is_loopback


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://registry.test/v2/", Origin(scheme="https", host="registry.test", port=443)),
        ("HTTPS://Registry.Test:443", Origin(scheme="https", host="registry.test", port=443)),
        ("http://127.0.0.1:5000/x?y#z", Origin(scheme="http", host="127.0.0.1", port=5000)),
        ("https://[2001:db8::1]:8443/", Origin(scheme="https", host="[2001:db8::1]", port=8443)),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, origin: Origin) -> None:
    assert Origin.parse(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "ftp://registry.test/",
        "//registry.test/",
        "https:///v2/",
        "https://user:secret@registry.test/",
        "https://good.test\\@evil.test/",
        "https://registry.test/a b",
        "https://registry.test/\r\nX: y",
        "https://registry.test/\u00e9",
        "https://regi\u017ftry.test/",
        "https://registry.test:/",
        "https://registry.test:x/",
        "https://registry.test%2eevil.test/",
    ],
)
def test_a_url_that_two_parsers_may_read_differently_is_refused(url: str) -> None:
    with pytest.raises(RegistryError, match="unusable url") as e:
        Origin.parse(url)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(RegistryError) as e:
        Origin.parse(f"https://registry.test:{port}/")
    assert str(e.value).startswith(f"port {port} is out of range in ")


def test_api_of_docker_hub_is_at_another_host() -> None:
    assert str(api_origin("docker.io", http=False)) == "https://registry-1.docker.io"


@pytest.mark.parametrize("port", ["0", "65536", "123456"])
def test_a_registry_port_out_of_range_is_a_registry_error(port: str) -> None:
    with pytest.raises(RegistryError) as e:
        api_origin(f"localhost:{port}", http=True)
    assert str(e.value) == f"port {port} of registry 'localhost:{port}' is out of range"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.0.9", "[::1]"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.evil.test", "127.evil.test", "10.0.0.1", "[::2]", "0.0.0.0", "127.1"])  # noqa: S104  # an address to refuse
def test_hosts_that_only_look_like_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a.localhost",
        "localhost.",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # an address to refuse
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:7f00:1]",
        "[2002:7f00:1::]",
        "[64:ff9b::a00:1]",
    ],
)
def test_internal_addresses_in_all_their_spellings(host: str) -> None:
    assert is_internal(host)


@pytest.mark.parametrize("host", ["registry.test", "8.8.8.8", "[2606:4700::1]", "10.example.com", "[::ffff:8.8.8.8]"])
def test_hosts_that_are_not_internal(host: str) -> None:
    assert not is_internal(host)


@pytest.mark.parametrize(
    ("source", "target", "url"),
    [
        ("https://a.test/v2/x", "/v2/y?z=1", "https://a.test/v2/y?z=1"),
        ("https://a.test/v2/x", "https://cdn.test/y#frag", "https://cdn.test/y"),
        ("https://a.test/v2/x", "//cdn.test/y", "https://cdn.test/y"),
        ("http://127.0.0.1:5000/x", "http://127.0.0.1:9000/y", "http://127.0.0.1:9000/y"),
        ("https://10.0.0.1/x", "https://10.0.0.2/y", "https://10.0.0.2/y"),
        ("http://a.test/x", "https://a.test/x", "https://a.test/x"),
    ],
)
def test_allowed_hops(source: str, target: str, url: str) -> None:
    assert check_hop(source, target, what="redirect")[0] == url


def test_a_hop_from_https_to_http_is_refused() -> None:
    with pytest.raises(RegistryError) as e:
        check_hop("https://a.test/x", "http://a.test/x?sig=secret", what="redirect")
    assert str(e.value) == "redirect from https to plain http refused: https://a.test to http://a.test/x"


@pytest.mark.parametrize("target", ["https://127.0.0.1/", "https://169.254.169.254/latest", "https://localhost:1/"])
def test_a_hop_into_a_private_network_is_refused(target: str) -> None:
    with pytest.raises(RegistryError, match=r"^redirect into a private network refused: https://a\.test to "):
        check_hop("https://a.test/x", target, what="redirect")


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "https://[bad/", "file:///etc/passwd", "https://u:p@a.test/"]
)
def test_a_hop_to_something_else_than_a_url_is_refused(target: str) -> None:
    with pytest.raises(RegistryError, match="unusable url"):
        check_hop("https://a.test/x", target, what="redirect")


def _origin(url: str) -> Origin:
    return Origin.parse(url)


ENVIRON = {"HTTPS_PROXY": "http://user:secret@proxy.test:3128", "HTTP_PROXY": "plain.test:80"}


def test_proxies_are_found_by_scheme() -> None:
    proxies = Proxies.from_environ(ENVIRON)
    assert proxies.find(_origin("https://a.test")) == "http://user:secret@proxy.test:3128"
    assert proxies.find(_origin("http://a.test")) == "http://plain.test:80"


def test_the_lower_case_variable_wins_and_may_be_empty() -> None:
    assert Proxies.from_environ({**ENVIRON, "https_proxy": "http://low.test"}).find(_origin("https://a.test")) == (
        "http://low.test"
    )
    assert Proxies.from_environ({**ENVIRON, "https_proxy": ""}).find(_origin("https://a.test")) is None


@pytest.mark.parametrize("url", ["http://localhost:5000", "http://127.0.0.2", "https://[::1]:5000"])
def test_loopback_is_never_proxied(url: str) -> None:
    assert Proxies.from_environ(ENVIRON).find(_origin(url)) is None


@pytest.mark.parametrize(
    "entry",
    ["*", "a.test", ".a.test", "*.a.test", "b.a.test", "x, b.a.test:443", "B.A.Test"],
)
def test_no_proxy_covers_a_name(entry: str) -> None:
    assert Proxies.from_environ({**ENVIRON, "NO_PROXY": entry}).find(_origin("https://b.a.test")) is None


@pytest.mark.parametrize("entry", ["test.", "c.a.test", "xb.a.test", "b.a.test:80", "10.0.0.0/8", ",", "b.a.test.evil"])
def test_no_proxy_does_not_cover_another_name(entry: str) -> None:
    assert Proxies.from_environ({**ENVIRON, "no_proxy": entry}).find(_origin("https://b.a.test")) is not None


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("10.0.0.0/8", "https://10.1.2.3:5000"),
        ("10.1.2.3", "https://10.1.2.3"),
        ("10.1.2.3:5000", "https://10.1.2.3:5000"),
        ("fd00::/8", "https://[fd00::1]"),
        ("fd00::1", "https://[fd00::1]:5000"),
        ("[fd00::1]:5000", "https://[fd00::1]:5000"),
    ],
)
def test_no_proxy_covers_an_address(entry: str, url: str) -> None:
    assert Proxies.from_environ({**ENVIRON, "NO_PROXY": entry}).find(_origin(url)) is None


def test_a_proxy_of_another_kind_is_an_error_without_its_password() -> None:
    proxies = Proxies.from_environ({"HTTPS_PROXY": "socks5://user:secret@proxy.test"})
    with pytest.raises(RegistryError) as e:
        proxies.find(_origin("https://a.test"))
    assert str(e.value) == "HTTPS_PROXY names a proxy of another kind than http and https"


def test_proxy_passwords_are_not_in_the_repr() -> None:
    assert "secret" not in repr(Proxies.from_environ(ENVIRON))
