"""containers/image's verdicts through an imported policy.json: names, and how strictly signatures are read."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import pytest

from imgsign.claim import Candidate, Defect
from imgsign.decision import Decision, Evidence
from imgsign.errors import Malformed
from imgsign.evaluate import evaluate
from imgsign.importing import import_policy
from imgsign.load import load_policy
from imgsign.oci import Image
from imgsign.policy.imports import Wanted
from tests.artifacts import NOW, ed25519, failures, image, public
from tests.shared import VECTORS, read, requires_shared
from tests.vectors.test_skopeo_verdicts import (
    NAMES,
    NO_SIGNATURE,
    PULLS,
    REPO,
    STRICTER,
    STRICTNESS,
    named_signature,
    strict_case,
    strict_name,
)

pytestmark = requires_shared

KEY = base64.b64encode(public(ed25519(1)).to_pem()).decode()


def imported(policy: dict[str, object], at: Path) -> Path:
    found = import_policy(json.dumps(policy).encode(), "policy.json", dialect=None, wanted=Wanted())
    assert (found.dialect, found.complete) == ("containers", True)
    path = at / "policy.toml"
    path.write_text(found.text, "utf-8")
    return path


def under(scope: str, requirement: object) -> dict[str, object]:
    return {"default": [{"type": "reject"}], "transports": {"docker": {scope: [requirement]}}}


def judge(path: Path, asked: Image, found: tuple[Candidate | Defect, ...]) -> Decision:
    evidence = Evidence(
        candidates=tuple(f for f in found if not isinstance(f, Defect)),
        defects=tuple(f for f in found if isinstance(f, Defect)),
    )
    return evaluate(*load_policy(path, environ={}), asked, evidence, now=NOW)


ROWS = json.loads(read("skopeo/identity-matrix.json")) if VECTORS.is_dir() else []


def identity(kind: str, signs: str) -> dict[str, object]:
    """The member ``signedIdentity`` as the rows were made: the exact kinds name what was signed."""
    if kind == "(default)":
        return {}
    more = {"exactReference": {"dockerReference": signs}, "exactRepository": {"dockerRepository": bare(signs)}}
    return {"signedIdentity": {"type": kind, **more.get(kind, {})}}


def bare(name: str) -> str:
    name = name.partition("@")[0]
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def test_the_rows_are_all_there() -> None:
    assert Counter(r["result"] for r in ROWS) == Counter({"accept": 28, "reject": 16, "policy-error": 1})


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['signature_reference']}-{r['pull']}-{r['signedIdentity']}")
def test_a_name_counts_where_it_counts_for_containers_image(row: dict[str, str], tmp_path: Path) -> None:
    signs = NAMES[row["signature_reference"]]
    requirement = {"type": "sigstoreSigned", "keyData": KEY, **identity(row["signedIdentity"], signs)}
    if row["result"] == "policy-error":
        with pytest.raises(Malformed, match="dockerReference has neither tag nor digest"):
            imported(under(REPO, requirement), tmp_path)
        return
    path = imported(under(REPO, requirement), tmp_path)
    assert judge(path, image(PULLS[row["pull"]]), named_signature(signs)).allowed is (row["result"] == "accept")


@pytest.mark.parametrize("case", [*STRICTNESS, NO_SIGNATURE])
def test_a_signature_is_read_as_strictly_as_by_containers_image(case: str, tmp_path: Path) -> None:
    manifest, found = strict_case(case)
    asked = strict_name(case)
    listed = {c["id"]: c["skopeo"] for c in json.loads(read("skopeo/strictness/cases.json"))}
    key = {"type": "sigstoreSigned", "keyPath": str(VECTORS.resolve() / "skopeo/keys/cosign-p256.pub")}
    decision = judge(imported(under(bare(asked), key), tmp_path), image(asked, manifest), found)
    assert decision.allowed is (listed[case] == "accept" and case not in STRICTER)
    if case in STRICTER:
        assert failures(decision) == [STRICTNESS[case][0]]  # type: ignore[index]  # it is refused
