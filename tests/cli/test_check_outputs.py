"""``imgsign check --output``: what GitHub and GitLab accept, and what foreign text cannot do to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest

from imgsign.cli import github, junit, sarif
from imgsign.cli.findings import Finding, shown_name
from imgsign.images import Spot
from tests.cli.test_check import APP, WEB, pod, registry, run, sim

Run = Callable[..., tuple[int, str, str]]
__all__ = ["registry", "run", "sim"]  # fixtures

EVIL_NAME = "::set-env name=PATH,value=x::y%0A##[add-path]z.yaml"
EVIL = 'x%0A::error::owned,##[group]\\n::stop-commands::t\\r\\n<b>[link](http://x)`|\\e[2J\\u202e"'


def evil_files() -> str:
    """One file with a hostile name, and hostile text in every string; returns the arguments."""
    text = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: "{EVIL.replace('"', "")}"}}
spec:
  containers:
  - image: "{EVIL.replace('"', "")}"
  - image: {WEB}
  - image: {APP}
  - image: ''
"""
    Path(EVIL_NAME).write_text(text)
    return f"'{EVIL_NAME}'"


def commands(text: str) -> Iterator[str]:
    """The workflow commands that a runner would take from a log (runner's ActionCommand, both forms)."""
    for line in text.splitlines():
        if line.lstrip().startswith("::"):
            yield line.lstrip()
        elif "##[" in line:
            yield line


@pytest.mark.parametrize("output", ["text", "json", "sarif", "github", "junit"])
def test_foreign_text_is_never_a_workflow_command(run: Run, output: str) -> None:
    code, out, err = run(f"{evil_files()} -o {output}")
    assert code == 1
    found = list(commands(out + err))
    if output == "github":
        assert len(found) == 3
        assert all(re.match(r"::error file=[^:,]*,line=[0-9]+,endLine=[0-9]+,col=[0-9]+,endColumn=", f) for f in found)
        assert not any("##[" in f for f in found)
    else:
        assert found == []


def test_foreign_text_in_a_diff_is_no_workflow_command(run: Run) -> None:
    Path("a.yaml").write_text(f"metadata:\n  ::set-env name=a:: b\n{pod(f'{APP}  # ##[add-path]x')}  # ::error::x\n")
    code, out, err = run("a.yaml --pin --check")
    assert (code, out.splitlines()[2]) == (1, "@@ -7 +7 @@")
    assert list(commands(out + err)) == []


def test_terminals_get_no_control_characters(run: Run) -> None:
    for output in ("text", "json", "sarif", "github", "junit"):
        _, out, err = run(f"{evil_files()} -o {output}")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out + err)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("k8s/a.yaml", "k8s/a.yaml"),
        ("../a b.yaml", "../a b.yaml"),
        ("-", "-"),
        ("::error::", "./::error::"),
        (" ::error::", "./ ::error::"),
        ("a\n::error::", "a\\x0a::error::"),
        ("##[x", "./# #[x"),
    ],
)
def test_a_line_never_begins_with_a_foreign_command(name: str, shown: str) -> None:
    assert shown_name(name) == shown


# GitHub: workflow commands and the job summary


def test_annotations_have_places_and_denials_come_first(run: Run) -> None:
    Path("a.yaml").write_text(pod("''", WEB, APP))
    code, out, _ = run("a.yaml -o github")
    assert code == 1
    reason = "signed-by key: 0 of 1 needed, no signatures found"
    hint = f'sign it with a key of anchor "key": imgsign sign {WEB}@sha256:HEX -k KEY'
    patch = "if this is only a patch of it: kustomize build | imgsign check -"
    assert out.splitlines() == [
        "::error file=a.yaml,line=6,endLine=6,col=12,endColumn=31,title=imgsign%3A denied::"
        f"denied {WEB} in Pod: {reason}%0Ahint: {hint}",
        "::error file=a.yaml,line=5,endLine=5,col=13,endColumn=14,title=imgsign%3A error::"
        f"error image-missing in Pod: the container has no image%0Ahint: {patch}",
        "imgsign: 1 allowed, 1 denied, 1 error in 1 file",
    ]


def finding(**changes: object) -> Finding:
    values: dict[str, object] = {
        "file": "a.yaml",
        "spot": Spot(0, 3, 2, 5),
        "end": (2, 8),
        "verdict": "denied",
        "code": "threshold",
        "message": "because",
        "hint": None,
        "image": "img:1",
        "subject": None,
        "path": "spec",
        "role": "container",
        "head": "denied img:1",
        "lines": (),
        "unsigned": False,
        "row": {},
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type]  # the fields of Finding by name


def test_properties_and_data_are_escaped_each_in_its_way() -> None:
    line = github.command("error", finding(), "a:b,c%\r\n.yaml", "50%, a:b\r\nnext ##[x]")
    assert line == (
        "::error file=a%3Ab%2Cc%25%0D%0A.yaml,line=2,endLine=2,col=5,endColumn=8,title=imgsign%3A denied"
        "::50%25, a:b%0D%0Anext # #[x]"
    )


def test_the_job_summary_is_appended_and_other_steps_are_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("summary").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary")
    Path("a.yaml").write_text(pod(APP, WEB))
    run("a.yaml -o github")
    text = Path("summary").read_text()
    assert text.startswith("before\n### imgsign check\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [r.split(" | ")[0] for r in rows] == ["|", "| denied", "| allowed"]


def test_foreign_text_is_only_text_in_the_job_summary() -> None:
    text = github.job_summary([finding(image="<img src=x>|[a](b)`*_~@#:", message="\n# x")], 1)
    row = text.splitlines()[-1]
    assert row.count("|") == 5
    assert not re.search(r"[<>\[\]`*_~@:\"]", row)
    assert "\n# x" not in text


def test_the_job_summary_stops_below_the_limit() -> None:
    rows = [finding(image=f"img:{n}", verdict="allowed" if n < 500 else "denied") for n in range(1000)]
    text = github.job_summary(rows, 1, limit=20_000)
    shown = text.count("\n| denied") + text.count("\n| allowed")
    assert len(text.encode()) <= 20_000
    assert text.endswith(f"\n{1000 - shown} more\n")
    assert "| allowed" not in text


def test_a_full_job_summary_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("summary").write_bytes(b"x" * github.SUMMARY_LIMIT)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary")
    Path("a.yaml").write_text(pod(APP))
    assert run("a.yaml -o github")[0] == 0
    assert Path("summary").stat().st_size == github.SUMMARY_LIMIT


def test_a_job_summary_that_cannot_be_written_changes_no_verdict(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "absent/summary")
    Path("a.yaml").write_text(pod(APP))
    code, _, err = run("a.yaml -o github")
    assert (code, err) == (0, "note: cannot write the job summary 'absent/summary': no such file or directory\n")


# SARIF: the part of the 2.1.0 schema that is written, with what GitHub asks for beyond it

TEXT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 1024}},
}
POSITION = {"type": "integer", "minimum": 1}
SARIF_SCHEMA = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri", "minLength": 1},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 20,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "automationDetails": {"properties": {"id": {"type": "string", "pattern": ".+/$"}}},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "invocations": {
                        "type": "array",
                        "items": {
                            "required": ["executionSuccessful"],
                            "additionalProperties": False,
                            "properties": {"executionSuccessful": {"type": "boolean"}, "exitCode": {"type": "integer"}},
                        },
                    },
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string", "minLength": 1},
                                    "semanticVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
                                    "rules": {"type": "array", "maxItems": 25000, "items": {"$ref": "#/$defs/rule"}},
                                },
                            }
                        },
                    },
                    "results": {"type": "array", "maxItems": 25000, "items": {"$ref": "#/$defs/result"}},
                },
            },
        },
    },
    "$defs": {
        "rule": {
            "type": "object",
            "required": ["id", "shortDescription", "fullDescription", "help"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z0-9-]+$", "maxLength": 255},
                "name": {"type": "string", "minLength": 1, "maxLength": 255},
                "shortDescription": TEXT,
                "fullDescription": TEXT,
                "help": TEXT,
                "defaultConfiguration": {"properties": {"level": {"enum": ["none", "note", "warning", "error"]}}},
                "properties": {
                    "required": ["tags", "security-severity"],
                    "properties": {
                        "tags": {"type": "array", "maxItems": 10, "contains": {"const": "security"}},
                        "precision": {"enum": ["very-high", "high", "medium", "low"]},
                        "security-severity": {"type": "string", "pattern": r"^([0-9]\.[0-9]|10\.0)$"},
                    },
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string", "minLength": 1},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"enum": ["none", "note", "warning", "error"]},
                "message": {"required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}},
                "partialFingerprints": {"required": ["primaryLocationLineHash"]},
                "locations": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 100,
                    "items": {
                        "required": ["physicalLocation"],
                        "properties": {
                            "physicalLocation": {
                                "required": ["artifactLocation", "region"],
                                "properties": {
                                    # Relative, percent-encoded, forward slashes.
                                    "artifactLocation": {
                                        "properties": {"uri": {"pattern": r"^(?!/)(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+$"}}
                                    },
                                    "region": {
                                        "required": ["startLine", "startColumn", "endLine", "endColumn"],
                                        "additionalProperties": False,
                                        "properties": dict.fromkeys(
                                            ("startLine", "startColumn", "endLine", "endColumn"), POSITION
                                        ),
                                    },
                                },
                            }
                        },
                    },
                },
            },
        },
    },
}


def checked(text: str) -> dict[str, object]:
    """Validate a log and return its one run."""
    document = json.loads(text)
    jsonschema.Draft202012Validator(SARIF_SCHEMA).validate(document)
    (found,) = document["runs"]
    for result in found["results"]:
        assert found["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert isinstance(found, dict)
    return found


def results(text: str) -> list[dict[str, Any]]:
    """The results of a valid log."""
    found: list[dict[str, Any]] = checked(text)["results"]  # type: ignore[assignment]  # as the schema says
    return found


def test_sarif_of_hostile_files_is_accepted(run: Run) -> None:
    code, out, _ = run(f"{evil_files()} -o sarif")
    found = results(out)
    assert (code, [r["level"] for r in found]) == (1, ["error", "warning", "warning"])
    assert not any("](" in r["message"]["text"] for r in found)


def test_sarif_without_results_is_still_written_to_close_old_alerts(run: Run) -> None:
    Path("a.yaml").write_text(pod(APP))
    code, out, _ = run("a.yaml -o sarif")
    assert (code, results(out)) == (0, [])


def test_sarif_of_standard_input_has_the_name_it_is_given(run: Run) -> None:
    _, out, _ = run("- --stdin-name 'charts/my shop.yaml' -o sarif", stdin=pod(WEB))
    (result,) = results(out)
    place = result["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "charts/my%20shop.yaml"},
        "region": {"startLine": 5, "startColumn": 12, "endLine": 5, "endColumn": 31},
    }


def test_sarif_places_are_relative_to_the_checkout(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "real.yaml").write_text(pod(WEB))
    (tmp_path / "deploy/link.yaml").symlink_to("../real.yaml")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path / "deploy")
    _, out, _ = run("link.yaml -o sarif")
    (result,) = results(out)
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "real.yaml"


def test_sarif_fingerprints_tell_equal_places_apart_and_survive_moved_lines(run: Run) -> None:
    def prints() -> list[str]:
        found = results(run("a.yaml -o sarif")[1])
        return [r["partialFingerprints"]["primaryLocationLineHash"] for r in found]

    Path("a.yaml").write_text(pod(WEB, WEB) + "---\n" + pod(WEB))
    first = prints()
    assert len(set(first)) == 3
    Path("a.yaml").write_text("# moved\n" + pod(WEB, WEB) + "---\n" + pod(WEB))
    assert prints() == first


def test_sarif_keeps_denials_when_there_are_too_many_results() -> None:
    rows = [finding(verdict="error", code="template")] * 10 + [finding()]
    log = json.loads(sarif.document(rows, {"a.yaml": "a.yaml"}, "0.1.0", 1, limit=10))["runs"][0]
    assert [r["ruleId"] for r in log["results"]] == ["threshold", *["template"] * 9]
    assert sarif.RESULTS_LIMIT == 25_000


# JUnit


def test_junit_of_each_verdict() -> None:
    rows = [
        finding(verdict="allowed", code="allowed", image="img:0"),
        finding(verdict="allowed", code="accepted-unsigned", image="img:9", unsigned=True),
        finding(hint="sign it", lines=("  signed-by a: 0 of 1",), subject="Pod p"),
        finding(verdict="undecided", code="undecided"),
        finding(verdict="error", code="template", image=None, head="error template: later"),
    ]
    assert junit.document(rows, ["a.yaml", "b.yaml"]) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<testsuites name="imgsign check" tests="5" failures="1" errors="2" skipped="1" time="0">\n'
        '  <testsuite name="a.yaml" tests="5" failures="1" errors="2" skipped="1" time="0">\n'
        '    <testcase classname="a.yaml" name="img:0 a.yaml:2:5" file="a.yaml" time="0" />\n'
        '    <testcase classname="a.yaml" name="img:9 a.yaml:2:5" file="a.yaml" time="0">\n'
        '      <skipped message="accepted without looking for signatures" />\n'
        "    </testcase>\n"
        '    <testcase classname="a.yaml" name="img:1 a.yaml:2:5" file="a.yaml" time="0">\n'
        '      <failure message="because" type="threshold">a.yaml:2:5: denied img:1\n'
        "in Pod p, spec\n  signed-by a: 0 of 1\nhint: sign it</failure>\n"
        "    </testcase>\n"
        '    <testcase classname="a.yaml" name="img:1 a.yaml:2:5 (2)" file="a.yaml" time="0">\n'
        '      <error message="because" type="undecided">a.yaml:2:5: denied img:1</error>\n'
        "    </testcase>\n"
        '    <testcase classname="a.yaml" name="template a.yaml:2:5" file="a.yaml" time="0">\n'
        '      <error message="because" type="template">a.yaml:2:5: error template: later</error>\n'
        "    </testcase>\n"
        "  </testsuite>\n"
        '  <testsuite name="b.yaml" tests="0" failures="0" errors="0" skipped="0" time="0" />\n'
        "</testsuites>"
    )


def test_junit_of_hostile_files_is_well_formed_with_unique_names(run: Run) -> None:
    code, out, _ = run(f"{evil_files()} -o junit")
    names = [c.get("name") for c in Xml.fromstring(out).iter("testcase")]  # noqa: S314  # our own document
    assert (code, len(names), len(set(names))) == (1, 4, 4)


def test_junit_drops_what_xml_cannot_hold() -> None:
    assert junit.clean("a\x00\x0b\x1f\ud800\ufffe\uffffb\t\n\U0001f600") == "ab\t\n\U0001f600"
