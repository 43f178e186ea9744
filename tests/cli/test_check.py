"""``imgsign check`` against a simulated registry: verdicts at their places, exit codes, pins."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from imgsign.cli import main
from imgsign.reference import Reference
from imgsign.signers import load_signer
from imgsign.signing import sign
from tests.conftest import ROOT
from tests.simulator import Simulator

KEYS = ROOT / "keys-test"
APP, WEB = "registry.test/app:1", "registry.test/web:2"
Run = Callable[..., tuple[int, str, str]]

MANIFEST = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  template:
    spec:
      containers:
      - image: {APP}
      - image: "{APP}"  # twice
"""


@pytest.fixture(scope="module")
def registry() -> Simulator:
    """``app:1`` is signed by release-a, ``web:2`` by nobody."""
    found = Simulator()
    found.put_image("app", tag="1")
    found.put_image("web", tag="2", salt="web")
    signer = load_signer(str(KEYS / "release-a.key"), environ={}, password=lambda what: b"test")
    sign([Reference.parse(APP)], signer, locate=lambda r: found.store(r.path))
    return found


@pytest.fixture
def sim(registry: Simulator) -> Simulator:
    """A registry of its own for each test: what a test breaks stays broken for it alone."""
    found = Simulator()
    found.content = registry.content
    return found


@pytest.fixture
def run(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Type ``check …`` in an empty directory; digests become HEX, times TIME and keys KEY."""

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **more: object) -> requests.Response:
        return sim.send(request)

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)

    def call(line: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(["check", *shlex.split(line), "-k", str(KEYS / "release-a.pub")])
        out, err = capsysbinary.readouterr()
        return code, normal(out.decode()), normal(err.decode())

    return call


def normal(text: str) -> str:
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:HEX", re.sub(r"SHA256:[A-Za-z0-9+/]+", "SHA256:KEY", text))


def pod(*images: str) -> str:
    return "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n" + "".join(f"  - image: {i}\n" for i in images)


# Verdicts


def test_each_place_is_a_line_and_each_image_is_asked_for_once(run: Run, sim: Simulator) -> None:
    Path("a.yaml").write_text(MANIFEST)
    Path("b.yaml").write_text(pod(APP))
    said = f"allowed {APP}@sha256:HEX  scope *  signed by key (key SHA256:KEY)"
    assert run("a.yaml b.yaml") == (
        0,
        f"a.yaml:8:16: {said}\na.yaml:9:17: {said}\nb.yaml:5:12: {said}\n3 allowed in 2 files\n",
        "",
    )
    assert len(sim.seen(r"GET .*/app/manifests/1$")) == 1


def test_a_denied_image_says_why_once_and_where_it_stands(run: Run) -> None:
    Path("a.yaml").write_text(pod(APP, WEB, WEB))
    code, out, err = run("a.yaml")
    assert (code, err) == (1, "")
    assert out.splitlines()[1:] == [
        f"a.yaml:6:12: denied {WEB}@sha256:HEX  scope *  in Pod",
        "  signed-by key: 0 of 1 needed, no signatures found",
        f'hint: sign it with a key of anchor "key": imgsign sign {WEB}@sha256:HEX -k KEY',
        f"a.yaml:7:12: denied {WEB}@sha256:HEX  scope *  in Pod",
        "  as at a.yaml:6:12",
        "1 allowed, 2 denied in 1 file",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pod(APP), 0),
        (pod(WEB), 1),
        (pod(APP, "' '"), 3),
        (pod(WEB, "' '"), 1),
        (pod("registry.test/absent:1"), 3),
        (pod("Not/A/Reference"), 3),
        (pod("$(TAG)"), 3),
        ("", 3),
        ("a: [\n", 3),
        ("apiVersion: v1\nkind: ConfigMap\n", 0),
    ],
)
def test_exit_codes(run: Run, text: str, expected: int) -> None:
    Path("a.yaml").write_text(text)
    assert run("a.yaml")[0] == expected


def test_a_registry_that_fails_is_undecided_never_denied(run: Run, sim: Simulator) -> None:
    Path("a.yaml").write_text(pod(APP))
    sim.fail("/referrers/|sha256-", 503)
    code, out, _ = run("a.yaml --timeout 1s")
    assert code == 3
    assert out.startswith(f"a.yaml:5:12: undecided {APP}@sha256:HEX")


def test_a_reference_that_cannot_be_read_is_quoted(run: Run) -> None:
    Path("a.yaml").write_text(pod('"a\\e[2Jb"'))
    code, out, _ = run("a.yaml")
    assert code == 3
    assert out.startswith("a.yaml:5:13: error a\\x1b[2Jb: reference 'a\\x1b[2Jb': not a repository path")


def test_short_names_in_files_are_docker_hubs_whatever_the_default_registry(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGSIGN_DEFAULT_REGISTRY", "registry.test")
    Path("a.yaml").write_text(pod("app:1"))
    code, out, _ = run("a.yaml --timeout 1s")
    assert code == 3
    assert "docker.io" in out


def test_standard_input_is_a_manifest_and_may_have_a_name(run: Run) -> None:
    assert run("-", stdin=pod(APP))[1].startswith("-:5:12: allowed")
    assert run("- --stdin-name charts/shop.yaml", stdin=pod(APP))[1].startswith("charts/shop.yaml:5:12: allowed")


def test_empty_standard_input_is_not_a_pass(run: Run) -> None:
    code, out, _ = run("-")
    assert (code, out.splitlines()[0]) == (3, "-:1:1: error empty: nothing to check: no document")


def test_a_directory_is_refused_with_the_next_thing_to_type(run: Run) -> None:
    Path("k8s").mkdir()
    code, out, err = run("k8s/")
    assert (code, out) == (2, "")
    assert err == "error: 'k8s/' is a directory\nhint: name the files: imgsign check k8s/*.yaml\n"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("absent.yaml", None, "unreadable"), ("notes.txt", b"x", "unknown-file"), ("bad.yaml", b"a: \xff", "not-text")],
)
def test_a_file_that_cannot_be_read_is_an_error_beside_the_others(
    run: Run, name: str, content: bytes | None, code: str
) -> None:
    Path("a.yaml").write_text(pod(APP))
    if content is not None:
        Path(name).write_bytes(content)
    done, out, _ = run(f"a.yaml {name}")
    assert done == 3
    assert f"\n{name}:1:1: error {code}: " in out
    assert out.endswith("1 allowed, 1 error in 2 files\n")


def test_a_kind_can_be_forced(run: Run) -> None:
    Path("notes.txt").write_text(pod(APP))
    assert run("notes.txt --as kubernetes")[0] == 0
    assert run("notes.txt --as nothing")[0] == 2


def test_options_of_manifests_reach_the_scanner(run: Run) -> None:
    Path("a.yaml").write_text(f"apiVersion: x.io/v1\nkind: Y\nspec: {{image: {WEB}}}\n")
    code, out, err = run("a.yaml")
    assert (code, out) == (0, "no images in 1 file\n")
    assert err == (
        "note: a.yaml: Y: spec.image in line 3 was not looked at; if it is an image: --image-path 'Y=spec.image'\n"
    )
    assert run("a.yaml --strict")[0] == 3
    assert run("a.yaml --image-path Y=spec.image")[0] == 1
    assert run("a.yaml --image-path spec.image")[0] == 2
    assert run("a.yaml --image-path 'Y=a[0]'")[0] == 2


def test_dockerfiles_are_checked_with_their_arguments(run: Run) -> None:
    Path("Dockerfile").write_text("ARG TAG\nFROM registry.test/app:${TAG}\n")
    assert run("Dockerfile")[0] == 3
    assert run("Dockerfile --build-arg TAG=1")[0] == 0
    assert run("Dockerfile --build-arg TAG")[0] == 2


COMPOSE = """\
services:
  web:
    image: registry.test/app:${TAG}
"""


def test_compose_files_are_interpolated_by_their_env_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("compose.yaml").write_text(COMPOSE)
    monkeypatch.setenv("TAG", "1")
    assert run("compose.yaml")[0] == 3
    assert run("compose.yaml --env TAG")[0] == 0
    assert run("compose.yaml --env TAG=absent")[0] == 3
    Path(".env").write_text("TAG=1\n")
    assert run("compose.yaml")[0] == 0
    Path("other.env").write_text("TAG='absent'\n")
    assert run("compose.yaml --env-file other.env")[0] == 3
    assert run("compose.yaml --env-file none.env")[0] == 3


def test_a_secret_of_the_pipeline_never_becomes_a_part_of_a_reference(
    run: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SECRET", "s3cret")
    Path("compose.yaml").write_text("services: {web: {image: 'registry.test/app:${PIPELINE_SECRET}'}}\n")
    code, out, err = run("compose.yaml")
    assert (code, "s3cret" in out + err, sim.requests_seen) == (3, False, [])


BUILDS = """\
services:
  web:
    build: {context: web, args: {TAG: "2"}}
  inline:
    build:
      dockerfile_inline: |
        FROM registry.test/app:1
"""


def test_dockerfiles_that_a_compose_file_builds_are_checked_with_its_arguments(run: Run) -> None:
    Path("deploy/web").mkdir(parents=True)
    Path("deploy/web/Dockerfile").write_text("ARG TAG=1\nFROM registry.test/web:$TAG\n")
    Path("deploy/compose.yaml").write_text(BUILDS)
    code, out, _ = run("deploy/compose.yaml")
    places = [line.split(" ")[:3] for line in out.splitlines() if line.startswith("deploy/")]
    assert (code, places) == (
        1,
        [
            ["deploy/web/Dockerfile:2:6:", "denied", f"{WEB}@sha256:HEX"],
            ["deploy/compose.yaml:6:7:", "allowed", f"{APP}@sha256:HEX"],
        ],
    )


def test_a_dockerfile_that_is_not_there_is_an_error_where_it_is_named(run: Run) -> None:
    Path("compose.yaml").write_text("services:\n  web:\n    build: web\n")
    code, out, _ = run("compose.yaml")
    assert code == 3
    assert out.startswith("compose.yaml:3:12: error unreadable: the Dockerfile it builds: cannot read 'web/Dockerfile'")


def test_pin_writes_only_the_files_that_were_named(run: Run) -> None:
    Path("Dockerfile").write_text("FROM registry.test/app:1\n")
    Path("compose.yaml").write_text("services: {web: {build: .}}\n")
    code, _, err = run("compose.yaml --pin")
    assert (code, err) == (0, "note: Dockerfile is not pinned: only files that are named are\n")
    assert Path("Dockerfile").read_text() == "FROM registry.test/app:1\n"
    assert run("compose.yaml Dockerfile --pin")[0] == 0
    assert normal(Path("Dockerfile").read_text()) == "FROM registry.test/app:1@sha256:HEX\n"


def test_an_inline_dockerfile_is_told_to_be_not_pinned(run: Run) -> None:
    Path("compose.yaml").write_text("services: {web: {build: {dockerfile_inline: 'FROM registry.test/app:1'}}}\n")
    code, out, err = run("compose.yaml --pin")
    assert (code, out.splitlines()[-1]) == (3, "1 allowed in 1 file")
    assert err == "not pinned compose.yaml: the images in dockerfile_inline\n"


def test_an_included_file_is_a_problem_unless_it_is_checked_too(run: Run) -> None:
    Path("compose.yaml").write_text("include: [more.yaml]\nservices: {}\n")
    Path("more.yaml").write_text(f"services: {{web: {{image: '{APP}'}}}}\n")
    assert run("compose.yaml")[0] == 3
    assert run("compose.yaml ./more.yaml")[0] == 0
    assert run("compose.yaml more.yaml --pin")[2] == "pinned 1 image in more.yaml\n"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout beside a file of the pipeline that is none of its business."""
    (tmp_path / "secret").write_text("TOKEN=s3cret\nS3CRET instruction\n")
    (tmp_path / "checkout").mkdir()
    return tmp_path / "checkout"


@pytest.mark.parametrize("link", [".env", "web/Dockerfile", "absolute", "parent"])
def test_a_file_that_is_only_named_by_another_cannot_be_one_outside(
    run: Run, checkout: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    monkeypatch.chdir(checkout)
    secret = checkout.parent / "secret"
    dockerfile = {"absolute": str(secret), "parent": "../../secret"}.get(link, "Dockerfile")
    services = (
        f"{{a: {{build: {{context: web, dockerfile: {dockerfile}}}}}, b: {{image: 'registry.test/app:${{TOKEN}}'}}}}"
    )
    Path("compose.yaml").write_text(f"services: {services}\n")
    Path("web").mkdir()
    Path("web/Dockerfile").write_text("FROM scratch\n")
    if link in (".env", "web/Dockerfile"):
        Path(link).unlink(missing_ok=True)
        Path(link).symlink_to(secret)
    code, out, err = run("compose.yaml")
    assert (code, "s3cret" in (out + err).lower()) == (3, False)
    assert "leads out of this directory" in out


def test_a_policy_that_rejects_makes_no_request(run: Run, sim: Simulator) -> None:
    Path("policy.toml").write_text('version = 1\ndefault = "reject"\n')
    Path("a.yaml").write_text(pod(APP))
    assert main(["check", "a.yaml", "--policy", "policy.toml"]) == 1
    assert sim.requests_seen == []


@pytest.mark.parametrize(
    "line", ["a.yaml -o html", "a.yaml --check", "- a.yaml --pin", "- --pin -o json", "- -o sarif", "a.yaml -p p.toml"]
)
def test_requests_that_contradict_themselves_are_refused(run: Run, line: str) -> None:
    Path("a.yaml").write_text(pod(APP))
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_json_has_the_place_and_the_verdict_of_each(run: Run) -> None:
    Path("a.yaml").write_text(pod(APP, "''"))
    code, out, _ = run("a.yaml -o json")
    document = json.loads(out)
    good, bad = document["results"]
    assert (code, document["format"]) == (3, 1)
    assert {k: good[k] for k in ("file", "line", "column", "end_column", "path", "verdict", "reference", "image")} == {
        "file": "a.yaml",
        "line": 5,
        "column": 12,
        "end_column": 31,
        "path": "spec.containers[0].image",
        "verdict": "allowed",
        "reference": APP,
        "image": f"{APP}@sha256:HEX",
    }
    assert (bad["verdict"], bad["code"], bad["line"], bad["digest"]) == ("error", "image-missing", 6, None)


# Pins


def test_pin_writes_the_judged_digest_and_nothing_else(run: Run, sim: Simulator) -> None:
    Path("a.yaml").write_text(MANIFEST)
    Path("a.yaml").chmod(0o640)
    code, out, err = run("a.yaml --pin")
    assert (code, err) == (0, "pinned 2 images in a.yaml\n")
    assert out.endswith("2 allowed in 1 file\n")
    digest = sim.content["app"].tags["1"]
    assert Path("a.yaml").read_text() == MANIFEST.replace(APP, f"{APP}@{digest}")
    assert stat.S_IMODE(Path("a.yaml").stat().st_mode) == 0o640
    assert os.listdir() == ["a.yaml"]
    assert run("a.yaml --pin --check")[0] == 0
    assert run("a.yaml --pin") == (0, out, "")


def test_pin_check_shows_the_lines_and_writes_nothing(run: Run) -> None:
    Path("a.yaml").write_text(MANIFEST)
    code, out, err = run("a.yaml --pin --check")
    assert code == 1
    assert out.splitlines() == [
        "--- a.yaml",
        "+++ a.yaml",
        "@@ -8,2 +8,2 @@",
        f"-      - image: {APP}",
        f'-      - image: "{APP}"  # twice',
        f"+      - image: {APP}@sha256:HEX",
        f'+      - image: "{APP}@sha256:HEX"  # twice',
    ]
    assert err.endswith("2 allowed in 1 file\n")
    assert Path("a.yaml").read_text() == MANIFEST


def test_the_digest_written_is_the_one_that_was_judged_though_the_tag_moves(run: Run, sim: Simulator) -> None:
    Path("a.yaml").write_text(pod(APP))
    judged = sim.content["app"].tags["1"]
    other = sim.content["web"].tags["2"]
    content = sim.content["app"]
    sim.content = {**sim.content, "app": type(content)(content.blobs, content.manifests, dict(content.tags))}

    def move(seen: object) -> None:
        if len(sim.requests_seen) > 1:
            sim.content["app"].tags["1"] = other

    sim.before(move)
    assert run("a.yaml --pin")[0] == 0
    assert Path("a.yaml").read_text() == pod(f"{APP}@{judged}")


@pytest.mark.parametrize("other", [WEB, "''", "registry.test/absent:1", "Not/A/Reference"])
def test_a_file_with_an_image_that_is_not_allowed_stays_as_it_is(run: Run, other: str) -> None:
    Path("a.yaml").write_text(text := pod(APP, other))
    Path("b.yaml").write_text(pod(APP))
    code, _, err = run("a.yaml b.yaml --pin")
    assert code == (1 if other == WEB else 3)
    assert Path("a.yaml").read_text() == text
    assert Path("b.yaml").read_text() != pod(APP)
    assert err.startswith("not pinned a.yaml: not ev")


def test_pin_refuses_a_symbolic_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    Path("outside/target.yaml").write_text(pod(APP))
    Path("a.yaml").symlink_to("outside/target.yaml")
    code, _, err = run("a.yaml --pin")
    assert code == 3
    assert "not pinned a.yaml: 'a.yaml' is a symbolic link\n" in err
    assert Path("outside/target.yaml").read_text() == pod(APP)


def test_pin_refuses_a_file_that_changed_meanwhile(run: Run, sim: Simulator) -> None:
    Path("a.yaml").write_text(pod(APP))

    def edit(seen: object) -> None:
        Path("a.yaml").write_text("edited: yes\n")

    sim.before(edit)
    code, _, err = run("a.yaml --pin")
    assert code == 3
    assert "not pinned a.yaml: 'a.yaml' has changed since it was read\n" in err
    assert Path("a.yaml").read_text() == "edited: yes\n"


def test_pin_of_standard_input_is_a_filter(run: Run) -> None:
    code, out, err = run("- --pin", stdin=pod(APP).replace("\n", "\r\n"))
    assert (code, out) == (0, pod(f"{APP}@sha256:HEX").replace("\n", "\r\n"))
    assert err.startswith("-:5:12: allowed ")


def test_a_filter_prints_nothing_to_deploy_if_an_image_is_denied(run: Run) -> None:
    code, out, err = run("- --pin", stdin=pod(APP, WEB))
    assert (code, out) == (1, "")
    assert err.endswith("not pinned -: not every image in it is allowed\n")


def test_an_image_that_cannot_be_pinned_in_place_is_told(run: Run) -> None:
    Path("kustomization.yaml").write_text("images: [{name: registry.test/app, newTag: '1'}]\n")
    code, _, err = run("kustomization.yaml --pin")
    assert code == 3
    assert err == (
        f"not pinned kustomization.yaml:1:45: {APP}: "
        "digest has to be written by hand: newTag does not stand on a line of its own\n"
    )


def test_a_kustomization_is_pinned_by_a_digest_line(run: Run) -> None:
    Path("kustomization.yaml").write_text("images:\n- name: registry.test/app\n  newTag: '1'\n")
    assert run("kustomization.yaml --pin")[0] == 0
    text = Path("kustomization.yaml").read_text()
    assert normal(text) == "images:\n- name: registry.test/app\n  newTag: '1'\n  digest: sha256:HEX\n"
    assert run("kustomization.yaml --pin --check")[0] == 0
