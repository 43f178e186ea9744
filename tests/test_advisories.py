"""Every published advisory that a client of registries can repeat, as a test of its own.

Not here, since they are about servers: CVE-2025-24976 (a token server's keys; what it teaches a client,
that tokens are opaque, is tested), CVE-2023-2253 and CVE-2024-39897 (a catalog without bound and blobs
mounted across repositories; tested is that neither is ever asked for). Unpacking archives
(CVE-2026-50163, CVE-2021-21272, CVE-2007-4559, ggcr 400c263) does not happen here: tested is that a pull
writes by digest only, whatever names an image gives its layers.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgsign.errors import (
    AuthenticationFailed,
    ContentMismatch,
    DestinationError,
    InvalidManifest,
    RegistryError,
    TooLarge,
    Unavailable,
)
from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Artifact, Blob, Descriptor, Manifest
from imgsign.policy.model import Policy, Reject, Rule, SignedBy
from imgsign.reference import Digest, Reference
from imgsign.signing import SignOptions, sign
from imgsign.stores.destination import LayoutDestination
from imgsign.stores.layout import LayoutStore
from imgsign.stores.layout_index import INDEX_LIMIT
from imgsign.transport import Transport
from imgsign.workflow import key_policy, pull, require_allowed, verify
from tests.answers import Answer, Seen, json_answer
from tests.signing_keys import public, signer
from tests.simulator import Simulator, manifest_bytes

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = Reference.parse("registry.test/app:1")
PASSWORD = "pa55-w0rd-unique"
ENCODED = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


@pytest.fixture
def sim() -> Simulator:
    """A registry with an image app:1 that is not signed."""
    found = Simulator()
    found.put_image("app", tag="1")
    return found


@pytest.fixture
def transport(sim: Simulator, tmp_path: Path) -> Transport:
    """Logged in at the registry."""
    return sim.transport(environ=logged_in(tmp_path))


def logged_in(base: Path) -> dict[str, str]:
    (base / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": ENCODED}}}))
    return {"DOCKER_CONFIG": str(base)}


def sign_it(sim: Simulator, name: Reference = NAME, options: SignOptions | None = None) -> None:
    sign([name], signer("release"), options, locate=lambda r: sim.store(r.path), now=NOW)


def thief(sim: Simulator, host: str) -> list[Seen]:
    """Put up a host that asks whoever comes for a password, and remembers what it was told."""
    told: list[Seen] = []

    def ask(seen: Seen) -> Answer:
        told.append(seen)
        return Answer(status=401, headers=(("WWW-Authenticate", 'Basic realm="x"'),))

    sim.site(host, ask)
    return told


def told_nothing(told: list[Seen]) -> bool:
    texts = [f"{s.url} {s.headers} {s.body!r}" for s in told]
    return bool(texts) and not any(w in t for t in texts for w in (PASSWORD, ENCODED, "token-1", "Bearer"))


# Credentials that go astray


def test_cve_2020_15157_credentials_never_follow_foreign_urls(sim: Simulator, transport: Transport) -> None:
    sim.require_token(users={"alice": PASSWORD})
    told = thief(sim, "evil.test")
    store = sim.store("app", transport)
    layer = store.fetch("1").layers[0]
    sim.redirect(r"/blobs/", "https://evil.test/layer")
    with pytest.raises(AuthenticationFailed, match=r"^evil\.test \(for registry\.test\) answered 401 "):
        store.blob(layer, limit=100)
    assert told_nothing(told)


def test_cve_2020_15157_urls_in_a_manifest_are_not_even_asked(sim: Simulator, transport: Transport) -> None:
    told = thief(sim, "evil.test")
    image = sim.put_image("app")
    layer = {**image.layers[0].to_json(), "urls": ["https://evil.test/layer"]}
    raw = manifest_bytes(layers=[layer])
    sim.put_manifest("app", raw, OCI_MANIFEST, tag="1")
    store = sim.store("app", transport)
    assert store.blob(store.fetch("1").layers[0], limit=100).raw == b"layer "
    assert told == []


@pytest.mark.parametrize("realm", ["http://auth.registry.test/t", "https://169.254.169.254/t", "https://[::1]/t"])
def test_cve_2026_48978_realm_that_lowers_tls_or_leads_inside_is_refused(
    sim: Simulator, transport: Transport, realm: str
) -> None:
    sim.require_token(realm=realm, users={"alice": PASSWORD})
    with pytest.raises(AuthenticationFailed, match=r"^token server .* of https://registry\.test refused: "):
        sim.store("app", transport).fetch("1")
    assert [s.host for s in sim.requests_seen] == ["registry.test"]


def test_cve_2026_33540_realm_of_somebody_else_gets_no_credentials(sim: Simulator, transport: Transport) -> None:
    sim.require_token(realm="https://auth.evil.test/token", users={"alice": PASSWORD})
    with pytest.raises(AuthenticationFailed):
        sim.store("app", transport).fetch("1")
    assert told_nothing([s for s in sim.requests_seen if s.host == "auth.evil.test"])


def test_ggcr_2193_token_server_that_redirects_gets_no_credentials_followed(
    sim: Simulator, transport: Transport
) -> None:
    sim.require_token(users={"alice": PASSWORD})
    told = thief(sim, "evil.test")
    sim.redirect(r"auth\.registry\.test", "https://evil.test/token")
    with pytest.raises(AuthenticationFailed):
        sim.store("app", transport).fetch("1")
    assert told_nothing(told)


@pytest.mark.parametrize("to", ["https://127.0.0.1/t", "https://10.0.0.1/t", "http://auth.registry.test/t"])
def test_ggcr_2193_token_server_that_redirects_inside_or_to_http_is_refused(
    sim: Simulator, transport: Transport, to: str
) -> None:
    sim.require_token(users={"alice": PASSWORD})
    sim.redirect(r"auth\.registry\.test", to)
    with pytest.raises(AuthenticationFailed, match="refused"):
        sim.store("app", transport).fetch("1")
    assert {s.host for s in sim.requests_seen} == {"registry.test", "auth.registry.test"}
    assert not sim.seen("http://")


def test_cve_2026_50151_upload_at_another_host_gets_no_authorization(sim: Simulator, transport: Transport) -> None:
    sim.require_token(users={"alice": PASSWORD})
    told = thief(sim, "evil.test")
    sim.respond("^POST ", lambda s: Answer(status=202, headers=(("Location", "https://evil.test/up?x=1"),)))
    blob = Blob.of(b"new", "application/octet-stream")
    raw = manifest_bytes(layers=[blob.descriptor.to_json()])
    artifact = Artifact(manifest=Manifest.parse(raw, OCI_MANIFEST), blobs=(blob,))
    with pytest.raises(AuthenticationFailed, match=r"^evil\.test"):
        sim.store("app", transport).push(artifact)
    assert [s.method for s in told] == ["PUT"]
    assert told_nothing(told)


@pytest.mark.parametrize("to", ["https://registry.test:8443/x", "https://registry.test.evil.test/x"])
def test_ghsa_vh4v_2xq2_g5cg_another_port_is_another_origin(sim: Simulator, transport: Transport, to: str) -> None:
    sim.require_token(users={"alice": PASSWORD})
    told = thief(sim, to.split("/")[2])
    store = sim.store("app", transport)
    layer = store.fetch("1").layers[0]
    sim.redirect(r"/blobs/", to)
    with pytest.raises(RegistryError):
        store.blob(layer, limit=100)
    assert told_nothing(told)


def test_cve_2021_41092_broken_helper_stops_and_sends_nothing_anywhere(sim: Simulator, tmp_path: Path) -> None:
    config = {"credHelpers": {"registry.test": "absent"}, "auths": {"https://index.docker.io/v1/": {"auth": ENCODED}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    sim.require_token()
    with pytest.raises(AuthenticationFailed, match="absent"):
        sim.store("app", sim.transport(environ={"DOCKER_CONFIG": str(tmp_path), "PATH": ""})).fetch("1")
    assert [s.host for s in sim.requests_seen] == ["registry.test"]


def test_cve_2019_10214_token_server_is_asked_with_the_registrys_tls_rules(
    sim: Simulator, transport: Transport
) -> None:
    sim.require_token(users={"alice": PASSWORD})
    sim.store("app", transport).fetch("1")
    (asked,) = sim.seen(r"auth\.registry\.test")
    assert asked.url.startswith("https://auth.registry.test/token?")


def test_for_win_13344_no_password_in_the_clear(sim: Simulator, transport: Transport) -> None:
    sim.redirect(r"/manifests/1$", "http://registry.test/v2/app/manifests/1")
    with pytest.raises(RegistryError, match="from https to plain http refused"):
        sim.store("app", transport).fetch("1")
    assert not sim.seen("http://")


@pytest.mark.parametrize("secret", [PASSWORD, ENCODED])
def test_cve_2019_14825_credentials_a_registry_repeats_are_not_shown(
    sim: Simulator, transport: Transport, secret: str
) -> None:
    sim.require_basic("alice", "another password")
    body = {"errors": [{"code": "UNAUTHORIZED", "message": f"you sent {secret}"}]}
    challenge = ("WWW-Authenticate", 'Basic realm="x"')
    sim.respond("/v2/", lambda s: replace(json_answer(body, status=401), headers=(challenge,)))
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", transport).fetch("1")
    assert secret not in f"{e.value}{e.value.hint}{e.value!r}{vars(e.value)}"


def test_cdxgen_2124_presigned_queries_are_not_shown(sim: Simulator) -> None:
    sim.redirect(r"/manifests/1$", "https://storage.test/x?X-Amz-Signature=5ecret")
    sim.site("storage.test", lambda s: Answer(status=403))
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").fetch("1")
    assert "5ecret" not in f"{e.value}{e.value.hint}{vars(e.value)}"


# Content that is not what was asked for


def test_cve_2021_41190_media_type_of_the_header_and_of_the_body_must_agree(sim: Simulator) -> None:
    raw = manifest_bytes()
    sim.put_manifest("app", raw, OCI_INDEX, tag="1")
    with pytest.raises(InvalidManifest, match="mediaType"):
        sim.store("app").fetch("1")


def test_cve_2021_41190_manifest_that_is_also_an_index_is_refused(sim: Simulator) -> None:
    sim.put_manifest("app", manifest_bytes(manifests=[]), OCI_MANIFEST, tag="1")
    with pytest.raises(InvalidManifest, match="manifests"):
        sim.store("app").fetch("1")


@pytest.mark.parametrize("digest", ["sha256:../../../secret", "sha256:" + "A" * 64, "../v2/_catalog", "sha256:x?y=z"])
def test_cve_2024_3727_digests_are_read_before_they_name_anything(sim: Simulator, digest: str) -> None:
    raw = manifest_bytes(layers=[{"mediaType": "application/octet-stream", "digest": digest, "size": 1}])
    sim.put_manifest("app", raw, OCI_MANIFEST, tag="1")
    with pytest.raises(InvalidManifest):
        sim.store("app").fetch("1")
    assert len(sim.requests_seen) == 1


def test_cve_2025_24882_pinned_digest_is_compared_with_the_bytes(sim: Simulator) -> None:
    pinned = sim.put_image("app", tag="1").digest
    sim.serve_instead(rf"/manifests/{pinned}", manifest_bytes(annotations={"evil": "1"}))
    with pytest.raises(ContentMismatch, match=f"^manifest {pinned} of registry.test/app has the digest sha256:"):
        sim.store("app").fetch(pinned)


def test_cve_2023_33959_signature_that_was_swapped_for_another_image_does_not_count(sim: Simulator) -> None:
    other = sim.put_image("app", tag="2", salt="other")
    sign_it(sim, Reference.parse("registry.test/app:2"))
    image = sim.store("app").fetch("1")
    (listed,) = sim.store("app").referrers(other.digest)
    sim.list_for("app", image.digest, listed.to_json())
    policy, trust = key_policy([public("release")])
    decision = verify(NAME, policy, trust, locate=lambda r: sim.store(r.path), now=NOW)
    assert not decision.allowed
    assert {c.code for c in decision.checks} == {"foreign-referrer", "threshold"}


def test_cve_2024_23332_older_signed_image_is_refused_by_sequence(sim: Simulator) -> None:
    sign_it(sim, options=SignOptions(sequence=6))
    _, trust = key_policy([public("release")])
    for least, allowed in ((6, True), (7, False)):
        required = SignedBy(anchors=("key",), min_sequence=least)
        policy = Policy(
            default=Rule(scope=None, require=(Reject(),)), scopes={"*": Rule(scope="*", require=(required,))}
        )
        decision = verify(NAME, policy, trust, locate=lambda r: sim.store(r.path), now=NOW)
        assert decision.allowed is allowed


def test_ghsa_cvxm_645q_p574_what_is_handed_on_is_a_digest_not_a_tag(sim: Simulator) -> None:
    sign_it(sim)
    image = sim.store("app").fetch("1")
    policy, trust = key_policy([public("release")])
    decision = verify(NAME, policy, trust, locate=lambda r: sim.store(r.path), now=NOW)
    assert require_allowed(decision).digest == image.digest


# Too much of it


def test_cve_2020_1702_manifests_and_tokens_without_end_are_cut(sim: Simulator) -> None:
    sim.endless(r"/manifests/1$")
    with pytest.raises(TooLarge):
        sim.store("app").fetch("1")
    fresh = Simulator()
    fresh.require_token()
    fresh.endless(r"auth\.registry\.test")
    with pytest.raises(AuthenticationFailed, match="more than the limit of 131072 bytes"):
        fresh.store("app").fetch("1")


def test_cve_2023_25153_layout_with_a_huge_index_or_size_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with (tmp_path / "index.json").open("wb") as file:
        file.truncate(INDEX_LIMIT * 1000)
    with pytest.raises(DestinationError, match="cannot be read"):
        LayoutStore(tmp_path).fetch("1")
    huge = Descriptor(media_type="application/octet-stream", digest=Digest.of(b""), size=10**15)
    with pytest.raises(TooLarge):
        LayoutStore(tmp_path).blob(huge, limit=1000)


def test_cve_2023_33957_endless_signatures_end_in_doubt_soon(sim: Simulator) -> None:
    sim.endless_pages = True
    policy, trust = key_policy([public("release")])
    decision = verify(NAME, policy, trust, locate=lambda r: sim.store(r.path), now=NOW)
    assert decision.inconclusive
    assert len(sim.requests_seen) < 100


def test_ghsa_vfp6_jrw2_99g9_more_signatures_than_the_limit_are_a_fault(sim: Simulator) -> None:
    image = sim.store("app").fetch("1")
    junk = [replace(image.descriptor, digest=Digest.of(str(n).encode())).to_json() for n in range(1001)]
    sim.list_for("app", image.digest, *junk)
    policy, trust = key_policy([public("release")])
    decision = verify(NAME, policy, trust, locate=lambda r: sim.store(r.path), now=NOW)
    assert "more than 1000 referrers are listed" in {f.message for f in decision.faults}


def test_cve_2017_14992_nothing_is_decompressed(sim: Simulator, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(1_000_000))
    digest = sim.put_blob("app", bomb)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": str(digest), "size": len(bomb)}
    sim.put_manifest("app", manifest_bytes(layers=[layer]), OCI_MANIFEST, tag="1")
    pull_signed(sim, tmp_path / "layout")
    assert (tmp_path / "layout" / "blobs" / "sha256" / digest.hex).read_bytes() == bomb
    sim.encode(r"/manifests/1$", "gzip")
    with pytest.raises(Unavailable, match="sends content encoding 'gzip' although identity was asked for"):
        sim.store("app").fetch("1")


# Places where bytes end up


def pull_signed(sim: Simulator, layout: Path) -> None:
    sign_it(sim)
    policy, trust = key_policy([public("release")])
    pull(NAME, policy, trust, LayoutDestination(layout, "1"), locate=lambda r: sim.store(r.path), now=NOW)


def test_cve_2026_50163_names_given_to_layers_are_no_paths(sim: Simulator, tmp_path: Path) -> None:
    image = sim.put_image("app")
    title = {"org.opencontainers.image.title": "../../escaped", "io.deis.oras.content.unpack": "true"}
    layer = {**image.layers[0].to_json(), "annotations": title}
    sim.put_manifest("app", manifest_bytes(layers=[layer], annotations=title), OCI_MANIFEST, tag="1")
    pull_signed(sim, tmp_path / "a" / "b")
    written = {str(p.relative_to(tmp_path / "a" / "b")) for p in tmp_path.rglob("*") if p.is_file()}
    blobs = {w for w in written if w.startswith("blobs/sha256/") and len(w.rpartition("/")[2]) == 64}
    assert written - blobs == {"index.json", "oci-layout"}


def test_cve_2007_4559_symbolic_link_in_a_layout_is_not_written_through(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    layout = tmp_path / "layout"
    LayoutStore(layout).make()
    (layout / "blobs" / "sha256").symlink_to(tmp_path / "outside")
    with pytest.raises(DestinationError, match="is a symbolic link; nothing is read or written through it"):
        pull_signed(sim, layout)
    assert list((tmp_path / "outside").iterdir()) == []


# What servers got wrong, as far as a client can help


def test_cve_2025_24976_tokens_are_opaque(sim: Simulator) -> None:
    sim.require_token()
    sim.tokens["eyJhbGciOiJub25lIn0.e30."] = {"repository:app:pull"}
    sim.site("auth.registry.test", lambda s: json_answer({"token": "eyJhbGciOiJub25lIn0.e30."}))
    assert sim.store("app").fetch("1").layers


def test_cve_2023_2253_no_catalog_and_no_page_size_is_ever_asked_for(sim: Simulator, tmp_path: Path) -> None:
    pull_signed(sim, tmp_path / "layout")
    assert not sim.seen(r"_catalog|tags/list|[?&]n=")


def test_cve_2024_39897_no_blob_is_mounted_from_another_repository(sim: Simulator) -> None:
    sim.put_blob("other", EMPTY_CONFIG.raw)
    sign_it(sim)
    assert sim.seen("^POST ")
    assert not sim.seen(r"mount=|from=")
