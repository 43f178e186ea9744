"""``doctor``: what it says of healthy and broken registries, and that it says no secret."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgsign.cli.doctor import document, text
from imgsign.doctor import Finding, State, examine, is_healthy
from imgsign.doctor.tls import tls
from imgsign.oci import Manifest
from imgsign.reference import Digest, Reference
from imgsign.signing import SignOptions, sign
from imgsign.transport.config.host_files import HostFiles
from imgsign.transport.places import MirrorOption
from tests.answers import Answer
from tests.signing_keys import signer
from tests.simulator import Simulator

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = Reference.parse("registry.test/app:1")
PASSWORD = "5ecretPassword"
PROXY = "5ecretProxy"
DATE = ("Date", "Mon, 23 Nov 2026 11:59:58 GMT")


@pytest.fixture(params=[True, False], ids=["referrers-api", "fallback-tag"])
def sim(request: pytest.FixtureRequest) -> Simulator:
    return registry(api=request.param)


def registry(*, api: bool = True) -> Simulator:
    """A registry with a signed image that asks for tokens and limits pulls."""
    sim = Simulator(referrers_api=api)
    sim.put_image("app", tag="1")
    sign(
        [NAME],
        signer("release"),
        SignOptions(formats=("bundle", "simple")),
        locate=lambda r: sim.store(r.path),
        now=NOW,
    )
    sim.require_token(users={"alice": PASSWORD})
    realm = 'Bearer realm="https://auth.registry.test/token?x=5ecretQuery",service="registry.test"'
    version = ("Docker-Distribution-Api-Version", "registry/2.0")
    sim.respond(
        r"registry\.test/v2/$", lambda s: Answer(status=401, headers=(("WWW-Authenticate", realm), version, DATE))
    )
    limits = (("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "76;w=21600"))
    sim.alter("^HEAD .*/manifests/", lambda a: replace(a, headers=(*a.headers, *limits)))
    sim.requests_seen.clear()
    return sim


def ask(
    sim: Simulator, base: Path, *mirrors: str, logged_in: bool = True, name: Reference = NAME, **more: str
) -> tuple[Finding, ...]:
    auth = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    auths = {"registry.test": {"auth": auth}} if logged_in else {}
    (base / "config.json").write_text(json.dumps({"auths": auths}))
    environ = {"DOCKER_CONFIG": str(base), "HTTPS_PROXY": f"http://bob:{PROXY}@proxy.test:3128", **more}
    hosts = HostFiles(environ, root=base, mirrors=tuple(MirrorOption.parse(m) for m in mirrors))
    return examine(name, transport=sim.transport(environ=environ), hosts=hosts, environ=environ, now=NOW)


def shown(findings: tuple[Finding, ...], base: Path) -> str:
    """The page, without what differs between runs."""
    page = text(findings).replace(str(base), "/home")
    return re.sub(r"[0-9a-f]{64}", "HEX", page)


def line(findings: tuple[Finding, ...], label: str) -> Finding:
    (found,) = [f for f in findings if f.label == label]
    return found


HEALTHY = """\
  name         registry.test/app:1
  credentials  password from '/home/config.json'
  host files   none
  mirrors      none
  address      https://registry.test, through the proxy http://proxy.test:3128
  tls files    the usual roots
  registry     answers 401, API version registry/2.0
  challenge    bearer from https://auth.registry.test/token
  clock        this machine is 2 s ahead of the registry
  pull         granted
  image        sha256:HEX, application/vnd.oci.image.manifest.v1+json
  rate limit   ratelimit-limit: 100;w=21600; ratelimit-remaining: 76;w=21600
  referrers    REFERRERS
  .sig tag     present, 1 signatures"""


def test_a_healthy_registry_has_one_page_without_marks(sim: Simulator, tmp_path: Path) -> None:
    findings = ask(sim, tmp_path)
    referrers = "API, 1 attached" if sim.referrers_api else "no API; fallback tag, 1 attached"
    assert shown(findings, tmp_path) == HEALTHY.replace("REFERRERS", referrers)
    assert is_healthy(findings)


def test_it_only_reads(sim: Simulator, tmp_path: Path) -> None:
    ask(sim, tmp_path)
    assert {s.method for s in sim.requests_seen} == {"GET", "HEAD"}


def test_json_holds_the_same_and_is_stable(tmp_path: Path) -> None:
    findings = ask(registry(), tmp_path)
    read = json.loads(document(NAME, findings))
    assert list(read) == ["format", "reference", "healthy", "findings"]
    assert (read["format"], read["reference"], read["healthy"]) == (1, "registry.test/app:1", True)
    assert [f["label"] for f in read["findings"]] == [f.label for f in findings]
    assert read["findings"][0] == {"label": "name", "state": "ok", "text": "registry.test/app:1", "hint": None}


@pytest.mark.parametrize(
    "breaking",
    [
        lambda sim: None,
        lambda sim: sim.fail("/v2/", 503),
        lambda sim: sim.fail("auth", 403),
        lambda sim: sim.fail("/manifests/1$", 403),
        lambda sim: sim.fail("/referrers/", 500),
        lambda sim: sim.redirect("/manifests/", "https://storage.test/x?X-Amz-Signature=5ecretQuery"),
        lambda sim: sim.disconnect(".", times=None),
    ],
)
def test_no_secret_is_on_the_page(tmp_path: Path, breaking: Callable[[Simulator], None]) -> None:
    sim = registry()
    breaking(sim)
    findings = ask(sim, tmp_path)
    page = text(findings) + document(NAME, findings) + repr(findings)
    assert "5ecret" not in page
    assert "token-1" not in page
    assert base64.b64encode(f"alice:{PASSWORD}".encode()).decode() not in page


def test_without_credentials_the_place_and_the_next_step_are_named(tmp_path: Path) -> None:
    findings = ask(registry(), tmp_path, logged_in=False)
    assert line(findings, "credentials") == Finding(
        label="credentials",
        text=f"none for registry.test; looked in '{tmp_path}/config.json'",
        state=State.NOTE,
        hint="if it asks for some: imgsign login registry.test",
    )
    refused = line(findings, "pull")
    assert refused.state is State.BAD
    assert "incorrect username or password" in refused.text
    assert not is_healthy(findings)


def test_an_unreachable_registry_ends_the_page_with_the_reason(tmp_path: Path) -> None:
    sim = registry()
    sim.disconnect(".", times=None)
    findings = ask(sim, tmp_path)
    assert findings[-1].label == "registry"
    assert findings[-1].state is State.BAD
    assert "cannot reach registry.test through the proxy: connection reset by peer" in findings[-1].text


def test_a_tag_that_is_not_there_is_told_from_a_refusal(tmp_path: Path) -> None:
    sim = registry()
    del sim.repository("app").tags["1"]
    findings = ask(sim, tmp_path)
    assert line(findings, "pull").text == "not refused"
    assert line(findings, "image").text == (
        "registry.test has no manifest 1 of app (MANIFEST_UNKNOWN: manifest unknown)"
    )
    assert line(findings, "image").state is State.BAD


def test_a_wrong_clock_is_bad(tmp_path: Path) -> None:
    sim = registry()
    sim.alter("/v2/$", lambda a: a.with_header("Date", "Mon, 23 Nov 2026 13:00:00 GMT"))
    findings = ask(sim, tmp_path)
    assert line(findings, "clock") == Finding(
        label="clock",
        text="this machine is 3600 s behind the registry",
        state=State.BAD,
        hint="set the clock: expiry and age of signatures depend on it",
    )


def test_a_spent_rate_limit_is_bad(tmp_path: Path) -> None:
    sim = registry()
    sim.alter("^HEAD ", lambda a: a.with_header("RateLimit-Remaining", "0;w=21600"))
    found = line(ask(sim, tmp_path), "rate limit")
    assert found.state is State.BAD
    assert found.hint == "wait, or log in for a limit of your own: imgsign login registry.test"


def test_an_api_that_lacks_what_the_fallback_tag_lists_is_noted(tmp_path: Path) -> None:
    sim = registry()
    image = Manifest.parse(sim.repository("app").manifests[sim.repository("app").tags["1"]][1], MANIFEST)
    hidden = sim.put_image("app", salt="hidden")
    sim.put_fallback("app", image.digest, [hidden.descriptor.to_json()])
    found = line(ask(sim, tmp_path), "referrers")
    assert found.text == "API, 2 attached, 1 of them only under the fallback tag"
    assert found.state is State.NOTE


def test_a_failing_listing_is_bad(tmp_path: Path) -> None:
    sim = registry()
    sim.fail("/referrers/", 500)
    found = line(ask(sim, tmp_path), "referrers")
    assert found.state is State.BAD
    assert "registry.test answered 500 to GET referrers of sha256:" in found.text


def mirror(sim: Simulator, host: str, **tags: str) -> Simulator:
    """A mirror beside the registry that has images of some salts under tags."""
    found = Simulator(host)
    for tag, salt in tags.items():
        found.put_image("app", tag=tag.removeprefix("_"), salt=salt)
    sim.site(host, lambda seen: found._with_faults(seen, len(found._faults)))
    return found


def test_mirrors_are_asked_in_order_for_what_they_are_asked_in_a_verification(tmp_path: Path) -> None:
    sim = registry()
    mirror(sim, "one.test", _1="")
    mirror(sim, "two.test", other="another")
    sim.site("three.test", lambda s: Answer(status=404))
    options = [f"registry.test={m}" for m in ("one.test", "two.test", "three.test/cache")]
    findings = ask(sim, tmp_path, *options)
    digest = sim.repository("app").tags["1"]
    assert line(findings, "mirror 1") == Finding(
        label="mirror 1", text=f"one.test/app (from --mirror) answers 200, has {digest}"
    )
    assert line(findings, "mirror 1 tls").text == "the usual roots"
    lacking = line(findings, "mirror 2")
    assert lacking.text == f"two.test/app (from --mirror) answers 200, lacks {digest}"
    assert (lacking.state, lacking.hint) == (State.NOTE, "it is passed over: the registry is asked instead")
    dead = line(findings, "mirror 3")
    assert (dead.state, dead.hint) == (State.NOTE, "it is passed over, which takes time")
    assert dead.text == "three.test/cache/app (from --mirror): three.test has no /v2/"
    labels = [f.label for f in findings]
    assert labels.index("mirror 1") < labels.index("mirror 2") < labels.index("address")
    assert is_healthy(findings)


def _registries_conf(base: Path, *mirrors: str, more: str = "") -> None:
    (base / "etc/containers").mkdir(parents=True)
    tables = "".join(f'[[registry.mirror]]\nlocation = "{m}"\n{more}' for m in mirrors)
    (base / "etc/containers/registries.conf").write_text(f'[[registry]]\nlocation = "registry.test"\n{tables}')


def test_a_mirror_that_lags_behind_is_seen_by_what_it_says_of_the_tag(tmp_path: Path) -> None:
    sim = registry()
    mirror(sim, "fresh.test", _1="")
    stale = mirror(sim, "stale.test", _1="old").repository("app").tags["1"]
    _registries_conf(tmp_path, "fresh.test", "stale.test")
    findings = ask(sim, tmp_path)
    digest, source = sim.repository("app").tags["1"], tmp_path / "etc/containers/registries.conf"
    assert line(findings, "mirror 1").text == f"fresh.test (from {source}) answers 200, resolves 1 to {digest}".replace(
        "fresh.test", "fresh.test/app"
    )
    lagging = line(findings, "mirror 2")
    assert lagging.text.endswith(f" answers 200, resolves 1 to {stale}, the registry to {digest}")
    assert (lagging.state, lagging.hint) == (State.NOTE, "it is asked first: it lags behind, or somebody else answers")


def test_a_mirror_that_lies_is_said_to(tmp_path: Path) -> None:
    sim = registry()
    mirror(sim, "liar.test", _1="").serve_instead("/manifests/", b"{}")
    found = line(ask(sim, tmp_path, "registry.test=liar.test"), "mirror 1")
    assert found.state is State.NOTE
    assert " has the digest sha256:" in found.text


def test_a_mirror_for_tags_only_is_not_asked_for_a_digest(tmp_path: Path) -> None:
    sim = registry()
    mirror(sim, "one.test", _1="")
    _registries_conf(tmp_path, "one.test", more='pull-from-mirror = "tag-only"\n')
    pinned = NAME.at(Digest.parse(sim.repository("app").tags["1"]))
    found = line(ask(sim, tmp_path, name=pinned), "mirror 1")
    assert found.text.endswith(" answers 200, is asked what tags mean only")


def test_the_files_that_vouch_for_a_registry_are_named(tmp_path: Path) -> None:
    directory = tmp_path / ".config/containers/certs.d/registry.test"
    directory.mkdir(parents=True)
    for name in ("ca.crt", "client.cert", "client.key"):
        (directory / name).write_text("not read before it is needed")
    sim = registry()
    found = line(ask(sim, tmp_path, HOME=str(tmp_path), SSL_CERT_FILE="/roots.pem"), "tls files")
    assert found == Finding(
        label="tls files",
        text=f"SSL_CERT_FILE '/roots.pem', '{directory}/ca.crt', client certificate '{directory}/client.cert'",
    )
    (directory / "client.key").unlink()
    half = line(ask(sim, tmp_path, HOME=str(tmp_path)), "tls files")
    assert half.state is State.BAD
    assert half.hint == "a client certificate is a pair: NAME.cert and NAME.key"


def test_a_broken_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc" / "containers").mkdir(parents=True)
    (tmp_path / "etc" / "containers" / "registries.conf").write_text("[[")
    findings = ask(registry(), tmp_path)
    assert findings[-1].label == "hosts"
    assert "registries.conf" in findings[-1].text
    assert not is_healthy(findings)


def test_certificates_are_described_and_pointed_at_before_they_end() -> None:
    certificate = {
        "issuer": ((("countryName", "XX"),), (("organizationName", "Corp \x1b[31m"),), (("commonName", "Corp CA"),)),
        "notAfter": "Dec  1 12:00:00 2026 GMT",
    }
    found = tls("TLSv1.3", certificate, now=NOW)
    assert found.text == "TLSv1.3, issued by Corp \\x1b[31m, until 2026-12-01T12:00:00Z"
    assert found.hint == "its certificate ends soon: tell its operator"
    later = tls("TLSv1.3", {**certificate, "notAfter": "Dec 31 12:00:00 2027 GMT"}, now=NOW)
    assert later.state is State.OK
    assert tls("TLSv1.2", {}, now=NOW).text == "TLSv1.2, issued by (unnamed)"


@pytest.mark.parametrize("header", ["Docker-Distribution-Api-Version", "WWW-Authenticate", "Date"])
def test_control_characters_of_headers_are_made_visible(tmp_path: Path, header: str) -> None:
    sim = registry()
    sim.alter("/v2/$", lambda a: a.with_header(header, 'Bearer\x1b[2J realm="https://x.test/\x1b[2J"'))
    sim.alter("^HEAD ", lambda a: a.with_header("RateLimit-Limit", "\x1b[31m"))
    assert "\x1b" not in text(ask(sim, tmp_path))


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
