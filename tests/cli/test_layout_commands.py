"""The commands on an OCI layout: what a person reads, what a program reads, and the exit codes."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsign.cli import COMMANDS, main
from imgsign.demo import make_image
from tests.conftest import ROOT

KEYS = ROOT / "keys-test"
NAME = "registry.example/shop/app:1"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in an empty directory with an image in oci:image:1; digests become HEX."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGSIGN_PASSWORD", "test")
    make_image(Path("image"), "1", "hello\n")
    capsys.readouterr()

    def call(line: str) -> tuple[int, str, str]:
        code = main(shlex.split(line.replace("KEYS", str(KEYS)).replace("NAME", NAME)))
        out, err = capsys.readouterr()
        return code, normal(out), normal(err)

    return call


def normal(text: str) -> str:
    text = re.sub(r"SHA256:[A-Za-z0-9+/]+", "SHA256:KEY", text)
    text = re.sub(r"sha256([:-])[0-9a-f]{64}", r"sha256\1HEX", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)


SIGN = "sign oci:image:1 --identity NAME -k KEYS/release-a.key"


def test_sign_says_what_under_which_name_and_where(run: Run) -> None:
    assert run(f"{SIGN} --expires 90d") == (
        0,
        f"signed {NAME}@sha256:HEX in oci:image with key SHA256:KEY as sigstore bundle until TIME\n",
        "",
    )


def test_sign_without_a_name_is_refused_with_the_option_that_gives_it(run: Run) -> None:
    code, out, err = run("sign oci:image:1 -k KEYS/release-a.key")
    assert (code, out) == (2, "")
    assert err == "error: the image in oci:image has no name to sign\nhint: --identity registry/repo:tag\n"


def test_sign_json_says_what_was_created(run: Run) -> None:
    for created in (True, False):
        code, out, _ = run(f"{SIGN} -o json")
        (result,) = json.loads(out)["results"]
        assert (code, result["created"], result["names"], result["format"]) == (0, created, [NAME], "bundle")
        assert result["signatures"] == ["oci:image@sha256:HEX"]


def test_sign_in_a_github_job_fills_the_outputs_and_the_summary(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    (tmp_path / "outputs").write_text("earlier=1\n")
    code, out, err = run(f"{SIGN} -o github")
    assert (code, err) == (0, "")
    assert out.startswith("signed registry.example/shop/app:1@sha256:HEX in oci:image with key SHA256:")
    image, signature = (d["digest"] for d in json.loads(Path("image/index.json").read_bytes())["manifests"])
    outputs = (tmp_path / "outputs").read_text().splitlines()
    delimiter = outputs[1].partition("<<")[2]
    assert len(delimiter) == 32
    assert outputs == [
        *("earlier=1", f"digest<<{delimiter}", image, delimiter),
        *(f"images<<{delimiter}", f"registry.example/shop/app:1@{image}", delimiter),
        *(f"signatures<<{delimiter}", f"oci:image@{signature}", delimiter),
    ]
    assert (
        f"| `registry.example/shop/app:1` | `{image}` | `oci:image@{signature}` |" in (tmp_path / "summary").read_text()
    )


def test_dry_run_changes_nothing(run: Run) -> None:
    before = Path("image/index.json").read_bytes()
    code, out, _ = run(f"{SIGN} --dry-run")
    assert (code, out.split()[0:2]) == (0, ["would", "sign"])
    assert Path("image/index.json").read_bytes() == before


def test_quiet_prints_only_the_pinned_reference(run: Run) -> None:
    assert run(f"{SIGN} -q") == (0, "registry.example/shop/app@sha256:HEX\n", "")
    assert run("verify oci:image:1 --identity NAME -k KEYS/release-a.pub -q")[1] == (
        "registry.example/shop/app@sha256:HEX\n"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("-a nonsense", "not an annotation: 'nonsense'"),
        ("-a k=1 -a k=2", "annotation 'k' is given twice"),
        ("-a imgsign.sequence=1", "annotation key 'imgsign.sequence' is reserved"),
        ("-a creator=me -f simple", "annotation 'creator' is taken by the simple signing format"),
        ("--expires soon", "--expires: not a duration like '90d': 'soon'"),
        ("--expires 200y", "--expires: duration '200y' is longer than 100 years"),
        ("-f cosign", "unknown format 'cosign'"),
        ("--sequence -1", "sequence -1 is out of range"),
        ("--expect-digest sha256:00", "expected 64 lower-case hex digits after 'sha256:'"),
        ("--digest-file image/oci-layout", "'image/oci-layout' has no key 'containerimage.digest'"),
        ("-o yaml", "unknown output 'yaml'"),
    ],
)
def test_sign_refuses_what_makes_no_sense(run: Run, options: str, says: str) -> None:
    code, out, err = run(f"{SIGN} {options}")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {says}")


def test_expected_digest_that_is_another_is_refused(run: Run) -> None:
    code, _, err = run(f"{SIGN} --expect-digest sha256:{'0' * 64}")
    assert code == 3
    assert "the tag has moved, or was never this" in err


def test_digest_files_of_two_shapes_are_read(run: Run) -> None:
    digest = json.loads(Path("image/index.json").read_bytes())["manifests"][0]["digest"]
    Path("plain").write_text(f"{digest}\n")
    Path("buildx.json").write_text(json.dumps({"containerimage.digest": digest, "image.name": "x"}))
    for file in ("plain", "buildx.json"):
        assert run(f"{SIGN} --force --digest-file {file}")[0] == 0


def test_key_that_no_reader_of_sig_tags_knows_is_refused_for_simple(run: Run) -> None:
    code, _, err = run("sign oci:image:1 --identity NAME -k KEYS/ecdsa-p384.key -f simple")
    assert code == 3
    assert err.startswith("error: ECDSA P-384 keys cannot make simple signatures: no other tool reads them\nhint: ")


def test_verify_many_prints_a_line_each_and_a_summary(run: Run) -> None:
    run(SIGN)
    make_image(Path("image"), "2", "other\n")
    Path("policy.toml").write_text('version = 1\ndefault = "unsafe-accept-unsigned"\n')
    assert run("verify oci:image:1 oci:image:2 -p policy.toml") == (
        0,
        "allowed sha256:HEX  scope (default)  accepted unsigned\n" * 2 + "2 allowed\n",
        "",
    )


def test_references_are_read_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("policy.toml").write_text('version = 1\ndefault = "unsafe-accept-unsigned"\n')
    monkeypatch.setattr(sys, "stdin", io.StringIO("oci:image:1\n\n  oci:image:1 \n"))
    assert run("verify - -p policy.toml")[:2] == (
        0,
        "allowed sha256:HEX  scope (default)  accepted unsigned\n" * 2 + "2 allowed\n",
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("oci:image:1\nNot/A/Reference\n"))
    code, _, err = run("verify - -p policy.toml")
    assert code == 2
    assert err.startswith("error: standard input line 2: reference 'Not/A/Reference': not a repository path")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run("verify - -p policy.toml") == (2, "", "error: no image reference was given\n")


def test_denial_lists_each_signature_and_why_it_does_not_count(run: Run) -> None:
    run(SIGN)
    run("sign oci:image:1 --identity NAME -k KEYS/stranger.key -f simple")
    code, out, _ = run("verify oci:image:1 --identity registry.example/shop/app:2 -k KEYS/release-a.pub")
    assert code == 1
    assert out.splitlines() == [
        "denied registry.example/shop/app:2@sha256:HEX  scope *",
        "  signed-by key: 0 of 1 needed",
        "    sha256-HEX.sig[0] (simple): does not verify with the key of anchor 'key'",
        "    referrer sha256:HEX (bundle): signs :1, asked for :2",
        'hint: only name = "repository" would accept it: any tag of this repository, older ones too',
    ]


def test_verify_json_names_codes_places_and_keys(run: Run) -> None:
    run(SIGN)
    code, out, _ = run("verify oci:image:1 --identity NAME -k KEYS/release-a.pub -o json")
    (result,) = json.loads(out)["results"]
    assert code == 0
    assert result["verdict"] == "allowed"
    assert result["reference"] == NAME
    assert result["signers"] == [
        {
            "anchor": "key",
            "key": "SHA256:KEY",
            "format": "bundle",
            "place": "referrer sha256:HEX",
            "predicate_type": "https://sigstore.dev/cosign/sign/v1",
        }
    ]
    assert [c["code"] for c in result["checks"]] == ["threshold", "signed"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("verify oci:image:1 -k KEYS/release-a.pub --name any", "unknown name rule 'any'"),
        ("verify oci:image:1 -p x.toml -k KEYS/release-a.pub", "--policy and --key exclude each other"),
        ("verify oci:image:1 --name exact --name repository", "--name goes with --key"),
        ("verify oci: -k KEYS/release-a.pub", "not an OCI layout: 'oci:'"),
        ("verify app --identity x -k KEYS/release-a.pub", "--identity goes with oci:DIR"),
        ("verify oci:image:1 oci:image:1 --identity NAME -k KEYS/release-a.pub", "--identity names one image"),
        ("pull oci:image:1 tarball -k KEYS/release-a.pub", ""),
        ("verify", "no image reference was given"),
        ("nothing", "no such command: 'nothing'"),
    ],
)
def test_usage_mistakes_exit_2_with_one_line(run: Run, line: str, says: str) -> None:
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {says}")
    assert err.count("error:") == 1


def test_layout_with_two_images_asks_which(run: Run) -> None:
    make_image(Path("image"), "2", "other\n")
    code, _, err = run("verify oci:image -k KEYS/release-a.pub")
    assert code == 2
    assert err == "error: oci:image holds 2 images, and no tag was given\nhint: it has: '1', '2'\n"


def test_tree_shows_what_hangs_where_and_what_counts(run: Run) -> None:
    run(f"{SIGN} -f bundle -f simple")
    assert run("tree oci:image:1")[1].splitlines() == [
        "oci:image:1",
        "image sha256:HEX",
        "├─ signature (sigstore bundle)  referrer sha256:HEX  unverified",
        "└─ 1 signature, cosign tag  sha256-HEX.sig  unverified",
    ]
    Path("policy.toml").write_text(
        f'version = 1\ndefault = "reject"\n[anchors.a]\nkeys = ["{KEYS}/release-a.pub"]\n'
        '[scopes."registry.example"]\nrequire = [{ signed-by = "a", formats = "bundle" }]\n'
    )
    assert run("tree oci:image:1 --identity NAME -p policy.toml")[1].splitlines()[2:] == [
        "├─ signature (sigstore bundle)  referrer sha256:HEX  counts for signed-by a",
        "└─ 1 signature, cosign tag  sha256-HEX.sig  does not count: format simple is not among those allowed: bundle",
    ]
    _, out, _ = run("tree oci:image:1 -o json")
    assert [c["kind"] for c in json.loads(out)["children"]] == [
        "signature (sigstore bundle)",
        "1 signature, cosign tag",
    ]


def test_tree_of_a_bare_image_says_so(run: Run) -> None:
    assert run("tree oci:image:1")[1].splitlines()[-1] == "└─ nothing is attached"


def test_inspect_shows_claims_as_unverified_until_a_key_vouches(run: Run) -> None:
    run(f"{SIGN} -a team=shop --sequence 7 --expires 90d")
    lines = run("inspect oci:image:1")[1].splitlines()
    assert lines[:5] == ["oci:image:1", "image sha256:HEX", "", "referrer sha256:HEX", "  format      bundle"]
    assert "  verdict     unverified" in lines
    assert f"  name        {NAME}" in lines
    assert "  signed at   TIME (the signer's word)" in lines
    assert "  sequence    7" in lines
    assert "  annotation  team=shop" in lines
    vouched = run("inspect oci:image:1 --identity NAME -k KEYS/release-a.pub")[1]
    assert "  verdict     counts for signed-by key\n" in vouched
    strange = run("inspect oci:image:1 --identity NAME -k KEYS/stranger.pub")[1]
    assert "  verdict     does not count: does not verify with the key of anchor 'key'\n" in strange


def test_inspect_of_a_bare_image_says_so(run: Run) -> None:
    assert run("inspect oci:image:1")[1].splitlines()[-1] == "no signatures"


@pytest.mark.parametrize("form", ["bundle", "simple"])
def test_signature_made_elsewhere_is_attached_after_it_verified(run: Run, tmp_path: Path, form: str) -> None:
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "k.pem"], check=True)
    subprocess.run(["openssl", "ec", "-in", "k.pem", "-pubout", "-out", "k.pub"], check=True, capture_output=True)
    code, out, _ = run(f"sign oci:image:1 --identity NAME -k k.pub -f {form} --export-payload payload --expires 9d")
    assert code == 0
    assert f"next     imgsign attach oci:image:1 --identity {NAME} --payload payload --signature" in out
    command = "attach oci:image:1 --identity NAME --payload payload --signature sig -k"
    Path("sig").write_bytes(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    assert run(f"{command} k.pub")[0] == 3
    assert run("verify oci:image:1 --identity NAME -k k.pub")[0] == 1
    subprocess.run(["openssl", "dgst", "-sha256", "-sign", "k.pem", "-out", "sig", "payload"], check=True)
    assert run(f"{command} KEYS/stranger.pub")[0] == 3
    assert run(f"{command.replace(NAME, 'x').replace('NAME', 'registry.example/other:1')} k.pub")[0] == 2
    code, out, _ = run(f"{command} k.pub")
    assert (code, out.startswith(f"signed {NAME}@sha256:HEX in oci:image")) == (0, True)
    assert run("verify oci:image:1 --identity NAME -k k.pub")[0] == 0


def test_payload_of_another_image_is_not_attached(run: Run) -> None:
    run("sign oci:image:1 --identity NAME -k KEYS/release-a.pub --export-payload payload")
    make_image(Path("image"), "1", "another\n")
    Path("sig").write_bytes(b"x")
    code, _, err = run("attach oci:image:1 --identity NAME --payload payload --signature sig -k KEYS/release-a.pub")
    assert code == 3
    assert err.startswith("error: ")


def test_policy_init_writes_what_verify_reads(run: Run) -> None:
    run(SIGN)
    code, out, _ = run("policy init registry.example docker.io/library -k KEYS/release-a.pub -k KEYS/release-b.pub")
    assert (code, out) == (
        0,
        "policy  policy.toml\nnext    imgsign verify registry.example/IMAGE:TAG --policy policy.toml\n",
    )
    assert run("verify oci:image:1 --identity NAME -p policy.toml")[0] == 0
    before = Path("policy.toml").read_bytes()
    code, _, err = run("policy init registry.example -k KEYS/release-a.pub")
    assert code == 3
    assert "already exists" in err
    assert Path("policy.toml").read_bytes() == before


@pytest.mark.parametrize("scope", ["docker", "registry.example/app:1", "index.docker.io", "Registry.example/App"])
def test_policy_init_refuses_a_scope_that_can_never_match(run: Run, scope: str) -> None:
    code, _, err = run(f"policy init {scope} -k KEYS/release-a.pub")
    assert code == 2
    assert "can never match an image" in err
    assert not Path("policy.toml").exists()


def test_demo_plays_to_its_end_and_keeps_its_files_where_asked(run: Run) -> None:
    code, out, _ = run("demo kept")
    assert code == 0
    assert out.count("denied registry.example/shop/") == 3
    assert Path("kept/policy.toml").is_file()
    code, _, err = run("demo kept")
    assert code == 3
    assert "is not empty" in err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(run: Run, name: str) -> None:
    code, out, _ = run(f"{name} --help")
    assert code == 0
    assert out.startswith(f"Usage: imgsign {name}")


def test_help_lists_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_imgsign(run: Run, shell: str) -> None:
    code, out, _ = run(f"completion {shell}")
    assert code == 0
    assert "_IMGSIGN_COMPLETE" in out


def test_completion_offers_commands_and_options(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_IMGSIGN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "imgsign ver")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run("") == (0, "verify\n", "")


def test_a_key_on_the_command_line_is_not_repeated(run: Run) -> None:
    code, _, err = run("verify oci:image:1 '-----BEGIN PRIVATE KEY-----abc'")
    assert code == 2
    assert "abc" not in err
