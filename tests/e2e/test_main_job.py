"""The main job with the real parts: docker builds and pushes, imgsign signs, verifies and pulls."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from imgsign.oci import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Manifest
from imgsign.reference import Digest
from imgsign.stores.layout import LayoutStore
from tests.e2e import images, parts

PASSWORD = {"IMGSIGN_PASSWORD": "test"}


def _policy(base: Path, registry: parts.Registry, key: Path) -> Path:
    path = base / "policy.toml"
    path.write_text(
        f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{key.with_suffix(".pub")}"]\n'
        f'[scopes."{registry.host}"]\nrequire = [{{ signed-by = "release" }}]\n'
    )
    return path


@pytest.fixture(scope="module")
def built(registry: parts.Registry, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A multi-stage image that docker built and pushed: its name and the digest docker printed."""
    name = f"{registry.host}/shop/app:1.0"
    return name, images.build_and_push(tmp_path_factory.mktemp("build"), docker_host, name)


def test_docker_build_push_sign_verify_pull(
    built: tuple[str, str], registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name, digest = built
    policy = _policy(tmp_path, registry, release_key)
    repository = name.rpartition(":")[0]

    denied = parts.imgsign("verify", name, "--policy", policy, check=False)
    assert denied.returncode == 1
    assert denied.stdout.startswith(f"denied {name}@{digest}")
    assert "signed-by release: 0 of 1 needed" in denied.stdout

    refused = parts.imgsign("pull", name, f"oci:{tmp_path}/refused", "--policy", policy, check=False)
    assert refused.returncode == 1
    assert not (tmp_path / "refused").exists()

    signed = parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    assert signed.stdout.startswith(f"signed {name}@{digest} with key SHA256:")

    allowed = parts.imgsign("verify", name, "--policy", policy)
    assert allowed.stdout.startswith(f"allowed {name}@{digest}  scope {registry.host}  signed by release (key SHA256:")
    quiet = parts.imgsign("verify", "-q", name, "--policy", policy)
    assert quiet.stdout == f"{repository}@{digest}\n"

    pulled = parts.imgsign("pull", name, f"oci:{tmp_path}/layout", "--policy", policy)
    assert pulled.stdout == f"{repository}@{digest}\n"
    # docker pushes schema 2; its bytes and digest are kept, so only readers of that media type read it.
    stored = LayoutStore(tmp_path / "layout").fetch("1.0")
    assert str(stored.digest) == digest
    assert stored.descriptor.media_type == DOCKER_MANIFEST
    assert b"built in a stage: one\n" in _file_in_layers(tmp_path / "layout", stored, "message")


def _file_in_layers(layout: Path, manifest: Manifest, name: str) -> list[bytes]:
    found = []
    for layer in manifest.layers:
        with tarfile.open(layout / "blobs" / layer.digest.algorithm / layer.digest.hex) as tar:
            for member in tar.getmembers():
                if member.name == name:
                    file = tar.extractfile(member)
                    found.append(b"" if file is None else file.read())
    return found


def test_skopeo_and_umoci_read_a_pulled_oci_image(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/shop/oci:1.0"
    digest = images.push_small(tmp_path, name, "read by others")
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    policy = _policy(tmp_path, registry, release_key)
    parts.imgsign("pull", name, f"oci:{tmp_path}/layout", "--policy", policy)
    assert json.loads(parts.run("skopeo", "inspect", f"oci:{tmp_path}/layout:1.0").stdout)["Digest"] == digest
    parts.run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/layout:1.0", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/content").read_text() == "read by others"
    # The signature came along: the copy verifies without the registry.
    offline = parts.imgsign("verify", f"oci:{tmp_path}/layout:1.0", "--identity", name, "--policy", policy)
    assert offline.stdout.startswith(f"allowed {name}@{digest}")


def test_docker_runs_what_verify_printed(
    built: tuple[str, str], registry: parts.Registry, docker_host: str, release_key: Path, tmp_path: Path
) -> None:
    name, _ = built
    policy = _policy(tmp_path, registry, release_key)
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    pinned = parts.imgsign("verify", "-q", name, "--policy", policy).stdout.strip()
    env = {"DOCKER_HOST": docker_host}
    assert parts.run("docker", "run", "--rm", "--network", "none", pinned, env=env).stdout == "built in a stage: one\n"


def test_signing_again_leaves_a_valid_signature_alone(
    built: tuple[str, str], registry: parts.Registry, release_key: Path
) -> None:
    name, digest = built
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    fallback = f"/v2/shop/app/manifests/{digest.replace(':', '-')}"
    before = registry.get(fallback, OCI_INDEX)
    assert before[0] == 200
    again = parts.imgsign("sign", name, "-k", release_key, "--output", "json", env=PASSWORD)
    assert [r["created"] for r in json.loads(again.stdout)["results"]] == [False]
    assert registry.get(fallback, OCI_INDEX) == before


def test_retagged_older_image_is_denied_by_its_signed_name(
    registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    host = registry.host
    old = images.push_small(tmp_path, f"{host}/retag/app:1.0", "old and vulnerable")
    images.push_small(tmp_path, f"{host}/retag/app:2.0", "new")
    policy = _policy(tmp_path, registry, release_key)
    parts.imgsign("sign", f"{host}/retag/app:1.0", f"{host}/retag/app:2.0", "-k", release_key, env=PASSWORD)
    assert parts.imgsign("verify", f"{host}/retag/app:2.0", "--policy", policy).returncode == 0
    # A thief of the registry moves the new tag to the old, validly signed bytes.
    parts.run(
        "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{host}/retag/app:1.0", f"docker://{host}/retag/app:2.0",
    )  # fmt: skip
    done = parts.imgsign("verify", f"{host}/retag/app:2.0", "--policy", policy, "--output", "json", check=False)
    assert done.returncode == 1
    (result,) = json.loads(done.stdout)["results"]
    assert result["digest"] == old
    assert "name-mismatch" in {c["code"] for c in result["checks"]}


def test_an_index_is_signed_with_all_its_platforms(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    host = registry.host
    name = f"{host}/multi/app:1.0"
    children = [images.push_small(tmp_path, f"{host}/multi/app:{a}", a) for a in ("amd64", "arm64")]
    index = _push_index(registry, "multi/app", "1.0", children)
    done = parts.imgsign("sign", name, "-k", release_key, "-f", "bundle", "-f", "simple", env=PASSWORD)
    assert done.stdout.count("signed ") == 6
    assert done.stdout.splitlines()[-1].startswith(f"signed {name}@{index} with key")
    policy = _policy(tmp_path, registry, release_key)
    for digest in (*children, index):
        assert parts.imgsign("verify", f"{name}@{digest}", "--policy", policy).returncode == 0
    pulled = parts.imgsign("pull", name, f"oci:{tmp_path}/all", "--policy", policy)
    assert pulled.stdout.strip().endswith(index)
    for digest in children:
        assert (tmp_path / "all/blobs/sha256" / digest.removeprefix("sha256:")).is_file()


def _push_index(registry: parts.Registry, path: str, tag: str, children: list[str]) -> str:
    entries = []
    for architecture, digest in zip(("amd64", "arm64"), children, strict=True):
        status, raw = registry.get(f"/v2/{path}/manifests/{digest}", OCI_MANIFEST)
        assert status == 200
        platform = {"architecture": architecture, "os": "linux"}
        entries.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(raw), "platform": platform})
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    assert registry.put(f"/v2/{path}/manifests/{tag}", body, OCI_INDEX) == 201
    return str(Digest.of(body))


def test_skopeo_carries_our_sig_to_another_registry(
    registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    """Debian's skopeo cannot verify sigstore signatures, but it copies the attachments."""
    source = f"{registry.host}/carry/app:1.0"
    digest = images.push_small(tmp_path, source, "carried")
    parts.imgsign("sign", source, "-k", release_key, "-f", "simple", env=PASSWORD)
    registries_d = tmp_path / "registries.d"
    registries_d.mkdir()
    with parts.registry(tmp_path / "other") as other:
        (registries_d / "x.yaml").write_text(
            "docker:\n"
            + "".join(f"    {h}:\n        use-sigstore-attachments: true\n" for h in (registry.host, other.host))
        )
        target = f"{other.host}/carry/app:1.0"
        parts.run(
            "skopeo", "--insecure-policy", "--registries.d", registries_d, "copy",
            "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{source}", f"docker://{target}",
        )  # fmt: skip
        public = release_key.with_suffix(".pub")
        signature = f"/v2/carry/app/manifests/{digest.replace(':', '-')}.sig"
        theirs, ours = (json.loads(r.get(signature, OCI_MANIFEST)[1]) for r in (other, registry))
        assert theirs["layers"] == ours["layers"]  # skopeo writes a manifest of its own around them
        moved = parts.imgsign("verify", target, "--key", public, check=False)
        assert moved.returncode == 1
        assert "name-mismatch" not in moved.stdout
        assert f"signs the name {source}" in moved.stdout
        policy = tmp_path / "policy.toml"
        policy.write_text(
            f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{public}"]\n[scopes."{other.host}"]\n'
            f'require = [{{ signed-by = "release", remap = {{ "{other.host}" = "{registry.host}" }} }}]\n'
        )
        allowed = parts.imgsign("verify", target, "--policy", policy)
        assert allowed.stdout.startswith(f"allowed {target}@{digest}")
