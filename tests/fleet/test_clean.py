"""Taking signatures away: whose, which, and never one too many."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from imgsign.errors import RegistryError, Unavailable, UsageError
from imgsign.fleet.clean import Choice, Plan, carry_out, make_plan
from imgsign.fleet.copy import copy
from imgsign.policy.model import Policy
from imgsign.reference import Reference
from imgsign.resolve import Target
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from imgsign.stores.copying import LayoutWriter
from imgsign.stores.layout import LayoutStore
from imgsign.trust import TrustStore
from imgsign.workflow import key_policy, verify
from tests.fleet.worlds import DSSE, NOW, pooled, put_tagged
from tests.signing_keys import public, signer
from tests.simulator import Simulator

NAME = Reference.parse("registry.test/app:1")
OWN = (public("release"),)
JUDGE = key_policy(OWN)
Judging = tuple[Policy, TrustStore] | None


@pytest.fixture(params=[True, False], ids=["api", "fallback"])
def sim(request: pytest.FixtureRequest) -> Simulator:
    """app:1, signed by release twice (ninety days apart) and by a stranger, in both formats."""
    found = Simulator(referrers_api=request.param)
    found.put_image("app", tag="1")
    for key, age in (("release", 90), ("stranger", 50), ("release", 0)):
        options = SignOptions(formats=("bundle", "simple"), force=True)
        sign([NAME], signer(key), options, locate=lambda r: found.store("app"), now=NOW - timedelta(days=age))
    return found


def target(store: Store) -> Target:
    return Target(name=NAME, store=store, what="1", place="a test")


def plan(store: Store, judge: Judging = JUDGE, **choice: object) -> Plan:
    with pooled() as pool:
        return make_plan(target(store), Choice(**{"keys": OWN, **choice}), judge, pool, now=NOW)  # type: ignore[arg-type]  # Choice's own fields


def clean(store: Store, judge: Judging = JUDGE, **choice: object) -> Plan:
    found = plan(store, judge, **choice)
    carry_out(target(store), found)
    return found


def standing(store: Store) -> tuple[int, int]:
    """How many bundles and how many simple signatures a reader finds."""
    image = store.fetch("1")
    try:
        layers = len(store.fetch(f"{image.digest.tag}.sig").layers)
    except RegistryError:
        layers = 0
    return len(list(store.referrers(image.digest))), layers


def test_superseded_signatures_of_ours_go_and_all_others_stay(sim: Simulator) -> None:
    store = sim.store("app")
    found = clean(store, superseded=True)
    assert sorted(i.found.format or "" for i in found.items) == ["bundle", "simple"]
    assert {i.signed_at for i in found.items} == {NOW - timedelta(days=90)}
    assert standing(store) == (2, 2)
    for key in ("release", "stranger"):
        assert verify(target(store), *key_policy([public(key)]), now=NOW).allowed
    assert plan(store, superseded=True).items == ()


def test_planning_changes_nothing(sim: Simulator) -> None:
    store = sim.store("app")
    before = len(sim.seen("^(PUT|POST|DELETE) "))
    assert len(plan(store, superseded=True).items) == 2
    assert len(sim.seen("^(PUT|POST|DELETE) ")) == before


@pytest.mark.parametrize("choice", [{"older_than": timedelta(days=60)}, {"formats": ("simple",)}])
def test_age_and_format_narrow_the_choice(sim: Simulator, choice: dict[str, object]) -> None:
    clean(sim.store("app"), JUDGE, **choice)
    assert standing(sim.store("app")) == ((2, 2) if "older_than" in choice else (3, 1))


def test_what_would_be_denied_is_refused(sim: Simulator) -> None:
    with pytest.raises(UsageError, match=r"without these signatures registry\.test/app:1@sha256:.* would be denied"):
        plan(sim.store("app"))
    assert standing(sim.store("app")) == (3, 3)


def test_what_would_be_denied_under_another_signed_name_is_refused(sim: Simulator) -> None:
    other = Reference.parse("registry.test/app:latest")
    sim.repository("app").tags["latest"] = sim.repository("app").tags["1"]
    old = NOW - timedelta(days=100)
    sign([other], signer("release"), SignOptions(force=True), locate=lambda r: sim.store("app"), now=old)
    with pytest.raises(UsageError, match=r"registry\.test/app:latest@sha256:.* would be denied"):
        plan(sim.store("app"), older_than=timedelta(days=95))


def test_a_stolen_key_is_taken_out_whole_without_a_policy(sim: Simulator) -> None:
    found = clean(sim.store("app"), judge=None)
    assert (len(found.items), found.judged) == (4, False)
    assert standing(sim.store("app")) == (1, 1)


def test_others_are_touched_only_when_asked_for(sim: Simulator) -> None:
    store = sim.store("app")
    assert plan(store, invalid=True).items == ()
    found = clean(store, invalid=True, others=True)
    assert {i.key for i in found.items} == {None}
    assert standing(store) == (2, 2)
    assert verify(target(store), *JUDGE, now=NOW).allowed


def test_the_last_signature_of_a_list_takes_the_tag_with_it(sim: Simulator) -> None:
    store = sim.store("app")
    clean(store, judge=None, keys=(public("stranger"), *OWN))
    assert standing(store) == (0, 0)
    assert f"{store.fetch('1').digest.tag}.sig" not in sim.repository("app").tags


def test_attestations_are_never_chosen(sim: Simulator) -> None:
    tag = put_tagged(sim, "app", f"{sim.store('app').fetch('1').digest.tag}.att", DSSE, b"{}")
    clean(sim.store("app"), judge=None, keys=(), others=True, older_than=timedelta(seconds=1))
    assert str(tag) in sim.repository("app").manifests


def test_a_registry_that_does_not_delete_says_so_and_keeps_all(sim: Simulator) -> None:
    sim.deletes = False
    with pytest.raises(RegistryError, match=r"registry\.test does not delete manifests .*nothing was changed") as e:
        clean(sim.store("app"), superseded=True)
    assert "storage.delete.enabled" in str(e.value.hint)
    assert standing(sim.store("app")) == (3, 3)


def test_without_a_full_view_nothing_is_chosen(sim: Simulator) -> None:
    sim.fail(r"GET .*\.sig$", 403)
    with pytest.raises(RegistryError):
        plan(sim.store("app"), superseded=True)


def test_a_signature_that_is_added_meanwhile_survives(sim: Simulator) -> None:
    store = sim.store("app")
    found = plan(store, superseded=True)
    sign([NAME], signer("third"), SignOptions(formats=("bundle", "simple")), locate=lambda r: sim.store("app"), now=NOW)
    carry_out(target(store), found)
    assert verify(target(store), *key_policy([public("third")]), now=NOW).allowed
    assert standing(store) == (3, 3)


def test_a_list_that_was_replaced_meanwhile_is_not_cut(sim: Simulator) -> None:
    store = sim.store("app")
    found = plan(store, formats=("simple",), superseded=True)
    put_tagged(sim, "app", f"{store.fetch('1').digest.tag}.sig", "text/plain", b"something else")
    with pytest.raises(Unavailable, match="has been changed meanwhile"):
        carry_out(target(store), found)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"keys": ()}, "whose signatures"),
        ({"keys": (), "others": True}, "--others alone would take away every signature"),
        ({"keys": (), "others": True, "superseded": True}, "--superseded is known of own signatures only"),
        ({"formats": ("gpg",)}, "unknown format 'gpg'"),
    ],
)
def test_a_choice_that_says_too_little_is_refused(sim: Simulator, choice: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(sim.store("app"), JUDGE, **choice)


def test_a_layout_is_cleaned_too(sim: Simulator, tmp_path: Path) -> None:
    layout = LayoutStore(tmp_path / "layout")
    with pooled() as pool:
        copy(target(sim.store("app")), LayoutWriter(layout), "1", pool, now=NOW)
    clean(layout, superseded=True)
    assert standing(LayoutStore(tmp_path / "layout")) == (2, 2)
    assert verify(target(LayoutStore(tmp_path / "layout")), *JUDGE, now=NOW).allowed
    clean(LayoutStore(tmp_path / "layout"), judge=None, keys=(public("stranger"), *OWN))
    assert standing(LayoutStore(tmp_path / "layout")) == (0, 0)
    assert len(json.loads((tmp_path / "layout/index.json").read_text())["manifests"]) == 1
