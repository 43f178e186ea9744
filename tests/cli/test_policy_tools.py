"""``imgsign policy check|explain|test|diff|add-key|retire-key|advance``, as a person types them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imgsign.cli import main
from imgsign.demo import make_image
from imgsign.keys import PublicKey
from imgsign.policy.parse import parse_policy
from imgsign.policy.review import Doubt, review
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.wire import load_toml
from tests.artifacts import ed25519, public
from tests.conftest import ROOT

KEYS = ROOT / "keys-test"
REF = "registry.example/shop/app:1"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


def fingerprint(name: str) -> str:
    return PublicKey.from_pem((KEYS / f"{name}.pub").read_bytes()).fingerprint


A, B = fingerprint("release-a"), fingerprint("release-b")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that release-a signed, in oci:image; policy.toml for it; evidence of it in ev and a list of that."""
    base = tmp_path_factory.mktemp("shop")
    make_image(base / "image", "1", "hello\n")
    image, policy = f"oci:{base}/image:1", str(base / "policy.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGSIGN_PASSWORD", "test")
        key = str(KEYS / "release-a")
        assert main(["sign", image, "--identity", REF, "-k", f"{key}.key", "--sequence", "7"]) == 0
        assert main(["policy", "init", "registry.example/shop", "-k", f"{key}.pub", "--file", policy]) == 0
        assert main(["evidence", "save", image, str(base / "ev"), "--identity", REF, "-p", policy, "--everything"]) == 0
    (base / "list").write_text("# what we run\nev\n")
    return base


@pytest.fixture
def run(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in a copy of the shop."""
    shutil.copytree(shop, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")

    def call(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return call


# check


def test_check_shows_what_is_asked_and_by_whom(run: Run) -> None:
    assert run("policy", "check", "policy.toml") == (
        0,
        "policy  policy.toml: 1 scopes, 1 anchors, 1 keys\n"
        "scope   registry.example/shop\n"
        '          { signed-by = ["release"] }\n'
        "scope   (default)\n"
        "          reject\n"
        "anchor  release\n"
        f"          {A}  ECDSA P-256\n",
        "",
    )


def test_check_names_path_and_line_of_an_error(run: Run) -> None:
    text = Path("policy.toml").read_text().replace('name = "exact"', 'nmae = "exact"')
    Path("policy.toml").write_text(text)
    line = text[: text.index("{ signed-by = ")].count("\n") + 1
    assert run("policy", "check", "policy.toml") == (
        3,
        "",
        "error: policy 'policy.toml': unknown key 'nmae' at scopes.'registry.example/shop'.require[0] "
        f"(line {line})\nhint: did you mean 'name'?\n",
    )


def test_check_names_the_line_of_a_key_that_is_missing(run: Run) -> None:
    source = 'version = 1\ndefault = "reject"\n[anchors.a]\nkeys = [\n  "gone.pub",\n]\n'
    Path("p.toml").write_text(source)
    code, _, err = run("policy", "check", "p.toml")
    assert code == 3
    assert "cannot read" in err
    assert "at anchors.a.keys[0] (line 5)" in err


def test_check_of_broken_toml_names_the_line(run: Run) -> None:
    Path("p.toml").write_text("version = 1\ndefault = \n")
    code, _, err = run("policy", "check", "p.toml")
    assert (code, "at line 2, column" in err) == (3, True)


def test_warnings_are_an_exit_code_only_if_strict(run: Run) -> None:
    Path("p.toml").write_text('version = 1\ndefault = "unsafe-accept-unsigned"\n')
    code, _, err = run("policy", "check", "p.toml")
    assert (code, err) == (0, "warning: line 2: default: images that no scope covers are accepted unsigned\n")
    assert run("policy", "check", "p.toml", "--strict")[0] == 1
    code, out, _ = run("policy", "check", "p.toml", "-o", "json")
    (warning,) = json.loads(out)["warnings"]
    assert (code, warning["code"], warning["line"]) == (0, "unsafe", 2)


def doubts(scopes: str, **anchors: list[TrustedKey]) -> list[tuple[str, str]]:
    keys = "".join(f"[anchors.{n}]\nkeys = {['k'] * len(k)}\n" for n, k in anchors.items())
    policy = parse_policy(load_toml(f'version = 1\ndefault = "reject"\n{keys}{scopes}'.encode(), limit=100_000))
    trust = TrustStore(anchors={n: Keys(name=n, keys=tuple(k)) for n, k in anchors.items()})
    found: tuple[Doubt, ...] = review(policy, trust, now=NOW, soon=timedelta(days=30))
    return [(d.code, d.path) for d in found]


def key(number: int, **validity: datetime) -> TrustedKey:
    return TrustedKey(key=public(ed25519(number)), **validity)  # type: ignore[arg-type]  # the tests spell them right


def rule(text: str, scope: str = "r.example") -> str:
    return f'[scopes."{scope}"]\nrequire = [{text}]\n'


DAY = timedelta(days=1)
LONG = "a" * 250


@pytest.mark.parametrize(
    ("scopes", "anchors", "expected"),
    [
        (rule('{signed-by = "a"}'), {"a": [key(1)]}, []),
        ("", {"a": [key(1)]}, [("unused-anchor", "anchors.a")]),
        (
            rule('{signed-by = "a"}, {signed-by = "b"}') + "unsafe-shared-key = true\n",
            {"a": [key(1)], "b": [key(2), key(1)]},
            [("key-in-two-anchors", "anchors.b.keys[1]"), ("unsafe", "scopes.'r.example'.unsafe-shared-key")],
        ),
        (
            rule('{signed-by = "a", threshold = 2}'),
            {"a": [key(1), key(2)]},
            [("no-spare-key", "scopes.'r.example'.require[0]")],
        ),
        (
            rule('{signed-by = "a"}'),
            {"a": [key(1, not_after=NOW)]},
            [("key-expired", "anchors.a.keys[0]"), ("cannot-be-met", "scopes.'r.example'.require[0]")],
        ),
        (
            rule('{signed-by = "a"}'),
            {"a": [key(1), key(2, not_after=NOW + 30 * DAY), key(3, not_after=NOW + 31 * DAY)]},
            [("key-expires-soon", "anchors.a.keys[1]")],
        ),
        (
            rule('{signed-by = "a"}'),
            {"a": [key(1), key(2, not_before=NOW + DAY)]},
            [("key-not-yet-valid", "anchors.a.keys[1]")],
        ),
        (
            rule('{signed-by = "a", name = "unsafe-any"}'),
            {"a": [key(1)]},
            [("unsafe", "scopes.'r.example'.require[0].name")],
        ),
        (
            rule('{signed-by = "a", unsafe-signed-name = "r.example/x"}'),
            {"a": [key(1)]},
            [("unsafe", "scopes.'r.example'.require[0].unsafe-signed-name")],
        ),
        (rule("{unsafe-accept-unsigned = true}"), {}, [("unsafe", "scopes.'r.example'.require[0]")]),
        (
            rule('{signed-by = "a", remap = {"s.example" = "docker.io"}}'),
            {"a": [key(1)]},
            [("never-matches", "scopes.'r.example'.require[0].remap")],
        ),
        (rule("{reject = true}", "registry-1.docker.io"), {}, [("never-matches", "scopes.'registry-1.docker.io'")]),
        (rule("{reject = true}", "docker.io/nginx"), {}, [("never-matches", "scopes.'docker.io/nginx'")]),
        (rule("{reject = true}", f"r.example/{LONG}"), {}, [("never-matches", f"scopes.'r.example/{LONG}'")]),
    ],
)  # fmt: skip
def test_each_doubt(scopes: str, anchors: dict[str, list[TrustedKey]], expected: list[tuple[str, str]]) -> None:
    found = doubts(scopes, **anchors)
    assert [code for code, _ in found] == [code for code, _ in expected]
    if LONG not in scopes:  # its path is cut
        assert found == expected


# explain


def test_explain_shows_scopes_requirements_and_what_counts(run: Run) -> None:
    code, out, _ = run("policy", "explain", "oci:image:1", "--identity", REF, "-p", "policy.toml")
    lines = out.splitlines()
    assert (code, lines[:6]) == (
        0,
        [
            "scope   registry.example/shop/app: not in the policy",
            "scope   registry.example/shop: this rule",
            "scope   registry.example: not in the policy",
            "scope   *.example: not in the policy",
            "scope   *: not in the policy",
            "scope   (default): not looked at: a more specific scope was found",
        ],
    )
    assert lines[7:9] == ['met  { signed-by = ["release"] }', "  1 of 1 needed"]
    assert lines[9].startswith("  counts: referrer sha256:")
    assert lines[-1].startswith(f"allowed  {REF}@sha256:")


def test_explain_evidence_by_another_policy(run: Run) -> None:
    assert run("policy", "init", "registry.example", "-k", str(KEYS / "release-b.pub"), "--file", "b.toml")[0] == 0
    at = json.loads(Path("ev/evidence.json").read_text())["judged_at"]
    code, out, _ = run("policy", "explain", "--evidence", "ev", "--at", at, "-p", "b.toml")
    assert code == 1
    assert 'NOT MET  { signed-by = ["release"] }\n  0 of 1 needed\n' in out
    assert "does not verify with the key of anchor 'release'" in out


def test_explain_wants_one_image(run: Run) -> None:
    assert run("policy", "explain")[0] == 2
    assert run("policy", "explain", REF, "--evidence", "ev")[0] == 2


# test


def write_cases(*cases: str) -> None:
    Path("cases.toml").write_text("".join(f"[[case]]\n{c}\n" for c in cases))


GOOD = 'name = "release"\nevidence = "ev"\nverdict = "allowed"'


def test_cases_as_expected(run: Run) -> None:
    write_cases(GOOD)
    assert run("policy", "test", ".", "-p", "policy.toml") == (0, "ok      release\n1 of 1 cases as expected\n", "")


def test_a_case_that_comes_out_differently_says_how(run: Run) -> None:
    write_cases(GOOD, 'name = "old"\nevidence = "ev"\nverdict = "denied"\ncode = "too-old"')
    code, out, _ = run("policy", "test", "cases.toml", "-p", "policy.toml")
    assert code == 1
    assert "ok      release\nFAILED  old: expected denied (too-old), is allowed:" in out
    assert out.endswith("1 of 2 cases as expected\n")


def test_a_denial_for_another_reason_is_not_as_expected(run: Run) -> None:
    text = Path("policy.toml").read_text().replace('name = "exact"', 'name = "exact", max-age = "1d"')
    Path("policy.toml").write_text(text)
    late = 'name = "late"\nevidence = "ev"\nat = 2040-01-01T00:00:00Z\nverdict = "denied"'
    write_cases(f'{late}\ncode = "too-old"')
    assert run("policy", "test", ".", "-p", "policy.toml")[0] == 0
    write_cases(f'{late}\ncode = "name-mismatch"')
    assert run("policy", "test", ".", "-p", "policy.toml")[0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("allowed", "maybe"), "unknown verdict 'maybe' at $.case[0].verdict"),
        (f"{GOOD}\nx = 1", "unknown key 'x' at $.case[0]"),
        ('name = "a"', "missing key 'evidence' at $.case[0]"),
    ],
)
def test_cases_that_cannot_be_read(run: Run, text: str, message: str) -> None:
    write_cases(text)
    code, _, err = run("policy", "test", ".", "-p", "policy.toml")
    assert (code, message in err) == (3, True)


# diff


def test_diff_names_what_changes_and_why(run: Run) -> None:
    assert run("policy", "init", "registry.example", "-k", str(KEYS / "release-b.pub"), "--file", "b.toml")[0] == 0
    code, out, _ = run("policy", "diff", "policy.toml", "b.toml", "--against", "list")
    assert (code, out) == (
        1,
        f"{REF}  allowed -> denied  signed-by release: 0 of 1 needed: untrusted-signer: "
        "does not verify with the key of anchor 'release'\n1 of 1 images change\n",
    )
    code, out, _ = run("policy", "diff", "b.toml", "policy.toml", "--against", "list", "-o", "json")
    (result,) = json.loads(out)["results"]
    assert (code, result["old"], result["new"]) == (1, "denied", "allowed")


def test_diff_of_equal_policies(run: Run) -> None:
    assert run("policy", "diff", "policy.toml", "policy.toml", "--against", "list") == (0, "0 of 1 images change\n", "")


def test_diff_says_what_it_could_not_read(run: Run) -> None:
    Path("list").write_text("ev\nNOT A NAME\n")
    code, out, err = run("policy", "diff", "policy.toml", "policy.toml", "--against", "list")
    assert (code, out) == (3, "0 of 1 images change, 1 could not be read\n")
    assert "error: NOT A NAME: reference 'NOT A NAME' holds blanks" in err


def test_an_empty_list_is_refused(run: Run) -> None:
    Path("list").write_text("# nothing\n")
    assert run("policy", "diff", "policy.toml", "policy.toml", "--against", "list")[0] == 2


# edit


def test_a_key_is_added_and_everything_else_stays(run: Run) -> None:
    before = Path("policy.toml").read_text()
    code, out, err = run("policy", "add-key", "policy.toml", str(KEYS / "release-b.pub"), "--anchor", "release")
    assert (code, out) == (0, f"added {B} to anchor 'release'\n")
    after = Path("policy.toml").read_text()
    pem = (KEYS / "release-b.pub").read_text()
    assert after == before.replace('""",\n]', f'""",\n  """\n{pem}""", # ECDSA P-256, {B}\n]')
    code, _, err = run("policy", "add-key", "policy.toml", str(KEYS / "release-b.pub"), "--anchor", "release")
    assert (code, f"key {B} is in anchor 'release' already" in err) == (2, True)
    assert Path("policy.toml").read_text() == after


def test_a_key_is_added_with_its_time_to_a_list_on_one_line(run: Run) -> None:
    for name in ("release-a", "release-b"):
        Path(f"{name}.pub").write_bytes((KEYS / f"{name}.pub").read_bytes())
    Path("p.toml").write_text('version = 1\ndefault = "reject"\n[anchors.x]\nkeys = ["release-a.pub"] # ours\n')
    line = ("policy", "add-key", "p.toml", "release-b.pub", "--anchor", "x", "--not-after", "2030-01-01T00:00:00Z")
    assert run(*line)[0] == 0
    policy = parse_policy(load_toml(Path("p.toml").read_bytes(), limit=100_000))
    first, second = policy.anchors["x"]
    assert (first.text, first.not_after, second.not_after) == ("release-a.pub", None, datetime(2030, 1, 1, tzinfo=UTC))
    assert "# ours" in Path("p.toml").read_text()


def with_both(run: Run) -> None:
    assert run("policy", "add-key", "policy.toml", str(KEYS / "release-b.pub"), "--anchor", "release")[0] == 0


def test_a_compromised_key_goes_with_its_comment_and_the_images_to_sign_again_are_named(run: Run) -> None:
    with_both(run)
    code, out, _ = run("policy", "retire-key", "policy.toml", A, "--compromised", "--against", "list")
    assert (code, out) == (
        0,
        f"removed {A} from anchor 'release'\n"
        f"{REF}  allowed -> denied  signed-by release: 0 of 1 needed: untrusted-signer: "
        "does not verify with the key of anchor 'release'\n"
        "1 of 1 images change\n",
    )
    text = Path("policy.toml").read_text()
    assert (A in text, B in text) == (False, True)
    assert run("verify", "oci:image:1", "--identity", REF, "-p", "policy.toml")[0] == 1


def test_a_key_retires_at_a_time_and_the_effect_is_that_of_the_time(run: Run) -> None:
    with_both(run)
    line = ("policy", "retire-key", "policy.toml", str(KEYS / "release-a.pub"), "--at", "2040-01-01T00:00:00Z")
    code, out, _ = run(*line, "--against", "list")
    assert (code, out.splitlines()[0]) == (0, f"{A} in anchor 'release' is trusted until 2040-01-01T00:00:00Z")
    assert out.splitlines()[1].startswith(f"{REF}  allowed -> denied  signed-by release: 0 of 1 needed: key-expired:")
    assert run("verify", "oci:image:1", "--identity", REF, "-p", "policy.toml")[0] == 0
    code, out, _ = run(*line)
    assert out == f"{A} in anchor 'release' ends at 2040-01-01T00:00:00Z already\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((A, "--compromised"), "anchor 'release' would have no key left"),
        (("SHA256:nobody",), "no anchor holds the key 'SHA256:nobody'"),
        ((A, "--compromised", "--at", "2027-01-01T00:00:00Z"), "--compromised and --at exclude each other"),
        ((A, "--at", "soon"), "--at: not an RFC 3339 time"),
    ],
)
def test_a_retirement_that_is_refused_changes_nothing(run: Run, words: tuple[str, ...], message: str) -> None:
    before = Path("policy.toml").read_bytes()
    code, _, err = run("policy", "retire-key", "policy.toml", *words)
    assert (code, message in err) == (2, True)
    assert Path("policy.toml").read_bytes() == before


def test_dry_run_writes_nothing_and_shows_the_lines(run: Run) -> None:
    before = Path("policy.toml").read_bytes()
    code, out, _ = run("policy", "retire-key", "policy.toml", A, "--at", "2040-01-01T00:00:00Z", "--dry-run")
    assert code == 0
    assert '+""", not-after = 2040-01-01T00:00:00Z},' in out
    assert Path("policy.toml").read_bytes() == before


def test_advance_writes_the_sequence_that_is_accepted_now(run: Run) -> None:
    line = ("policy", "advance", "policy.toml", "oci:image:1", "--identity", REF)
    assert run(*line)[:2] == (0, "signed-by release: min-sequence = 7\n")
    assert "min-sequence = 7" in Path("policy.toml").read_text()
    assert run(*line)[:2] == (0, "nothing to change\n")
    assert run("verify", "oci:image:1", "--identity", REF, "-p", "policy.toml")[0] == 0


def test_advance_by_time_still_allows_the_image(run: Run) -> None:
    code, out, _ = run("policy", "advance", "policy.toml", "oci:image:1", "--identity", REF, "--time")
    assert (code, out.startswith("signed-by release: signed-after = 20")) == (0, True)
    assert run("verify", "oci:image:1", "--identity", REF, "-p", "policy.toml")[0] == 0


def test_advance_to_what_is_denied_is_denied(run: Run) -> None:
    before = Path("policy.toml").read_bytes()
    other = "registry.example/shop/other:1"
    assert run("policy", "advance", "policy.toml", "oci:image:1", "--identity", other)[0] == 1
    assert Path("policy.toml").read_bytes() == before


def test_a_link_stays_a_link_and_the_mode_stays(run: Run) -> None:
    Path("real.toml").write_bytes(Path("policy.toml").read_bytes())
    os.chmod("real.toml", 0o640)
    Path("link.toml").symlink_to("real.toml")
    assert run("policy", "add-key", "link.toml", str(KEYS / "release-b.pub"), "--anchor", "release")[0] == 0
    assert (Path("link.toml").is_symlink(), Path("real.toml").stat().st_mode & 0o777) == (True, 0o640)
    assert B in Path("real.toml").read_text()


def test_what_somebody_else_changed_meanwhile_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import imgsign.editing

    def slow(*args: object, **more: object) -> object:
        edited = real(*args, **more)  # type: ignore[arg-type]  # passed on
        with open("policy.toml", "a") as file:
            file.write("# theirs\n")
        return edited

    real = imgsign.editing.add_key
    monkeypatch.setattr(imgsign.editing, "add_key", slow)
    code, _, err = run("policy", "add-key", "policy.toml", str(KEYS / "release-b.pub"), "--anchor", "release")
    assert (code, "was changed by somebody else meanwhile" in err) == (3, True)
    assert Path("policy.toml").read_text().endswith("# theirs\n")
    assert B not in Path("policy.toml").read_text()
