"""The release pipeline's step: the action's script run as GitHub's runner would, and the GitLab job's script.

Against a real registry, with the image that another step pushed and nothing on the terminal.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from imgsign.oci import OCI_MANIFEST
from tests.e2e import images, parts

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "imgsign"
PASSWORD = "test"
USER, REGISTRY_PASSWORD = "user", "secret"
HTPASSWD = "user:$2b$05$hEG3uunBdoMnTzu7X3OsNuOx0zAAV0tVaZCEIifoROxatw7pntFPy\n"  # of "secret"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job on a runner: what it may read and where it puts its results."""

    base: Path
    key: Path

    def run(self, **inputs: str) -> tuple[int, str]:
        """Run the action; returns exit code and log."""
        (self.base / "temp").mkdir(exist_ok=True)
        for name in ("outputs", "summary"):
            (self.base / name).touch()
        environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.base),
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_OUTPUT": str(self.base / "outputs"),
            "GITHUB_STEP_SUMMARY": str(self.base / "summary"),
            "RUNNER_TEMP": str(self.base / "temp"),
            **{f"INPUT_{name}": value for name, value in self.defaults(inputs).items()},
        }
        # A runner's standard input stays open: who reads it hangs.
        with subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", ACTION / "run.sh"],
            env=environ, cwd=self.base, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            killer = threading.Timer(60, process.kill)
            killer.start()
            log = process.stdout.read()
            killer.cancel()
            return process.wait(timeout=60), log

    def defaults(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Every input of the action, as a runner passes those that a workflow left out."""
        declared = yaml.safe_load((ACTION / "action.yml").read_text())["inputs"]
        found = {name.replace("-", "_").upper(): str(i.get("default", "")) for name, i in declared.items()}
        given = {"KEY": self.key.read_text(), "PASSWORD": PASSWORD, "PUBLIC_KEY": str(self.key.with_suffix(".pub"))}
        assert set(inputs) <= set(found)
        return {**found, **given, **inputs}

    @property
    def outputs(self) -> dict[str, list[str]]:
        """What later steps see."""
        text = (self.base / "outputs").read_text()
        return {m[1]: m[3].split() for m in re.finditer(r"(\w+)<<(\w+)\n((?:.*\n)*?)\2\n", text)}


@pytest.fixture
def step(tmp_path: Path, release_key: Path) -> Step:
    return Step(tmp_path, release_key)


def test_the_action_runs_its_script_and_passes_inputs_as_variables_only() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    (only,) = action["runs"]["steps"]
    assert only["run"] == 'bash "$GITHUB_ACTION_PATH/run.sh"'
    assert only["env"] == {
        f"INPUT_{name.replace('-', '_').upper()}": f"${{{{ inputs.{name} }}}}" for name in action["inputs"]
    }
    assert set(action["outputs"]) == {"digest", "images", "signatures"}
    read = set(re.findall(r"INPUT_[A-Z_]+", (ACTION / "run.sh").read_text()))
    assert read == set(only["env"])


def test_an_image_is_signed_by_its_digest_and_verified(step: Step, registry: parts.Registry) -> None:
    name = f"{registry.host}/ci/app:1.0"
    digest = images.push_small(step.base, name)
    code, log = step.run(IMAGES=f"{name}\n", DIGEST=digest, EXPIRES="90d", ANNOTATIONS="commit=4e1a\nbranch=main\n")
    assert code == 0, log
    assert f"signed {name}@{digest} with key SHA256:" in log
    assert f"allowed {name}@{digest}" in log
    (signature,) = step.outputs["signatures"]
    assert step.outputs == {"digest": [digest], "images": [f"{name}@{digest}"], "signatures": [signature]}
    assert registry.get(f"/v2/ci/app/manifests/{signature.partition('@')[2]}", accept=OCI_MANIFEST)[0] == 200
    assert f"| `{name}` | `{digest}` | `{signature}` |" in (step.base / "summary").read_text()
    shown = parts.imgsign("inspect", name, "--key", step.key.with_suffix(".pub")).stdout
    assert "commit" in shown
    assert "4e1a" in shown


def test_a_step_that_is_run_again_signs_nothing_more(step: Step, registry: parts.Registry) -> None:
    name = f"{registry.host}/ci/again:1.0"
    digest = images.push_small(step.base, name)
    first, _ = step.run(IMAGES=name, DIGEST=digest)
    before = step.outputs
    (step.base / "outputs").write_text("")
    second, log = step.run(IMAGES=name, DIGEST=digest)
    assert (first, second) == (0, 0)
    assert f"already signed {name}@{digest}" in log
    assert step.outputs == before


def test_what_docker_push_printed_names_the_digest(step: Step, registry: parts.Registry) -> None:
    name = f"{registry.host}/ci/pushed:1.0"
    digest = images.push_small(step.base, name)
    (step.base / "push.txt").write_text(f"The push refers to repository [x]\n1.0: digest: {digest} size: 528\n")
    assert step.run(IMAGES=name, DIGEST_FILE="push.txt")[0] == 0
    assert step.outputs["digest"] == [digest]


def test_a_tag_that_moved_after_the_push_is_not_signed(step: Step, registry: parts.Registry) -> None:
    name = f"{registry.host}/ci/moved:1.0"
    pushed = images.push_small(step.base, name, "ours")
    images.push_small(step.base / "other", name, "somebody else's")
    (step.base / "digest.txt").write_text(pushed)
    code, log = step.run(IMAGES=name, DIGEST_FILE="digest.txt")
    assert code == 3
    assert "the tag has moved, or was never this" in log
    assert step.outputs == {}
    # By its digest, what was pushed is signed all the same: the digest decides, the tag names.
    assert step.run(IMAGES=name, DIGEST=pushed)[0] == 0
    assert step.outputs["images"] == [f"{name}@{pushed}"]


def test_what_the_policy_does_not_accept_reaches_no_later_step(step: Step, registry: parts.Registry) -> None:
    name = f"{registry.host}/ci/denied:1.0"
    digest = images.push_small(step.base, name)
    (step.base / "policy.toml").write_text('version = 1\ndefault = "reject"\n')
    code, log = step.run(IMAGES=name, DIGEST=digest, POLICY="policy.toml")
    assert code == 1
    assert f"denied {name}" in log
    assert step.outputs == {}


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"KEY": ""}, "::error title=imgsign::input 'key' is empty"),
        ({"DIGEST": ""}, "::error title=imgsign::give input 'digest' or 'digest-file'"),
        ({"IMAGES": "\n"}, "::error title=imgsign::input 'images' is empty"),
        ({"IMAGES": "--force"}, "::error title=imgsign::input 'images': write registry/repo:tag"),
        ({"PUBLIC_KEY": ""}, "::error title=imgsign::give input 'policy' or 'public-key'"),
        ({"PASSWORD": "wrong-password"}, "wrong password"),
        ({"KEY": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n"}, "error: "),
    ],
    ids=["no key", "no digest", "no image", "an option", "nothing to verify by", "wrong password", "no such key"],
)
def test_a_job_that_is_set_up_wrongly_fails_at_once_and_shows_no_secret(
    step: Step, registry: parts.Registry, inputs: dict[str, str], says: str
) -> None:
    given = {"IMAGES": f"{registry.host}/ci/none:1.0", "DIGEST": "sha256:" + "0" * 64, **inputs}
    code, log = step.run(**given)
    assert code in (2, 3)
    said = "\n".join(line for line in log.splitlines() if not line.startswith("::add-mask::"))
    assert says in said
    secrets = [*given.get("KEY", "").splitlines()[1:-1], *step.key.read_text().splitlines()[1:-1], "wrong-password"]
    assert [s for s in secrets if s in said] == []
    assert step.outputs == {}


def test_every_line_of_a_secret_is_masked(step: Step, registry: parts.Registry) -> None:
    _, log = step.run(IMAGES=f"{registry.host}/ci/none:1.0", DIGEST="sha256:" + "0" * 64)
    masked = {line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")}
    assert masked == {*step.key.read_text().split("\n")[:-1], PASSWORD}


def test_the_jobs_of_a_matrix_sign_side_by_side(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    name = f"{registry.host}/ci/matrix"
    (tmp_path / "push").mkdir()
    digest = images.push_small(tmp_path / "push", f"{name}:base")
    steps = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        steps.append(Step(tmp_path / str(number), release_key))
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda s: s.run(IMAGES=f"{name}:v{s.base.name}", DIGEST=digest), steps))
    assert [code for code, _ in done] == [0] * 4, done
    assert [s.outputs["images"] for s in steps] == [[f"{name}:v{n}@{digest}"] for n in range(4)]


def test_the_gitlab_job_logs_in_signs_verifies_and_logs_out(tmp_path: Path, release_key: Path) -> None:
    job = yaml.safe_load((ROOT / "docs" / "gitlab-ci.yml").read_text())[".imgsign"]
    assert job["script"].pop(0) == "pip install -q imgsign"  # as it stands beside this test
    passwords = tmp_path / "htpasswd"
    passwords.write_text(HTPASSWD)
    with parts.registry(tmp_path, htpasswd=passwords) as registry:
        name = f"{registry.host}/group/app:1.0"
        auth = tmp_path / "pusher.json"
        options = ("--tls-verify=false", "--authfile", auth, "-u", USER, "--password-stdin")
        parts.run("skopeo", "login", *options, registry.host, input=REGISTRY_PASSWORD)
        digest = images.push_small(tmp_path, name, authfile=auth)
        (tmp_path / "digest.txt").write_text(f"1.0: digest: {digest} size: 528\n")
        (tmp_path / "policy.toml").write_text(
            f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{release_key.with_suffix(".pub")}"]\n'
            f'[scopes."{registry.host}/group"]\nrequire = [{{ signed-by = "release" }}]\n'
        )
        environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
            **{k: str(v) for k, v in job["variables"].items()}, "POLICY": "policy.toml", "IMAGE": name,
            "CI_REGISTRY": registry.host, "CI_REGISTRY_USER": USER, "CI_REGISTRY_PASSWORD": REGISTRY_PASSWORD,
            "IMGSIGN_SIGNING_KEY": release_key.read_text(), "IMGSIGN_PASSWORD": PASSWORD,
        }  # fmt: skip
        bash = shutil.which("bash") or "bash"
        script = "set -eo pipefail\n" + "\n".join([*job["script"], *job["after_script"]])
        done = subprocess.run(
            [bash, "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "deploy.txt").read_text() == f"{registry.host}/group/app@{digest}\n"
        assert REGISTRY_PASSWORD not in (tmp_path / ".docker" / "config.json").read_text()
        assert sorted(p.name for p in tmp_path.iterdir() if p.name in job["artifacts"]["paths"]) == [
            "deploy.txt",
            "signed.json",
        ]
