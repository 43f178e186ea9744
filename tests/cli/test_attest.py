"""``imgsign attest`` and ``imgsign inspect --predicate`` on an OCI layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_layout_commands import NAME, Run, run

__all__ = ["run"]

BUILT = b'{"buildDefinition": {"buildType": "t"},\n "runDetails": {"builder": {"id": "https://ci.example/1"}}}'
ATTEST = "attest oci:image:1 --identity NAME --type slsa-provenance --predicate built.json -k KEYS/ci.key"
INSPECT = "inspect oci:image:1 --identity NAME --predicate slsa-provenance"
POLICY = """version = 1
default = "reject"
[anchors.ci]
keys = ["KEYS/ci.pub"]
[scopes."registry.example"]
require = [{ attested = "slsa-provenance", by = "ci", where = { "runDetails.builder.id" = { prefix = "BUILDER" } } }]
"""


@pytest.fixture
def built(run: Run) -> Path:
    path = Path("built.json")
    path.write_bytes(BUILT + b"\n")
    return path


def write_policy(builder: str) -> None:
    from tests.cli.test_layout_commands import KEYS

    Path("policy.toml").write_text(POLICY.replace("KEYS", str(KEYS)).replace("BUILDER", builder))


def test_attest_says_what_of_which_image(run: Run, built: Path) -> None:
    said = f"slsa-provenance of {NAME}@sha256:HEX in oci:image with key SHA256:KEY as sigstore bundle"
    assert run(f"{ATTEST} --dry-run") == (0, f"would attest {said}\n", "")
    assert run(f"{ATTEST} --expires 7d") == (0, f"attested {said} until TIME\n", "")
    assert run(f"{ATTEST} --expires 7d") == (0, f"already attested {said}\n", "")
    assert run(f"{ATTEST} -f dsse")[1].endswith("as attestation tag\n")


def test_attest_json_names_the_predicate_type(run: Run, built: Path) -> None:
    code, out, _ = run(f"{ATTEST} -o json")
    (result,) = json.loads(out)["results"]
    assert (code, result["predicate_type"], result["created"]) == (0, "https://slsa.dev/provenance/v1", True)


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (
            ATTEST.replace("slsa-provenance", "sbom"),
            2,
            "error: --type: unknown predicate type 'sbom'\nhint: use a URI, or",
        ),
        (ATTEST.replace("slsa-provenance", "spdx"), 2, "error: not a predicate of type 'spdx': not an SPDX document"),
        (ATTEST.replace("built.json", "none.json"), 3, "error: "),
        (f"{ATTEST} -f simple", 2, "error: format 'simple' holds no attestations\nhint: use one of bundle, dsse"),
        (ATTEST.replace("built.json", "-") + " --password-stdin", 2, "error: standard input cannot be both"),
        (INSPECT, 2, "error: no policy was given\nhint: --policy FILE, or --key KEY.pub"),
        (
            f"{INSPECT} -k KEYS/ci.pub".replace("slsa-provenance", "nonsense"),
            2,
            "error: --predicate: unknown predicate",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, built: Path, line: str, code: int, says: str) -> None:
    found, out, err = run(line)
    assert (found, out) == (code, "")
    assert err.startswith(says)


def test_verified_predicate_is_printed_as_it_was_signed(run: Run, built: Path) -> None:
    run(ATTEST)
    assert run(f"{INSPECT} -k KEYS/ci.pub") == (0, BUILT.decode() + "\n", "")
    write_policy("https://ci.example/")
    assert run(f"{INSPECT} -p policy.toml") == (0, BUILT.decode() + "\n", "")


def test_predicate_nobody_trusted_attested_is_not_printed(run: Run, built: Path) -> None:
    run(ATTEST)
    code, out, err = run(f"{INSPECT} -k KEYS/stranger.pub")
    assert (code, out) == (1, "")
    assert err.splitlines()[:3] == [
        f"denied {NAME}@sha256:HEX  scope *",
        "  attested slsa-provenance by key: 0 of 1 needed",
        "    referrer sha256:HEX (bundle): does not verify with the key of anchor 'key'",
    ]


def test_predicate_the_policy_does_not_ask_for_is_not_printed(run: Run, built: Path) -> None:
    run(ATTEST)
    write_policy("https://ci.example/")
    code, out, err = run(f"{INSPECT} -p policy.toml".replace("slsa-provenance", "spdx"))
    assert (code, out) == (2, "")
    assert err.startswith("error: the policy asks for no attestation of type spdx in scope registry.example\nhint: ")


def test_verify_says_who_attested_what_and_why_not(run: Run, built: Path) -> None:
    run(ATTEST)
    write_policy("https://ci.example/")
    assert run("verify oci:image:1 --identity NAME -p policy.toml") == (
        0,
        f"allowed {NAME}@sha256:HEX  scope registry.example  attested slsa-provenance by ci (key SHA256:KEY)\n",
        "",
    )
    write_policy("https://ci.evil/")
    code, out, _ = run("verify oci:image:1 --identity NAME -p policy.toml")
    assert code == 1
    assert out.splitlines()[1:] == [
        "  attested slsa-provenance by ci: 0 of 1 needed",
        "    referrer sha256:HEX (bundle): its predicate's 'runDetails.builder.id' is 'https://ci.example/1', "
        "something under 'https://ci.evil/' needed",
        'hint: attest it with a key of anchor "ci": imgsign attest registry.example/shop/app:1@sha256:HEX '
        "--type slsa-provenance --predicate FILE -k KEY",
    ]


def test_tree_and_inspect_name_attestations(run: Run, built: Path) -> None:
    run(ATTEST)
    run(f"{ATTEST} -f dsse")
    assert run("tree oci:image:1")[1].splitlines()[2:] == [
        "├─ attestation slsa-provenance (sigstore bundle)  referrer sha256:HEX  unverified",
        "└─ 1 attestation, cosign tag  sha256-HEX.att  unverified",
    ]
    out = run("inspect oci:image:1 --identity NAME -k KEYS/ci.pub")[1]
    assert out.count("  verdict     counts for attested slsa-provenance by key\n") == 2
    assert "  type        https://slsa.dev/provenance/v1 (slsa-provenance)\n" in out
