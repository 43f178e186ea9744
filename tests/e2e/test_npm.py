"""Another implementation reads ours: npm's @sigstore/verify accepts our envelope and refuses a mangled one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imgsign.oci import OCI_INDEX, OCI_MANIFEST
from imgsign.wire import b64decode, b64encode
from tests.e2e import images, parts

PACKAGES = ("@sigstore/verify@3.1.1", "@sigstore/bundle@4.0.0")
SCRIPT = Path(__file__).with_name("verify.mjs")


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script beside its installed packages."""
    parts.need("node", "npm")
    base = tmp_path_factory.mktemp("npm")
    (base / "package.json").write_text('{"private": true}')
    parts.run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES, cwd=base, timeout=300)
    shutil.copy(SCRIPT, base)
    return base / SCRIPT.name


def _bundle(registry: parts.Registry, path: str, digest: str) -> dict[str, object]:
    """Fetch the one bundle of an image as any client would: fallback tag, manifest, blob."""
    index = json.loads(registry.get(f"/v2/{path}/manifests/{digest.replace(':', '-')}", OCI_INDEX)[1])
    (entry,) = index["manifests"]
    manifest = json.loads(registry.get(f"/v2/{path}/manifests/{entry['digest']}", OCI_MANIFEST)[1])
    (layer,) = manifest["layers"]
    found: dict[str, object] = json.loads(registry.get(f"/v2/{path}/blobs/{layer['digest']}")[1])
    return found


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519", "rsa-3072"])
def test_npm_sigstore_accepts_our_bundle_and_refuses_a_mangled_one(
    registry: parts.Registry, verifier: Path, tmp_path: Path, kind: str
) -> None:
    path = f"npm/{kind}"
    name = f"{registry.host}/{path}:1"
    digest = images.push_small(tmp_path, name, kind)
    parts.imgsign("key", "generate", tmp_path / "k", "--type", kind, "--no-password")
    parts.imgsign("key", "generate", tmp_path / "stranger", "--no-password")
    parts.imgsign("sign", name, "-k", tmp_path / "k.key", "-a", "team=shop")
    bundle = _bundle(registry, path, digest)
    file = tmp_path / "bundle.json"

    def judge(key: str) -> tuple[int, str]:
        done = parts.run("node", verifier, file, tmp_path / key, check=False)
        return done.returncode, done.stdout

    file.write_text(json.dumps(bundle))
    assert judge("k.pub") == (0, "OK\n")
    assert judge("stranger.pub")[0] == 1

    envelope = bundle["dsseEnvelope"]
    assert isinstance(envelope, dict)
    payload = bytearray(b64decode(envelope["payload"]))
    payload[payload.index(b"sha256") + 10] ^= 1
    envelope["payload"] = b64encode(bytes(payload))
    file.write_text(json.dumps(bundle))
    code, said = judge("k.pub")
    assert code == 1
    assert "signature verification failed" in said
