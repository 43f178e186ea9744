"""Bad input: one clear line, a hint, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import images, parts, simulated

PASSWORD = {"IMGSIGN_PASSWORD": "test"}


@dataclass(frozen=True)
class Place:
    """A registry with one signed image, keys, and files to misuse."""

    registry: parts.Registry
    name: str
    key: Path
    base: Path

    @property
    def public(self) -> Path:
        return self.key.with_suffix(".pub")

    def file(self, name: str, text: str) -> Path:
        path = self.base / name
        path.write_text(text)
        return path

    def policy(self, text: str) -> Path:
        head = f'version = 1\ndefault = "reject"\n[anchors.a]\nkeys = ["{self.public}"]\n'
        return self.file("policy.toml", head + text)


@pytest.fixture(scope="module")
def place(registry: parts.Registry, release_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    base = tmp_path_factory.mktemp("bad")
    name = f"{registry.host}/bad/app:1"
    images.push_small(base, name)
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    return Place(registry, name, release_key, base)


def check(
    *arguments: str | Path, code: int, says: str, hint: str | None = None, env: dict[str, str] | None = None
) -> None:
    done = parts.imgsign(*arguments, check=False, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stdout + done.stderr
    assert says in errors[0]
    if hint is not None:
        assert any(line.startswith("hint: ") and hint in line for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("Example.com/App:1", "repository names are lower case"),
        ("app:1 ", "blanks or line breaks"),
        ("app:", "not a tag"),
        ("app@sha256:abc", "expected 64 lower-case hex digits"),
        ("https://registry.example.com/app", "is a URL, not an image reference"),
        ("", "not an image reference"),
    ],
)
def test_wrong_reference_is_a_usage_error(place: Place, reference: str, says: str) -> None:
    done = parts.imgsign("verify", reference, "--key", place.public, check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_key(place: Place) -> None:
    check("sign", place.name, "-k", place.base / "none.key", code=3, says="none.key")


def test_encrypted_key_without_password_does_not_hang(place: Place) -> None:
    check("sign", place.name, "-k", place.key, code=3, says="no password was given", hint="IMGSIGN_PASSWORD")


def test_wrong_password(place: Place) -> None:
    check("sign", place.name, "-k", place.key, code=3, says="wrong password", env={"IMGSIGN_PASSWORD": "no"})


def test_garbage_key(place: Place) -> None:
    garbage = place.file("garbage.key", "not a key\n")
    check("sign", place.name, "-k", garbage, code=3, says="garbage.key")


def test_public_key_where_a_private_one_is_needed(place: Place) -> None:
    check("sign", place.name, "-k", place.public, code=3, says="public key")


def test_private_key_where_a_public_one_is_needed(place: Place) -> None:
    check("verify", place.name, "--key", place.key, code=3, says="private key")


def test_key_that_does_not_match_is_a_denial(place: Place) -> None:
    parts.imgsign("key", "generate", place.base / "other", "--no-password", "--force")
    done = parts.imgsign("verify", place.name, "--key", place.base / "other.pub", check=False)
    assert done.returncode == 1
    assert "does not verify with the key of anchor 'key'" in done.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[scopes."r.example"]\nrequire = [{ signed-by = "a", treshold = 2 }]\n', "unknown key 'treshold'"),
        ('[scopes."r.example"]\nrequire = []\n', "empty require"),
        ('[scopes."r.example"]\nrequire = [{ signed-by = "b" }]\n', "unknown anchor 'b'"),
        ('[scopes."r.example/app:1"]\nrequire = [{ signed-by = "a" }]\n', "has a tag or digest"),
        ('[anchors.b]\nkeys = ["none.pub"]\n', "none.pub"),
        ("[scopes", "not TOML"),
    ],
)
def test_policy_mistakes_name_their_place(place: Place, text: str, says: str) -> None:
    policy = place.policy(text)
    check("verify", place.name, "--policy", policy, code=3, says=says)


def test_policy_typo_shows_path_and_what_was_meant(place: Place) -> None:
    policy = place.policy('[scopes."r.example"]\nrequire = [{ signed-by = "a", treshold = 2 }]\n')
    done = parts.imgsign("verify", place.name, "--policy", policy, check=False)
    assert "at scopes.'r.example'.require[0]" in done.stderr
    assert "hint: did you mean 'threshold'?" in done.stderr


def test_no_policy_at_all(place: Place) -> None:
    check("verify", place.name, code=2, says="no policy was given", hint="--policy FILE")


def test_unreachable_registry_is_undecided(place: Place) -> None:
    port = parts.free_port()
    check("verify", f"127.0.0.1:{port}/app:1", "--key", place.public, code=3, says=f"127.0.0.1:{port}")


def test_unknown_tag_is_undecided(place: Place) -> None:
    check("verify", f"{place.registry.host}/bad/app:none", "--key", place.public, code=3, says="none")


def test_unknown_tag_cannot_be_signed(place: Place) -> None:
    check("sign", f"{place.registry.host}/bad/app:none", "-k", place.key, code=3, says="none", env=PASSWORD)


def test_schema_1_is_refused_with_its_reason(place: Place) -> None:
    with simulated.schema1() as host:
        check("verify", f"{host}/app:1", "--key", place.public, code=3, says="schema 1 is not supported")


def test_401_names_the_next_step(place: Place, tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text("nobody:$2y$05$4nhEiUJJNSZZFKc2K0yTyObEdxK.UGBLKGDUkMjhSrBGRhj8dvFlC\n")
    with parts.registry(tmp_path, htpasswd=passwords) as private:
        check("verify", f"{private.host}/app:1", "--key", place.public, code=3, says="401", hint="imgsign login")


def test_403_is_undecided(place: Place) -> None:
    with simulated.status(403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}') as host:
        check("verify", f"{host}/app:1", "--key", place.public, code=3, says="not yours")


def test_read_only_registry_stores_nothing_and_says_so(place: Place, tmp_path: Path) -> None:
    with parts.registry(tmp_path) as writable:
        name = f"{writable.host}/ro/app:1"
        images.push_small(tmp_path, name)
    with parts.registry(tmp_path, read_only=True) as frozen:
        name = f"{frozen.host}/ro/app:1"
        check("sign", name, "-k", place.key, code=3, says="ro/app", env=PASSWORD)


def test_destination_that_is_a_file(place: Place) -> None:
    file = place.file("file", "x")
    check("pull", place.name, f"oci:{file}", "--key", place.public, code=3, says="cannot use")
    assert file.read_text() == "x"


def test_destination_with_something_else_in_it(place: Place, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    check("pull", place.name, f"oci:{tmp_path}", "--key", place.public, code=3, says="not empty and not an OCI layout")
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_unknown_destination(place: Place) -> None:
    check("pull", place.name, "tar:x", "--key", place.public, code=2, says="not a destination")


def test_unknown_command_and_option() -> None:
    check("verfiy", code=2, says="no such command")
    check("verify", "app", "--nope", code=2, says="--nope", hint="imgsign verify --help")
