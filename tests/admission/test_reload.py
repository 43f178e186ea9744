"""New policies and certificates from mounted directories, and broken ones."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imgsign.admission.certificate import Pair, load_pair
from imgsign.admission.mounted import Signature, moment, signature
from imgsign.admission.reload import Watched
from imgsign.admission.snapshot import Snapshot, load_snapshot
from imgsign.errors import DestinationError, InvalidPolicy, Malformed
from tests.e2e.certificates import Authority
from tests.e2e.webhook import POLICY, Mounted
from tests.signing_keys import signer

SETTINGS = 'version = 1\npolicy = "policy.toml"\n[namespaces.dev]\npolicy = "dev.toml"\n'
KEY = signer("release").public_key.to_pem()
OTHER_KEY = signer("bench").public_key.to_pem()
GOOD = POLICY.format(host="r.example")


def files(policy: str = GOOD, dev: str = GOOD, key: bytes = KEY) -> dict[str, str | bytes]:
    return {"admission.toml": SETTINGS, "policy.toml": policy, "dev.toml": dev, "release.pub": key}


class Watching:
    """A watched ConfigMap and all that was taken and told."""

    def __init__(self, base: Path) -> None:
        self.mounted = Mounted(base / "config")
        self.mounted.write(files())
        self.taken: list[Snapshot] = []
        self.told: list[str | None] = []
        self.watched: Watched[Snapshot] = Watched(
            "policy", self._look, self._load, self.taken.append, lambda what, trouble: self.told.append(trouble)
        )

    def _look(self) -> Signature:
        return signature((self.mounted.directory,), self.taken[-1].files if self.taken else ())

    def _load(self) -> Snapshot:
        return load_snapshot(self.mounted.directory / "admission.toml", environ={})


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    return Watching(tmp_path)


def test_settings_name_a_policy_for_each_namespace(watching: Watching) -> None:
    snapshot = watching.watched.first()
    assert sorted(snapshot.policies) == ["dev.toml", "policy.toml"]
    assert snapshot.rulebook.settings.rules_for("dev").policy == "dev.toml"


def test_a_policy_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(b'version = 1\ndefault = "reject"\n')
    snapshot = load_snapshot(tmp_path / "p.toml", is_policy=True, environ={})
    digest = "dae4a4ef80f31bffbb6c7b156e4e39ac415b0ecc142cfb631d43e5e683974670"
    assert snapshot.policies["p.toml"].policy_digest == digest


def test_nothing_is_taken_while_nothing_changes(watching: Watching) -> None:
    watching.watched.first()
    assert watching.watched.poll() is False
    assert (len(watching.taken), watching.told) == (1, [None])


def test_a_renamed_data_link_is_a_new_snapshot(watching: Watching) -> None:
    first = watching.watched.first()
    watching.mounted.write(files(policy=GOOD + "# changed\n"))
    assert watching.watched.poll() is True
    second = watching.taken[-1]
    assert first.policies["policy.toml"].policy_digest != second.policies["policy.toml"].policy_digest
    assert first.policies["dev.toml"].policy_digest == second.policies["dev.toml"].policy_digest


def test_a_changed_key_alone_changes_the_trust_digest_alone(watching: Watching) -> None:
    first = watching.watched.first()
    watching.mounted.write(files(key=OTHER_KEY))
    assert watching.watched.poll() is True
    before, after = first.policies["policy.toml"], watching.taken[-1].policies["policy.toml"]
    assert before.policy_digest == after.policy_digest
    assert before.trust_digest != after.trust_digest


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (files(policy="version = 1\n"), "missing key 'default'"),
        (files(dev="version = 1\n"), "missing key 'default'"),
        (files(key=b"no key"), "release.pub"),
        ({"policy.toml": GOOD, "dev.toml": GOOD, "release.pub": KEY}, "cannot read"),
        ({**files(), "admission.toml": SETTINGS + "typo = 1\n"}, "unknown key 'typo'"),
    ],
)
def test_a_broken_set_keeps_the_old_one_and_is_told_once(
    watching: Watching, broken: dict[str, str | bytes], said: str
) -> None:
    first = watching.watched.first()
    watching.mounted.write(broken)
    assert watching.watched.poll() is False
    assert watching.watched.poll() is False
    assert watching.taken == [first]
    assert len(watching.told) == 2
    trouble = watching.watched.trouble or ""
    assert said in trouble
    assert trouble.endswith("; the last good one stays in force")
    # Named as its owner knows it.
    assert "..2026" not in trouble


def test_a_repaired_set_ends_the_trouble(watching: Watching) -> None:
    watching.watched.first()
    watching.mounted.write(files(policy="version = 1\n"))
    watching.watched.poll()
    watching.mounted.write(files(policy=GOOD + "# repaired\n"))
    assert watching.watched.poll() is True
    assert watching.watched.trouble is None


def test_a_plain_file_replaced_by_one_of_the_same_size_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("a")
    os.utime(path, (1, 1))
    before = signature((tmp_path,))
    (tmp_path / "new").write_text("b")
    os.utime(tmp_path / "new", (1, 1))
    (tmp_path / "new").rename(path)
    assert signature((tmp_path,)) != before


def test_a_key_outside_the_directory_is_watched_too(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "keys" / "release.pub").write_bytes(KEY)
    policy = tmp_path / "config" / "policy.toml"
    policy.write_text(GOOD.replace("release.pub", "../keys/release.pub"))
    snapshot = load_snapshot(policy, is_policy=True, environ={})
    before = signature((policy.parent,), snapshot.files)
    (tmp_path / "keys" / "release.pub").write_bytes(OTHER_KEY)
    assert signature((policy.parent,), snapshot.files) != before


def test_all_files_are_read_through_one_resolved_link(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "config")
    mounted.write(files())
    assert moment(mounted.directory).name == "..2026_11_24_1"
    assert moment(tmp_path) == tmp_path


def test_a_missing_policy_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=r"nowhere\.toml"):
        load_snapshot(tmp_path / "nowhere.toml", environ={})
    (tmp_path / "admission.toml").write_text("version = 2\n")
    with pytest.raises(InvalidPolicy):
        load_snapshot(tmp_path / "admission.toml", environ={})


# Certificates

NOW = datetime.now(UTC)


def mount_pair(base: Path, certificate: bytes, key: bytes) -> Pair:
    mounted = Mounted(base / "tls")
    mounted.write({"tls.crt": certificate, "tls.key": key})
    return load_pair(mounted.directory / "tls.crt", mounted.directory / "tls.key", now=NOW)


def test_a_pair_is_read_with_its_names_and_end(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "a").issue("web", "imgsign.imgsign.svc", "127.0.0.1")
    pair = mount_pair(tmp_path, certificate.read_bytes(), key.read_bytes())
    assert pair.names == ("imgsign.imgsign.svc", "127.0.0.1")
    assert NOW < pair.not_after < NOW + timedelta(days=2)
    assert "PRIVATE KEY" not in repr(pair)


def test_a_certificate_with_another_key_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a")
    one, other = authority.issue("one", "a.example"), authority.issue("other", "a.example")
    with pytest.raises(Malformed, match="and its key do not belong together"):
        mount_pair(tmp_path, one[0].read_bytes(), other[1].read_bytes())


def test_a_certificate_that_has_ended_is_refused(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "a").issue("web", "a.example")
    with pytest.raises(Malformed, match="has ended at"):
        load_pair(certificate, key, now=NOW + timedelta(days=3))


def test_a_certificate_without_a_name_the_api_server_reads_is_refused(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "a").issue("web")
    with pytest.raises(Malformed, match="no subject alternative name"):
        mount_pair(tmp_path, certificate.read_bytes(), key.read_bytes())


def test_what_is_no_pair_is_refused_without_a_word_of_the_key(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "a").issue("web", "a.example")
    raw = key.read_bytes()
    for place, (one, two) in enumerate([(b"x", raw), (certificate.read_bytes(), raw[:80]), (raw, raw)]):
        with pytest.raises(Malformed) as refused:
            mount_pair(tmp_path / str(place), one, two)
        assert raw.splitlines()[1].decode() not in refused.value.message
