"""``imgsign admission serve`` when it cannot begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "nowhere"], "error: --listen is no HOST:PORT: 'nowhere'\nhint: --listen 0.0.0.0:8443\n"),
        (["--admin", "h:99999"], "error: --admin is no HOST:PORT: 'h:99999'\nhint: --admin 0.0.0.0:8443\n"),
        (["--timeout", "1s"], "error: --timeout is 1s, and may be 2 to 30 seconds\n"),
        (["--timeout", "31s"], "error: --timeout is 31s, and may be 2 to 30 seconds\n"),
        (["--negative-ttl", "5m"], "error: --negative-ttl is 5m, and may be 0 to 60 seconds\n"),
        (
            ["--ttl", "soon"],
            "error: --ttl is not a duration like '90d': 'soon'\nhint: use s, m, h, d, w or y\n",
        ),
        (
            ["--policy", "p.toml", "--settings", "s.toml"],
            "error: --settings and --policy exclude each other\nhint: settings name their policies\n",
        ),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["admission", "serve", *arguments]) == 2
    assert capsys.readouterr().err == said


def test_settings_that_cannot_be_read_end_it_before_any_port_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "admission.toml"
    assert main(["admission", "serve", "--settings", str(missing), "--listen", "127.0.0.1:1"]) == 3
    assert capsys.readouterr().err == f"error: cannot read '{missing}': no such file or directory\n"


def test_pull_secrets_outside_a_cluster_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["admission", "serve", "--settings", str(tmp_path / "s"), "--pull-secrets"]) == 3
    assert capsys.readouterr().err.startswith("error: imagePullSecrets need the Kubernetes API")
