"""Audits of a simulated registry: what is found, what a row says, and that nothing is lost on the way."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from imgsign.errors import UsageError
from imgsign.fleet.audit import Judge, counter, header_of, open_log, run
from imgsign.fleet.job import manifests
from imgsign.fleet.merge import merge
from imgsign.fleet.page import SCRIPT, STYLE
from imgsign.fleet.report import write_report
from imgsign.fleet.rows import Row
from imgsign.fleet.targets import Shard, Sources, Wanted
from imgsign.reference import Reference, Repository
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Transport
from imgsign.workflow import key_policy
from tests.answers import Answer
from tests.fleet.worlds import NOW
from tests.signing_keys import public, signer
from tests.simulator import Simulator

POLICY, TRUST = key_policy([public("release")])
EVIL = "</script><img src=x onerror=alert(1)>\x1b[2J\u202e"


@pytest.fixture
def sim() -> Simulator:
    """shop/app 1 to 3 signed, 4 not, 5 by a stranger; payments/api:1 signed until the tenth of December."""
    found = Simulator(referrers_api=False)
    for tag, key in (("1", "release"), ("2", "release"), ("3", "release"), ("4", None), ("5", "stranger")):
        put(found, "shop/app", tag, key)
    put(found, "payments/api", "1", "release", timedelta(days=16))
    return found


def put(sim: Simulator, path: str, tag: str, key: str | None, lifetime: timedelta | None = None) -> None:
    sim.put_image(path, tag=tag, salt=f"{path} {tag}")
    if key is not None:
        name = Reference.parse(f"registry.test/{path}:{tag}")
        options = SignOptions(formats=("bundle", "simple"), lifetime=lifetime)
        sign([name], signer(key), options, locate=lambda r: sim.store(r.path), now=NOW)


class Killed(BaseException):
    """The process is gone."""


def audit(
    sim: Simulator,
    path: Path,
    *targets: str,
    shard: Shard | None = None,
    resume: bool = False,
    kill_after: int | None = None,
    now: datetime = NOW,
    stdin: str = "",
    transport: Transport | None = None,
) -> list[dict[str, object]]:
    """Audit as the command does; returns the rows of the file."""
    shared = transport or sim.transport()

    def locate(repository: Repository) -> Store:
        return RemoteStore(repository, shared)

    seen: list[Row] = []

    def see(row: Row, line: bytes) -> None:
        seen.append(row)
        if kill_after is not None and len(seen) == kill_after:
            raise Killed

    header = header_of(POLICY, TRUST, now=now, targets=targets, shard=None if shard is None else str(shard))
    with (
        ThreadPoolExecutor(4) as pool,
        open_log(path, header, counter(timedelta(days=30)), resume=resume) as (log, counts),
    ):
        sources = Sources(locate, pool, stdin=lambda: io.StringIO(stdin))
        wanted: Iterator[Wanted] = (w for t in targets for w in sources.expand(t))
        run(wanted, log, counts, Judge(POLICY, TRUST, locate, log.header.at), pool, shard=shard, seen=see)
    return [json.loads(line) for line in path.read_text().splitlines()[1:-1]]


def verdicts(rows: list[dict[str, object]]) -> dict[object, object]:
    return {row["reference"]: row["verdict"] for row in rows}


WHOLE = {
    "registry.test/payments/api:1": "allowed",
    "registry.test/shop/app:1": "allowed",
    "registry.test/shop/app:2": "allowed",
    "registry.test/shop/app:3": "allowed",
    "registry.test/shop/app:4": "denied",
    "registry.test/shop/app:5": "denied",
}


@pytest.mark.parametrize("page_size", [None, 1, 2])
def test_a_whole_registry_is_audited_page_by_page_and_cosign_tags_are_no_images(
    sim: Simulator, tmp_path: Path, page_size: int | None
) -> None:
    sim.page_size = page_size
    assert verdicts(audit(sim, tmp_path / "a.jsonl", "registry.test/")) == WHOLE


def test_a_namespace_and_a_repository_are_what_is_below_them(sim: Simulator, tmp_path: Path) -> None:
    put(sim, "shopping/app", "1", "release")
    found = verdicts(audit(sim, tmp_path / "a.jsonl", "registry.test/shop/"))
    assert found == {k: v for k, v in WHOLE.items() if str(k).startswith("registry.test/shop/")}
    assert verdicts(audit(sim, tmp_path / "b.jsonl", "registry.test/shop/app")) == found


def test_a_row_says_who_signed_when_until_when_and_how(sim: Simulator, tmp_path: Path) -> None:
    (row,) = audit(sim, tmp_path / "a.jsonl", "registry.test/payments/api:1")
    digest = str(sim.store("payments/api").fetch("1").digest)
    (one,) = json.loads(json.dumps(row["signers"]))
    assert (row["digest"], row["valid_until"]) == (digest, "2026-12-10T12:00:00Z")
    assert row["formats"] == ["bundle", "simple"]
    assert {**one, "format": "?"} == {
        "anchor": "key",
        "key": public("release").fingerprint,
        "format": "?",
        "signed_at": "2026-11-24T12:00:00Z",
        "expires_at": "2026-12-10T12:00:00Z",
    }


def test_a_denial_says_why_and_what_to_type(sim: Simulator, tmp_path: Path) -> None:
    unsigned, stranger = audit(sim, tmp_path / "a.jsonl", "registry.test/shop/app:4", "registry.test/shop/app:5")
    assert [r["code"] for r in unsigned["reasons"]] == ["threshold"]  # type: ignore[attr-defined]  # a list
    assert {r["code"] for r in stranger["reasons"]} == {"threshold", "untrusted-signer"}  # type: ignore[attr-defined]  # a list
    assert "imgsign sign registry.test/shop/app:4@sha256:" in str(unsigned["hint"])


def test_what_cannot_be_read_is_an_error_row_and_the_rest_goes_on(sim: Simulator, tmp_path: Path) -> None:
    rows = audit(sim, tmp_path / "a.jsonl", "-", stdin=f"# a list\nregistry.test/gone:1\n\n{EVIL}\nregistry.test/none\n"
                 "registry.test/shop/app:1\nregistry.test/shop/app:1\n")  # fmt: skip
    assert [(r["verdict"], [x["code"] for x in r["reasons"]]) for r in rows] == [  # type: ignore[attr-defined]  # a list
        ("error", ["not-found"]),
        ("error", ["invalid-reference"]),
        ("error", ["tags"]),
        ("allowed", []),
    ]


def test_a_registry_that_lists_nothing_says_so_in_one_row(sim: Simulator, tmp_path: Path) -> None:
    sim.fail("_catalog", 401)
    (row,) = audit(sim, tmp_path / "a.jsonl", "registry.test/")
    assert row["verdict"] == "error"
    assert "registry.test does not list its repositories: " in str(row["reasons"])
    assert "name them instead" in str(row["hint"])


def test_an_endless_catalog_ends(sim: Simulator, tmp_path: Path) -> None:
    link = '</v2/_catalog?last=x>; rel="next"'
    sim.respond("_catalog", lambda seen: Answer(body=b'{"repositories":[]}', headers=(("Link", link),)))
    (row,) = audit(sim, tmp_path / "a.jsonl", "registry.test/")
    assert "does not end after 0 names" in str(row["reasons"])


def test_a_busy_registry_is_waited_for_by_all_and_fails_none(sim: Simulator, tmp_path: Path) -> None:
    sim.fail(r"GET .*/manifests/", 429, times=25, Retry_After="30")
    patient = Transport(environ={}, adapter=sim, clock=sim.clock, sleep=sim.clock.sleep, patient=True)
    assert verdicts(audit(sim, tmp_path / "a.jsonl", "registry.test/", transport=patient)) == WHOLE
    assert sim.clock.now >= 30


def test_who_is_not_patient_gives_up_on_a_busy_registry(sim: Simulator, tmp_path: Path) -> None:
    sim.fail(r"GET .*/manifests/", 429, Retry_After="30")
    (row,) = audit(sim, tmp_path / "a.jsonl", "registry.test/shop/app:1")
    assert "answered 429" in str(row["reasons"])
    assert row["verdict"] == "error"


# Killed, resumed, spread


@pytest.mark.parametrize("after", [1, 3, 5])
def test_killed_and_resumed_it_ends_in_the_same_bytes(sim: Simulator, tmp_path: Path, after: int) -> None:
    audit(sim, tmp_path / "whole.jsonl", "registry.test/")
    with pytest.raises(Killed):
        audit(sim, tmp_path / "part.jsonl", "registry.test/", kill_after=after)
    with (tmp_path / "part.jsonl").open("ab") as file:
        file.write(b'{"n":9,"reference":"cut of')
    before = len(sim.seen("manifests/1$"))
    later = NOW + timedelta(days=3)
    audit(sim, tmp_path / "part.jsonl", "registry.test/", resume=True, now=later)
    assert (tmp_path / "part.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert len(sim.seen("manifests/1$")) - before <= 1  # payments/api:1, the first row, stands
    for name in ("whole", "part"):
        write_report(tmp_path / f"{name}.jsonl", tmp_path / f"{name}.html", timedelta(days=30))
    assert (tmp_path / "part.html").read_bytes() == (tmp_path / "whole.html").read_bytes()


def test_a_file_that_is_there_is_not_overwritten(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("precious\n")
    with pytest.raises(UsageError, match="is there already"):
        audit(sim, tmp_path / "a.jsonl", "registry.test/")
    with pytest.raises(UsageError, match="is not the output of an audit"):
        audit(sim, tmp_path / "a.jsonl", "registry.test/", resume=True)
    assert (tmp_path / "a.jsonl").read_text() == "precious\n"


def test_an_audit_of_other_targets_is_not_resumed(sim: Simulator, tmp_path: Path) -> None:
    audit(sim, tmp_path / "a.jsonl", "registry.test/shop/")
    with pytest.raises(UsageError, match="was begun with another targets"):
        audit(sim, tmp_path / "a.jsonl", "registry.test/", resume=True)


def test_four_shards_merged_are_the_single_run(sim: Simulator, tmp_path: Path) -> None:
    audit(sim, tmp_path / "whole.jsonl", "registry.test/")
    parts = [tmp_path / f"part-{i}.jsonl" for i in range(4)]
    sizes = [len(audit(sim, p, "registry.test/", shard=Shard(index=i, count=4))) for i, p in enumerate(parts)]
    assert sum(sizes) == 6
    assert max(sizes) < 6
    with (tmp_path / "merged.jsonl").open("wb") as out:
        merge(list(reversed(parts)), out, timedelta(days=30))
    assert (tmp_path / "merged.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_parts_that_are_missing_doubled_or_incomplete_are_not_merged(sim: Simulator, tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{i}.jsonl" for i in range(2)]
    for i, part in enumerate(parts):
        audit(sim, part, "registry.test/", shard=Shard(index=i, count=2))
    for chosen, message in (
        (parts[:1], "part 1/2 is missing"),
        ([parts[0], parts[0]], "part 0/2 is there more than once"),
    ):
        with pytest.raises(UsageError, match=message):
            merge(chosen, io.BytesIO(), timedelta(days=30))
    whole = parts[1].read_bytes()
    parts[1].write_bytes(whole[: whole.rindex(b'{"end"')])
    with pytest.raises(UsageError, match="is not complete"):
        merge(parts, io.BytesIO(), timedelta(days=30))


@pytest.mark.parametrize(
    ("reference", "index"),
    # By `printf %s REF | sha256sum`: the eighth byte modulo 4, since 4 divides 256.
    [("registry.test/shop/app:1", 2), ("registry.test/shop/app:2", 1), ("docker.io/library/nginx:1.27", 0)],
)
def test_a_reference_belongs_to_one_shard_by_its_hash(reference: str, index: int) -> None:
    assert [Shard(index=i, count=4).has(reference) for i in range(4)].index(True) == index


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "0/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a shard"):
        Shard.parse(text)


# Clusters

PODS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "kind": "Pod",
            "metadata": {"name": f"app-{n}", "namespace": "shop"},
            "spec": {
                "containers": [{"name": "app", "image": "registry.test/shop/app:1"}],
                "initContainers": [{"name": "init", "image": "registry.test/shop/app:4"}],
            },
            "status": {
                "containerStatuses": [{"name": "app", "imageID": "registry.test/shop/app@DIGEST"}],
                "initContainerStatuses": [{"name": "init", "imageID": "sha256:" + "0" * 64}],
            },
        }
        for n in range(7)
    ],
}


@pytest.mark.parametrize("indent", [None, 4])
def test_a_cluster_is_judged_by_what_runs_under_the_name_that_was_deployed(
    sim: Simulator, tmp_path: Path, indent: int | None
) -> None:
    digest = str(sim.store("shop/app").fetch("1").digest)
    text = json.dumps(PODS, indent=indent).replace("DIGEST", digest)
    rows = audit(sim, tmp_path / "a.jsonl", "-", stdin=text)
    assert [(r["reference"], r["verdict"], r["used"]) for r in rows] == [
        (f"registry.test/shop/app:1@{digest}", "allowed", 7),
        ("registry.test/shop/app:4", "denied", 7),
    ]
    assert rows[0]["uses"] == [f"shop/app-{n} (app)" for n in range(5)]


@pytest.mark.parametrize("text", ['{"items": [{"kind": "Pod"', '{"items": [{"kind": "Node", "spec": {}}]}', '{"a": 1}'])
def test_what_is_no_list_of_pods_is_refused(sim: Simulator, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"list of pods|not a pod"):
        audit(sim, tmp_path / "a.jsonl", "-", stdin=text)


# The report


def test_the_report_escapes_all_that_is_foreign_and_asks_nobody(sim: Simulator, tmp_path: Path) -> None:
    audit(sim, tmp_path / "a.jsonl", "registry.test/", "-", stdin=f"registry.test/{EVIL}\n")
    raw = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "a.jsonl").write_text(raw.replace('"scope":"*"', f'"scope":{json.dumps(EVIL)}').replace(
        '"anchor":"key"', f'"anchor":{json.dumps(EVIL)}'))  # fmt: skip
    write_report(tmp_path / "a.jsonl", tmp_path / "a.html", timedelta(days=30))
    page = (tmp_path / "a.html").read_text()
    body = page.replace(STYLE, "").replace(SCRIPT, "")
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in body
    assert re.findall(r"<(?:script|img|link|iframe|object|a|form)\b", body) == ["<script"]
    assert not re.search(r"https?://|\x1b|\u202e|\son\w+=[\"']| style=", body)
    assert "default-src &#x27;none&#x27;" in page


def test_the_report_tells_managers_the_total_and_engineers_each_denial(sim: Simulator, tmp_path: Path) -> None:
    audit(sim, tmp_path / "a.jsonl", "registry.test/")
    write_report(tmp_path / "a.jsonl", tmp_path / "a.html", timedelta(days=30))
    page = (tmp_path / "a.html").read_text()
    assert "<b>66.6 %</b> of 6 images are allowed; 2 are not." in page
    assert page.count('<tr data-v="denied">') == 2
    assert "2026-12-10, in 16 days" in page
    assert public("release").fingerprint in page


def test_the_hash_in_the_policy_of_the_page_is_that_of_its_style_and_script(sim: Simulator, tmp_path: Path) -> None:
    import base64
    import hashlib
    import html

    audit(sim, tmp_path / "a.jsonl", "registry.test/")
    write_report(tmp_path / "a.jsonl", tmp_path / "a.html", timedelta(days=30))
    page = (tmp_path / "a.html").read_text()
    said = html.unescape(str(re.search(r'Policy" content="([^"]*)"', page)[1]))  # type: ignore[index]  # it is there
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        text = str(re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1])  # type: ignore[index]  # it is there
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in said


# The job


def test_the_printed_job_is_what_kubernetes_understands() -> None:
    import yaml

    text = manifests(
        ["registry.example.com/", 'x"$(HOME)'], shards=4, image="r.example/imgsign@sha256:0", namespace="ops"
    )
    job = yaml.safe_load(text)
    assert (job["kind"], job["spec"]["completions"], job["spec"]["completionMode"]) == ("Job", 4, "Indexed")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][1:] == ["audit", "registry.example.com/", 'x"$$(HOME)']
    assert (
        '--shard "$JOB_COMPLETION_INDEX/4" --resume "/audit/part-$JOB_COMPLETION_INDEX.jsonl"' in container["args"][0]
    )
    assert container["args"][0].endswith("""| grep -q '^{"end"'""")
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
