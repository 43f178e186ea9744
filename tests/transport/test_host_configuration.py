"""What a machine's files say about registries' hosts: mirrors, moves, blocks, plain http."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.errors import ImgsignError, Malformed, RegistryError
from imgsign.reference import Repository
from imgsign.transport.config.certs_d import directories, parse_hosts
from imgsign.transport.config.daemon import Daemon, parse_daemon
from imgsign.transport.config.host_files import HostFiles
from imgsign.transport.config.registries import find_entry, parse_registries
from imgsign.transport.places import MirrorOption, Place, Places

APP = Repository("registry.test", "team/app")
HUB = Repository("docker.io", "library/busybox")


def _registries(text: str, repository: Repository = APP) -> Places | None:
    entry = find_entry(parse_registries(text.encode(), "/r.conf"), repository)
    return None if entry is None else entry.places(repository)


def _mirror(**wanted: object) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in wanted.items())
    return f'[[registry]]\nlocation = "registry.test"\n[[registry.mirror]]\nlocation = "mirror.test"\n{lines}'


# registries.conf


def test_a_mirror_takes_the_place_of_the_prefix_in_the_name() -> None:
    found = _registries(_mirror())
    assert found is not None
    assert found.primary.repository == found.registry.repository == APP
    (mirror,) = found.mirrors
    assert str(mirror.repository) == "mirror.test/team/app"
    assert (mirror.by_tag, mirror.by_digest, mirror.insecure, mirror.source) == (True, True, False, "/r.conf")


def test_a_location_moves_reads_but_not_writes() -> None:
    found = _registries('[[registry]]\nprefix = "registry.test/team"\nlocation = "internal.test/x/y"\ninsecure = true')
    assert found is not None
    assert str(found.primary.repository) == "internal.test/x/y/app"
    assert found.primary.insecure
    assert found.registry.repository == APP
    assert not found.registry.insecure  # what is insecure is the place, not the name


@pytest.mark.parametrize(
    ("wanted", "by_tag", "by_digest"),
    [
        ({"pull-from-mirror": '"all"'}, True, True),
        ({"pull-from-mirror": '"digest-only"'}, False, True),
        ({"pull-from-mirror": '"tag-only"'}, True, False),
    ],
)
def test_what_may_be_pulled_from_a_mirror(wanted: dict[str, str], by_tag: bool, by_digest: bool) -> None:
    found = _registries(_mirror(**wanted))
    assert found is not None
    assert (found.mirrors[0].by_tag, found.mirrors[0].by_digest) == (by_tag, by_digest)


def test_a_registry_can_keep_all_its_mirrors_from_resolving_tags() -> None:
    text = '[[registry]]\nlocation = "registry.test"\nmirror-by-digest-only = true\n'
    found = _registries(text + '[[registry.mirror]]\nlocation = "mirror.test"')
    assert found is not None
    assert not found.mirrors[0].by_tag


def test_the_longest_prefix_wins() -> None:
    text = "".join(
        f'[[registry]]\nprefix = "{p}"\nlocation = "{n}.test"\n'
        for p, n in [("registry.test", "one"), ("registry.test/team", "two"), ("*.test", "three")]
    )
    found = _registries(text)
    assert found is not None
    assert str(found.primary.repository) == "two.test/app"


@pytest.mark.parametrize("prefix", ["registry.test/tea", "registry.tes", "*.registry.test", "registry.test/team/app/x"])
def test_a_prefix_ends_where_a_component_does(prefix: str) -> None:
    assert _registries(f'[[registry]]\nprefix = "{prefix}"\nlocation = "other.test"') is None


def test_a_prefix_without_a_port_is_another_registry_than_one_with() -> None:
    assert _registries('[[registry]]\nlocation = "registry.test"', Repository("registry.test:5000", "app")) is None


def test_a_wildcard_replaces_the_whole_host() -> None:
    found = _registries('[[registry]]\nprefix = "*.test"\nlocation = "cache.corp/all"')
    assert found is not None
    assert str(found.primary.repository) == "cache.corp/all/team/app"
    kept = _registries('[[registry]]\nprefix = "*.test"\ninsecure = true')
    assert kept is not None
    assert kept.is_plain
    assert kept.registry.insecure


def test_a_blocked_registry_is_refused_and_the_file_named() -> None:
    with pytest.raises(RegistryError) as e:
        _registries('[[registry]]\nlocation = "registry.test"\nblocked = true')
    assert str(e.value) == "registry.test/team/app is blocked by '/r.conf' (prefix 'registry.test')"


def test_tables_about_other_things_are_not_read() -> None:
    assert parse_registries(b'unqualified-search-registries = ["x"]\n[aliases]\n"a" = "b/c"', "/r.conf") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[registry]", "not TOML: Expected ']]' at the end of an array declaration (at line 1, column 11)"),
        ("[[registry]]", "missing key 'location' at $.registry[0]"),
        ('[[registry]]\nprefix = "a.test"', "missing key 'location' at $.registry[0]"),
        ("[[registry]]\nlocation = 1", "expected string, got integer at $.registry[0].location"),
        (
            '[[registry]]\nlocation = "https://a.test"',
            "not a host with an optional path: 'https://a.test' at $.registry[0].location",
        ),
        (
            '[[registry]]\nlocation = "a.test/../b"\nprefix = "a b"',
            "not a host with an optional path: 'a b' at $.registry[0].prefix",
        ),
        ('[[registry]]\nlocation = "a.test"\nblocked = "no"', "expected boolean, got string at $.registry[0].blocked"),
        (
            '[[registry]]\nlocation = "a.test"\nBlocked = true',
            "key 'Blocked' differs from 'blocked' only by case at $.registry[0]",
        ),
        (
            '[[registry]]\nlocation = "a.test"\npull-from-mirror = "all"',
            "belongs to a mirror, not to its registry at $.registry[0].pull-from-mirror",
        ),
        (
            _mirror(**{"pull-from-mirror": '"some"'}),
            "expected one of all, digest-only, tag-only, got 'some' at $.registry[0].mirror[0].pull-from-mirror",
        ),
        (
            _mirror(**{"pull-from-mirror": '"all"'}).replace(
                "[[registry]]", "[[registry]]\nmirror-by-digest-only=true"
            ),
            "contradicts 'mirror-by-digest-only' of its registry at $.registry[0].mirror[0].pull-from-mirror",
        ),
        ("[registries.insecure]\nregistries = []", "the format of version 1 is not supported at $.registries"),
        ("registry = 1", "expected list, got integer at $.registry"),
    ],
)
def test_a_malformed_registries_conf_names_file_and_key(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as e:
        _registries(text)
    assert str(e.value) == f"cannot use '/r.conf': {reason}"


def test_a_location_that_makes_no_repository_is_refused() -> None:
    with pytest.raises(Malformed) as e:
        _registries('[[registry]]\nprefix = "registry.test"\nlocation = "mirror"')
    assert str(e.value) == "/r.conf: cannot ask 'mirror/team/app': not a registry host: 'mirror'"
    assert e.value.hint == "write its port, as in mirror:443"


# hosts.toml

FILE = "/etc/containerd/certs.d/registry.test/hosts.toml"


def _hosts(text: str, repository: Repository = APP) -> Places:
    return parse_hosts(text.encode(), FILE, repository)


def test_hosts_are_mirrors_in_order_and_are_told_the_registry() -> None:
    found = _hosts('[host."https://b.test"]\n[host."http://a.test:5000"]\ncapabilities = ["pull"]')
    first, second = found.mirrors
    assert (str(first.repository), first.scheme, first.insecure, first.by_tag) == (
        "b.test/team/app",
        "https",
        False,
        True,
    )
    assert (str(second.repository), second.scheme, second.insecure, second.by_tag) == (
        "a.test:5000/team/app",
        "http",
        True,
        False,
    )
    assert first.namespace == second.namespace == "registry.test"
    assert found.primary.repository == APP


@pytest.mark.parametrize(
    ("url", "override", "root", "name"),
    [
        ("https://m.test", False, "/v2", "m.test/team/app"),
        ("m.test", False, "/v2", "m.test/team/app"),
        ("https://m.test/", False, "/v2", "m.test/team/app"),
        ("https://m.test/cache", False, "/cache/v2", "m.test/team/app"),
        ("https://m.test/cache/v2", False, "/cache/v2", "m.test/team/app"),
        ("https://m.test/v2/hub", True, "/v2", "m.test/hub/team/app"),
        ("https://m.test/hub", True, "/hub", "m.test/team/app"),
        ("http://mirror", False, "/v2", "mirror:80/team/app"),
    ],
)
def test_the_path_of_a_host(url: str, override: bool, root: str, name: str) -> None:
    (place,) = _hosts(f'[host."{url}"]\noverride_path = {str(override).lower()}').mirrors
    assert (place.root, str(place.repository)) == (root, name)


def test_a_host_that_may_not_be_pulled_from_is_no_mirror() -> None:
    assert _hosts('[host."https://m.test"]\ncapabilities = ["push", "resolve"]').mirrors == ()


def test_files_of_a_host_are_relative_to_its_directory() -> None:
    (place,) = _hosts('[host."https://m.test"]\nca = "ca.pem"\nclient = [["c.cert", "/abs/c.key"], "both.pem"]').mirrors
    base = "/etc/containerd/certs.d/registry.test"
    assert place.ca == (f"{base}/ca.pem",)
    assert place.client == ((f"{base}/c.cert", "/abs/c.key"), (f"{base}/both.pem", f"{base}/both.pem"))
    (place,) = _hosts('[host."https://m.test"]\nclient = [["both.pem", ""]]').mirrors
    assert place.client == ((f"{base}/both.pem", f"{base}/both.pem"),)


def test_headers_of_a_host_are_read_and_have_no_repr() -> None:
    (place,) = _hosts(
        '[host."https://m.test"]\n[host."https://m.test".header]\nX-Key = "secret"\nx-list = ["a", " b"]'
    ).mirrors
    assert place.header == (("x-key", "secret"), ("x-list", "a, b"))
    assert "secret" not in repr(place)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5h", 5400.0), ("0s", None), ("0", None), ("", None)],
)
def test_the_time_for_a_connection_is_written_as_go_does(text: str, seconds: float | None) -> None:
    (place,) = _hosts(f'[host."https://m.test"]\ndial_timeout = "{text}"').mirrors
    assert place.dial_timeout == seconds


def test_keys_at_the_top_are_the_registrys_own_if_no_server_is_named() -> None:
    found = _hosts('dial_timeout = "2s"\nca = "ca.pem"\n[header]\nx-key = "v"\n[host."https://m.test"]')
    assert found.primary == found.registry
    assert found.registry.repository == APP
    assert (found.registry.dial_timeout, found.registry.header) == (2.0, (("x-key", "v"),))
    assert found.registry.ca == ("/etc/containerd/certs.d/registry.test/ca.pem",)
    assert (found.registry.scheme, found.registry.insecure, found.registry.namespace) == (None, False, None)
    assert [m.header for m in found.mirrors] == [()]


def test_capabilities_are_read_in_any_case() -> None:
    (place,) = _hosts('[host."https://m.test"]\ncapabilities = ["Pull"]').mirrors
    assert not place.by_tag


def test_the_server_is_where_the_registry_is() -> None:
    assert str(_hosts('server = "https://real.test"').primary.repository) == "real.test/team/app"
    hub = _hosts('server = "https://registry-1.docker.io"', HUB)
    assert hub.is_plain
    assert hub.registry.repository == HUB  # whose credentials are Docker Hub's


def test_certificates_are_checked_whatever_skip_verify_says() -> None:
    found = _hosts('[host."https://m.test"]\nskip_verify = true')
    assert found.notes == (f"{FILE}: skip_verify of https://m.test is not followed: certificates are always checked",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[host."https://u:secret@m.test"]', "not the URL of a host"),
        ('[host."https://m.test/?x=1"]', "not the URL of a host"),
        ('[host."https://m.test/../x"]', "not the URL of a host"),
        ('[host."ftp://m.test"]', "not the URL of a host"),
        ('[host."https://m.test"]\ncapabilities = ["all"]', "unknown capability 'all'"),
        ('[host."https://m.test"]\nclient = [["a", "b", "c"]]', "expected at most 2 elements, got 3"),
        ('[host."https://m.test"]\nclient = [[]]', "expected a certificate and a key"),
        ('[host."https://m.test"]\ndial_timeout = "1"', "not a duration: '1'"),
        ('[host."https://m.test"]\ndial_timeout = "-1s"', "not a duration: '-1s'"),
        ('[host."https://m.test"]\ndial_timeout = 1', "expected string, got integer"),
        ('[host."https://m.test".header]\nx = 1', "expected list, got integer"),
        ('[host."https://m.test".header]\nx = [1]', "expected string, got integer"),
        ('[host."https://m.test".header]\n"x y" = "secret"', "not the name of a header, or named twice"),
        ('[host."https://m.test".header]\nx = "secret"\nX = "secret"', "not the name of a header, or named twice"),
        ('[host."https://m.test".header]\nx = "secret\\r\\nHost: y"', "not the value of a header"),
        ('[host."https://m.test".header]\nx = ["secret", "s\\u0000"]', "not the value of a header"),
        ('[host."https://m.test".header]\nx = "secretü"', "not the value of a header"),
        ('[host."https://m.test".header]\nx = ""', "not the value of a header"),
        ('[host."https://m.test".header]\nHost = "secret"', "header 'Host' cannot be configured"),
        ('[host."https://m.test".header]\naccept-encoding = "gzip"', "header 'accept-encoding' cannot be configured"),
        ('[host."https://m.test".header]\nTransfer-Encoding = "x"', "header 'Transfer-Encoding' cannot be configured"),
        ('[host."https://m.test".header]\nrange = "bytes=1-"', "header 'range' cannot be configured"),
        ('[host."https://m.test"]\nskip_verify = 1', "expected boolean, got integer"),
        ("host = 1", "expected object, got integer at $.host"),
    ],
)
def test_a_malformed_hosts_toml_names_file_and_key(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as e:
        _hosts(text)
    assert str(e.value).startswith(f"cannot use '{FILE}': {reason}")
    assert "secret" not in str(e.value)


def test_the_directories_of_a_registry() -> None:
    assert directories("a.test:5000") == ("a.test_5000_", "a.test:5000", "_default")
    assert directories("a.test") == ("a.test", "_default")


# daemon.json


def _daemon(text: str) -> Daemon:
    return parse_daemon(text.encode(), "/daemon.json")


def test_dockers_mirrors_are_for_docker_hub_only() -> None:
    daemon = _daemon('{"registry-mirrors": ["https://m.test/", "http://n.test:5000"], "debug": true}')
    found = daemon.places(HUB)
    assert found is not None
    assert [(str(m), m.scheme, m.insecure) for m in found.mirrors] == [
        ("m.test/library/busybox", "https", False),
        ("n.test:5000/library/busybox", "http", True),
    ]
    assert daemon.places(APP) is None


@pytest.mark.parametrize(
    ("entry", "registry", "insecure"),
    [
        ("registry.test:5000", "registry.test:5000", True),
        ("registry.test", "registry.test:5000", False),
        ("http://registry.test", "registry.test", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3:5000", False),
        ("10.0.0.0/8", "registry.test", False),
        ("fd00::/8", "[fd00::1]:5000", True),
    ],
)
def test_insecure_registries(entry: str, registry: str, insecure: bool) -> None:
    assert _daemon(f'{{"insecure-registries": ["{entry}"]}}').is_insecure(registry) is insecure


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "expected object, got list at $"),
        ('{"registry-mirrors": "x"}', "expected list, got string at $.registry-mirrors"),
        ('{"registry-mirrors": ["m.test"]}', "not the URL of a host at $.registry-mirrors[0]"),
        ('{"registry-mirrors": ["https://u:secret@m.test"]}', "not the URL of a host at $.registry-mirrors[0]"),
        (
            '{"registry-mirrors": ["https://m.test/hub"]}',
            "a mirror is a host without a path, got 'https://m.test/hub' at $.registry-mirrors[0]",
        ),
        ('{"insecure-registries": ["10.0.0.0/99"]}', "not a network: '10.0.0.0/99' at $.insecure-registries[0]"),
        ('{"insecure-registries": ["a b"]}', "not a registry host: 'a b' at $.insecure-registries[0]"),
    ],
)
def test_a_malformed_daemon_json_names_file_and_key(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as e:
        _daemon(text)
    assert str(e.value) == f"cannot use '/daemon.json': {reason}"


# --mirror


@pytest.mark.parametrize(
    ("text", "prefix", "location"),
    [
        ("m.test", "", "m.test"),
        ("docker.io=m.test:5000/hub", "docker.io", "m.test:5000/hub"),
        ("registry.test/team=m.test", "registry.test/team", "m.test"),
    ],
)
def test_the_mirror_option(text: str, prefix: str, location: str) -> None:
    assert MirrorOption.parse(text) == MirrorOption(prefix=prefix, location=location)


@pytest.mark.parametrize("text", ["", "https://m.test", "a=b=c d", "=", "u:p@m.test", "a.test="])
def test_a_mirror_option_that_is_none(text: str) -> None:
    with pytest.raises(Malformed, match=r"^--mirror: not a host with an optional path: "):
        MirrorOption.parse(text)


# Files


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _machine(tmp_path: Path, **environ: str) -> HostFiles:
    return HostFiles({"HOME": str(tmp_path / "home"), **environ}, root=tmp_path)


def _locations(files: HostFiles, repository: Repository = APP) -> list[str]:
    return [str(m) for m in files.places(repository).mirrors]


def test_without_files_there_is_only_the_registry(tmp_path: Path) -> None:
    found = _machine(tmp_path).places(APP)
    assert found == Places(registry=Place(repository=APP), primary=Place(repository=APP))


def test_the_users_own_registries_conf_replaces_the_machines(tmp_path: Path) -> None:
    _write(tmp_path / "etc/containers/registries.conf", _mirror().replace("mirror.test", "system.test"))
    assert _locations(_machine(tmp_path)) == ["system.test/team/app"]
    _write(tmp_path / "home/.config/containers/registries.conf", _mirror().replace("mirror.test", "own.test"))
    assert _locations(_machine(tmp_path)) == ["own.test/team/app"]


def test_the_variable_names_the_file_and_drop_ins_still_count(tmp_path: Path) -> None:
    _write(tmp_path / "named.conf", _mirror())
    files = _machine(tmp_path, CONTAINERS_REGISTRIES_CONF=str(tmp_path / "named.conf"))
    assert _locations(files) == ["mirror.test/team/app"]
    assert files.read == [str(tmp_path / "named.conf")]
    block = '[[registry]]\nlocation = "registry.test"\nblocked = true'
    _write(tmp_path / "etc/containers/registries.conf.d/99.conf", block)
    with pytest.raises(RegistryError, match="is blocked by"):
        _machine(tmp_path, CONTAINERS_REGISTRIES_CONF=str(tmp_path / "named.conf")).places(APP)


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Malformed) as e:
        _machine(tmp_path, CONTAINERS_REGISTRIES_CONF="/nonexistent/r.conf").places(APP)
    assert str(e.value) == "cannot read '/nonexistent/r.conf': no such file or directory"


def test_a_file_that_cannot_be_read_is_an_error_not_absent(tmp_path: Path) -> None:
    (tmp_path / "etc/docker/daemon.json").mkdir(parents=True)
    with pytest.raises(Malformed, match=r"daemon\.json': is a directory$"):
        _machine(tmp_path).places(HUB)


def test_the_first_kind_of_file_that_knows_the_registry_decides(tmp_path: Path) -> None:
    _write(tmp_path / "etc/docker/daemon.json", '{"registry-mirrors": ["https://docker.test"]}')
    assert _locations(_machine(tmp_path), HUB) == ["docker.test/library/busybox"]
    _write(tmp_path / "etc/containerd/certs.d/_default/hosts.toml", '[host."https://containerd.test"]')
    assert _locations(_machine(tmp_path), HUB) == ["containerd.test/library/busybox"]
    _write(tmp_path / "etc/containers/registries.conf", _mirror().replace("registry.test", "docker.io"))
    assert _locations(_machine(tmp_path), HUB) == ["mirror.test/library/busybox"]


def test_insecure_registries_count_wherever_mirrors_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "etc/docker/daemon.json", '{"insecure-registries": ["registry.test"]}')
    _write(tmp_path / "etc/containers/registries.conf", _mirror())
    found = _machine(tmp_path).places(APP)
    assert found.registry.insecure
    assert found.primary.insecure
    assert not found.mirrors[0].insecure


def test_an_option_replaces_the_files_mirrors_and_never_resolves_tags(tmp_path: Path) -> None:
    _write(tmp_path / "etc/containers/registries.conf", _mirror())
    options = (MirrorOption.parse("ci.test"), MirrorOption.parse("docker.io=hub.test"))
    files = HostFiles({}, mirrors=options, root=tmp_path)
    (mirror,) = files.places(APP).mirrors
    assert (str(mirror), mirror.by_tag, mirror.by_digest, mirror.source) == (
        "ci.test/team/app",
        False,
        True,
        "--mirror",
    )
    assert _locations(files, HUB) == ["ci.test/library/busybox", "hub.test/library/busybox"]


def test_an_option_does_not_lift_a_block(tmp_path: Path) -> None:
    _write(tmp_path / "etc/containers/registries.conf", '[[registry]]\nlocation = "registry.test"\nblocked = true')
    with pytest.raises(ImgsignError, match="is blocked by"):
        HostFiles({}, mirrors=(MirrorOption.parse("ci.test"),), root=tmp_path).places(APP)
