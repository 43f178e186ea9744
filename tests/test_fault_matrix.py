"""Every request of sign, verify and pull under every fault, against the hand-written table.

In each cell unique secrets stand in every place of design law 11: the registry's password and token, a
presigned query, the proxy's password, the key's password. None may reach an output, an error, a
``repr``, a file, or a host it is not for.
"""

from __future__ import annotations

import base64
import copy
import json
import re
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from imgsign.cli import exit_code, render
from imgsign.decision import Decision
from imgsign.errors import Denied, ImgsignError
from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, Manifest
from imgsign.reference import Digest, Reference, Repository
from imgsign.signers import KeyFormat, Kind, Signer, load_signer
from imgsign.signers.keyfile import generate, to_pem
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from imgsign.stores.destination import LayoutDestination
from imgsign.stores.locate import store_at
from imgsign.transport import Transport
from imgsign.transport.places import Place, Places
from imgsign.workflow import key_policy, pull, verify
from tests import leaks
from tests.answers import Answer, Respond, Seen
from tests.fault_matrix import Cell, cells
from tests.faults import THIEF_QUERY, Installed, install
from tests.simulator import Simulator

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = Reference.parse("registry.test/app:1")
REGISTRY, AUTH, STORAGE, MIRROR = "registry.test", "auth.registry.test", "storage.test", "mirror.test"

PASSWORD = "5ecretPassword11"
TOKEN = "5ecretToken22"
QUERY = "5ecretQuery33"
PROXY = "5ecretProxy44"
KEY = "5ecretKey55"
IDENTITY = "5ecretIdentity66"
MARK = "5ecret"  # in all of them, and in nothing else
ENCODED = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
ENCODED_IDENTITY = base64.b64encode(f"<token>:{IDENTITY}".encode()).decode()

EXIT = {"a": 0, "n": 0, "d": 1, "u": 3, "e": 3}
CELLS = tuple(cells())

DEFINITE = {
    "404",  # a definite "it is not there"
    "html", "away",  # only of referrers: a registry without that API
    "cut", "digest", "size",  # of one candidate: law 4
}  # fmt: skip
"""Faults that may end in a conclusive denial; the others are errors of the way, and never do."""


@cache
def signer() -> Signer:
    pem = to_pem(generate(Kind.ECDSA_P256), KeyFormat.PKCS8, KEY.encode()).decode()
    return load_signer("env:KEY", environ={"KEY": pem}, password=lambda what: KEY.encode())


@dataclass(slots=True)
class World:
    """A registry behind a proxy that asks for tokens and keeps its blobs at another host."""

    sim: Simulator
    image: Manifest
    child: Manifest
    has: str
    base: Path
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: int | None = None

    @classmethod
    def build(cls, has: str, base: Path) -> World:
        sim = Simulator(referrers_api="a" in has)
        child = sim.put_image("app", tag=None if "x" in has else "1")
        world = cls(sim=sim, image=put_index(sim, child) if "x" in has else child, child=child, has=has, base=base)
        formats = tuple(name for letter, name in (("b", "bundle"), ("s", "simple")) if letter in has)
        if formats:
            store = sim.store("app")
            sign([NAME], signer(), SignOptions(formats=formats), locate=lambda r: store, now=NOW)
        if "m" in has:
            mirror = Simulator(MIRROR, referrers_api="a" in has)
            mirror.content = copy.deepcopy(sim.content)
            sim.site(MIRROR, mirror._answer)
        sim.require_token(users={"alice": PASSWORD})
        sim.identity_tokens = {IDENTITY}
        sim.wrap(r"^[A-Z]+ https://auth\.registry\.test/", world._mark_token)
        sim.respond(r"^GET https://registry\.test/.*/blobs/", world._to_storage)
        sim.site(STORAGE, world._store)
        sim.requests_seen.clear()
        return world

    def _mark_token(self, seen: Seen, normally: Respond) -> Answer:
        """Give the token a name that can be searched for."""
        answer = normally(seen)
        if answer.status != 200:
            return answer
        document = json.loads(answer.body)
        name = "token" if "token" in document else "access_token"
        token = f"{TOKEN}-{document[name]}"
        self.sim.tokens[token] = self.sim.tokens.pop(document[name])
        return Answer(headers=answer.headers, body=json.dumps({**document, name: token}).encode())

    def _to_storage(self, seen: Seen) -> Answer:
        digest = seen.path.rpartition("/")[2]
        return Answer(status=307, headers=(("Location", f"https://{STORAGE}/{digest}?X-Amz-Signature={QUERY}"),))

    def _store(self, seen: Seen) -> Answer:
        raw = self.sim.repository("app").blobs.get(seen.path.removeprefix("/"))
        if raw is None or seen.query != {"X-Amz-Signature": [QUERY]}:
            return Answer(status=404)
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        if not start:
            return Answer(body=raw)
        headers = (("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}"),)
        return Answer(status=206, headers=headers, body=raw[start:])

    def transport(self) -> Transport:
        config = self.base / "docker" / "config.json"
        config.parent.mkdir(exist_ok=True)
        entry = {"identitytoken": IDENTITY} if "o" in self.has else {"auth": ENCODED}
        config.write_text(json.dumps({"auths": {REGISTRY: entry}}))
        environ = {"DOCKER_CONFIG": str(config.parent), "HTTPS_PROXY": f"http://bob:{PROXY}@proxy.test:3128"}
        return self.sim.transport(environ=environ)

    def pattern(self, cell: Cell) -> str:
        values = {"IMAGE": self.image.digest, "CHILD": self.child.digest, "CONFIG": _CONFIG}
        values["LAYER"] = self.child.layers[0].digest
        return re.sub("IMAGE|CHILD|LAYER|CONFIG", lambda m: str(values[m[0]]), cell.pattern)

    def run(self, cell: Cell) -> str:
        """Run a cell's command; return the letter of its outcome and keep all texts."""
        transport = self.transport()
        store = self.store(transport)
        try:
            letter = self._command(cell.command.split()[0], store)
        except ImgsignError as e:
            self.texts += ["".join(traceback.format_exception(e)), repr(vars(e)), f"error: {e.message}\nhint: {e.hint}"]
            letter = "e"
            if isinstance(e, Denied):
                letter = self._judged(e.decision)
            self.code = exit_code(e)
        self.texts += self.notes
        if letter == "a" and self.notes:
            letter = "n"
        self.texts += [*leaks.texts(transport), *leaks.texts(store), *leaks.texts(signer())]
        return letter

    def store(self, transport: Transport) -> Store:
        own = Place(repository=Repository(REGISTRY, "app"))
        mirror = Place(repository=Repository(MIRROR, "app"), source="registries.conf")
        places = Places(registry=own, primary=own, mirrors=(mirror,) if "m" in self.has else ())
        return store_at(places, transport, self.notes.append)

    def _command(self, command: str, store: Store) -> str:
        policy, trust = key_policy([signer().public_key])
        if command.startswith("sign"):
            options = SignOptions(formats=("simple",) if command == "sign-simple" else ("bundle",))
            for made in sign([NAME], signer(), options, locate=lambda r: store, now=NOW):
                self.texts += [repr(made), render.signed_text(made, "", dry_run=False)]
            return "a"
        if command == "pull":
            place = LayoutDestination(self.base / "layout", "1")
            return self._judged(pull(NAME, policy, trust, place, locate=lambda r: store, now=NOW))
        name = NAME.at(self.image.digest) if command == "verify-pinned" else NAME
        return self._judged(verify(name, policy, trust, locate=lambda r: store, now=NOW))

    def _judged(self, decision: Decision) -> str:
        _, trust = key_policy([signer().public_key])
        shown = render.document([render.decision_json("ref", decision, trust)])
        self.texts += [render.decision_text(decision, trust), shown, repr(decision)]
        return {"allowed": "a", "denied": "d", "undecided": "u"}[render.decision_word(decision)]


_CONFIG = EMPTY_CONFIG.descriptor.digest


def put_index(sim: Simulator, child: Manifest) -> Manifest:
    """Store an index of two platforms, the first of which is ``child``."""
    children = ((child, "amd64"), (sim.put_image("app", salt="arm"), "arm64"))
    entries = [{**m.descriptor.to_json(), "platform": {"os": "linux", "architecture": a}} for m, a in children]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    sim.put_manifest("app", raw, OCI_INDEX, tag="1")
    return Manifest.parse(raw, OCI_INDEX)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(cell: Cell, tmp_path: Path) -> None:
    world = World.build(cell.has, tmp_path)
    fault = install(world.sim, cell.fault, world.pattern(cell), once=cell.command.endswith("once"))
    outcome = world.run(cell)
    text = "\n".join(world.texts)
    assert (outcome, text if outcome != cell.outcome else "") == (cell.outcome, "")
    assert world.code in (None, EXIT[outcome])
    assert cell.phrase in text
    assert cell.least <= fault.hits <= cell.most
    if outcome == "d":
        assert cell.fault in DEFINITE
    check_secrets(world, fault, text)
    check_files(world, pulled=cell.command.startswith("pull") and outcome in "an")
    if cell.command.startswith("sign") and outcome == "a":
        check_signed(world)
    elif cell.command == "sign" and "x" in cell.has:
        check_index_is_unsigned(world)


def check_secrets(world: World, fault: Installed, text: str) -> None:
    """No secret in any text or file, and at each host only the one that is for it."""
    written = [p.read_bytes() for p in world.base.rglob("*") if p.is_file() and p.name != "config.json"]
    for where in (text, b"\n".join(written).decode("latin-1")):
        assert MARK not in where
        assert ENCODED not in where
        assert ENCODED_IDENTITY not in where
    for seen in world.sim.requests_seen:
        sent = f"{seen.url}\n{seen.headers}\n{seen.body!r}"
        allowed = {
            REGISTRY: (TOKEN,),
            AUTH: (ENCODED, ENCODED_IDENTITY, IDENTITY),
            STORAGE: (QUERY,),
        }.get(seen.host, (THIEF_QUERY,))
        for own in allowed:
            sent = sent.replace(own, "")
        assert MARK not in sent, seen
        assert ENCODED not in sent, seen
        assert ENCODED_IDENTITY not in sent, seen
    assert all(s.authorization is None for s in fault.thief)


def check_files(world: World, *, pulled: bool) -> None:
    """A layout lists complete images only, and none that was not allowed."""
    layout = world.base / "layout"
    if not (layout / "index.json").exists():
        assert not pulled
        assert not (layout / "oci-layout").exists()
        return
    listed = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert bool(listed) is pulled
    for entry in listed:
        manifest = Manifest.parse(blob(layout, entry["digest"]), entry["mediaType"])
        for descriptor in (*manifest.layers, *([manifest.config] if manifest.config else [])):
            assert len(blob(layout, str(descriptor.digest))) == descriptor.size
    if pulled:
        assert str(world.image.digest) in {entry["digest"] for entry in listed}


def blob(layout: Path, digest: str) -> bytes:
    raw = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
    assert str(Digest.of(raw)) == digest
    return raw


def check_signed(world: World) -> None:
    """What was reported as signed verifies once the fault has gone."""
    world.sim._faults.clear()
    world.sim._authorize = lambda seen, name: None
    policy, trust = key_policy([signer().public_key])
    store = world.sim.store("app")
    assert verify(NAME, policy, trust, locate=lambda r: store, now=NOW).allowed


def check_index_is_unsigned(world: World) -> None:
    """An index whose child could not be signed was not signed either: the index is last."""
    manifests = world.sim.repository("app").manifests.values()
    subject = f'"subject":{{"mediaType":"{OCI_INDEX}"'.encode()
    assert not [raw for _, raw in manifests if subject in raw.replace(b" ", b"")]


def test_the_matrix_is_as_large_as_it_should_be() -> None:
    assert len(CELLS) >= 400
    assert len({str(c) for c in CELLS}) == len(CELLS)
    assert {c.command.split()[0].partition("-")[0] for c in CELLS} == {"sign", "verify", "pull"}


def test_every_outcome_occurs_often_enough_to_mean_something() -> None:
    counted = Counter(c.outcome for c in CELLS)
    assert counted["a"] > 100
    assert counted["u"] > 80
    assert counted["e"] > 200
    assert counted["d"] > 10


def test_without_faults_each_command_ends_well(tmp_path: Path) -> None:
    for number, (command, has) in enumerate([("verify", "ab"), ("pull", "ab"), ("sign", "a"), ("sign-simple", "")]):
        (tmp_path / str(number)).mkdir()
        world = World.build(has, tmp_path / str(number))
        letter = world._command(command, world.store(world.transport()))
        assert letter == "a"
        assert any(s.host == AUTH for s in world.sim.requests_seen)
        assert {str(p) for p in world.sim.proxies if p} == {str({"https": f"http://bob:{PROXY}@proxy.test:3128"})}
