"""The floors of the house (design §3): what may import what, read from the sources and from running processes.

Three guards: every import of every module, lazy ones included, is compared with a table; ruff's list of
banned names is compared with what is banned here; and processes say which modules they really loaded.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import imgsign

PACKAGE = Path(imgsign.__file__).parent
ROOT = PACKAGE.parent

FLOORS: dict[str, int] = {
    "errors": 0,
    "record": 0,
    "outline": 0,
    "wire": 0,
    "claim": 1,
    "dsse": 1,
    "enveloped": 1,
    "intoto": 1,
    "keys": 1,
    "oci": 1,
    "reference": 1,
    "tagged": 1,
    "trust": 1,
    "decision": 2,
    "formats": 2,
    "platforms": 2,
    "policy": 2,
    "predicates": 2,
    "admission": 3,
    "conditions": 3,
    "admission.certificate": 4,
    "admission.metrics": 4,
    "admission.mounted": 4,
    "admission.places": 4,
    "admission.pull_secrets": 4,
    "admission.authority": 5,
    "admission.bundle": 5,
    "admission.judge": 5,
    "admission.reload": 5,
    "admission.snapshot": 5,
    "admission.admin": 6,
    "admission.listener": 6,
    "admission.server": 6,
    "admission.service": 6,
    "evaluate": 3,
    "images": 3,
    "verifications": 3,
    "where": 3,
    "gather": 4,
    "signers": 4,
    "stores": 4,
    "transport": 4,
    "attesting": 5,
    "checking": 5,
    "comparing": 5,
    "doctor": 5,
    "editing": 5,
    "evidence": 5,
    "evidence_files": 5,
    "examine": 5,
    "fleet": 5,
    "importing": 5,
    "load": 5,
    "login": 5,
    "node": 5,
    "pending": 5,
    "pinning": 5,
    "resolve": 5,
    "scanning": 5,
    "signing": 5,
    "workflow": 5,
    "__main__": 6,
    "cli": 6,
    "containerd": 6,
    "demo": 6,
}
"""Floor by module or package below ``imgsign``, as in the docstring of ``imgsign/__init__.py``.

A dotted name places one module of a package elsewhere than the package: ``admission.server``.
"""

PURE = 3  # floors 0 to 3
BANNED_WHERE_PURE = frozenset(
    (
        "logging",
        "os",
        "pathlib",
        "random",
        "requests",
        "securesystemslib",
        "socket",
        "ssl",
        "subprocess",
        "time",
        "typer",
    )
)
BANNED_CALLS = frozenset(
    ("open", "datetime.now", "datetime.datetime.now", "datetime.utcnow", "datetime.today", "date.today")
)
ONLY_IN = {"requests": "transport", "typer": "cli", "securesystemslib": "signers"}
CRYPTOGRAPHY_IN = frozenset(("keys", "formats"))  # of the pure floors

TYPING_ONLY = {("errors", "decision")}
"""Imports for the type checker that may look up: an error carries the decision it is about."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as a dotted name, and whether only the type checker sees it."""

    name: str
    line: int
    typing_only: bool


def module_name(path: Path) -> str:
    """The dotted name below ``imgsign``: ``policy.parse``; a package is named, not its ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


MODULES = {name: path for path in sorted(PACKAGE.rglob("*.py")) if (name := module_name(path))}
TREES = {name: ast.parse(path.read_bytes(), str(path)) for name, path in MODULES.items()}


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Yield every import at any depth: ``from a import b`` gives ``a.b`` if that is a module, else ``a``."""

    def walk(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, typing_only)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"relative import at line {child.lineno}"
                for alias in child.names:
                    yield Import(origin(str(child.module), alias.name), child.lineno, typing_only)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                for inner in child.body:
                    yield from walk(ast.Module([inner], []), True)
                for inner in child.orelse:
                    yield from walk(ast.Module([inner], []), typing_only)
            else:
                yield from walk(child, typing_only)

    return walk(tree, False)


def origin(module: str, name: str) -> str:
    """Where a name comes from: a submodule, or for ``from imgsign import verify`` the home of ``verify``."""
    if module == "imgsign":
        return imgsign._HOMES.get(name, f"imgsign.{name}")
    if module.startswith("imgsign.") and f"{module}.{name}".removeprefix("imgsign.") in MODULES:
        return f"{module}.{name}"
    return module


def floor_of(name: str) -> int:
    """The floor of a dotted name below ``imgsign``; a module that nobody placed is an error."""
    place = name
    while place not in FLOORS and "." in place:
        place = place.rpartition(".")[0]
    assert place in FLOORS, f"imgsign.{name} has no floor: write it into FLOORS and into the docstring of imgsign"
    return FLOORS[place]


def own_imports(name: str) -> Iterator[tuple[str, Import]]:
    for found in imports_of(TREES[name]):
        if found.name.startswith("imgsign.") and found.name != "imgsign.__version__":
            yield found.name.removeprefix("imgsign."), found


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    assert {name.partition(".")[0] for name in MODULES} == {name for name in FLOORS if "." not in name}
    assert {name for name in FLOORS if "." in name} <= set(MODULES)


def test_a_new_module_that_nobody_placed_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"imgsign\.newcomer has no floor"):
        floor_of("newcomer")


def test_the_docstring_of_the_package_shows_the_same_floors() -> None:
    shown: dict[str, int] = {}
    for line in (imgsign.__doc__ or "").splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "floor":
            for word in words[2:]:
                name = word.rstrip("/")
                if name not in FLOORS:
                    break
                shown[name] = int(words[1])
    assert shown == {name: floor for name, floor in FLOORS.items() if name != "__main__" and "." not in name}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_from_its_own_floor_or_below(name: str) -> None:
    floor = floor_of(name)
    upwards = [
        f"line {found.line}: {target} (floor {floor_of(target)})"
        for target, found in own_imports(name)
        if floor_of(target) > floor and not (found.typing_only and (name, target) in TYPING_ONLY)
    ]
    assert upwards == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith("formats.")))
def test_one_format_never_imports_another(name: str) -> None:
    assert [target for target, _ in own_imports(name) if target.startswith("formats.")] == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if floor_of(n) <= PURE))
def test_a_pure_module_imports_nothing_that_reads_the_world(name: str) -> None:
    banned = [f"line {i.line}: {i.name}" for i in imports_of(TREES[name]) if i.name.split(".")[0] in BANNED_WHERE_PURE]
    assert banned == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if floor_of(n) <= PURE))
def test_a_pure_module_opens_no_file_and_reads_no_clock(name: str) -> None:
    assert [f"line {line}: {called}" for called, line in calls(TREES[name]) if called in BANNED_CALLS] == []


@pytest.mark.parametrize("name", sorted(n for n in MODULES if floor_of(n) <= PURE))
def test_cryptography_is_used_only_for_keys_and_formats(name: str) -> None:
    used = [i.name for i in imports_of(TREES[name]) if i.name.split(".")[0] == "cryptography"]
    assert used == [] or name.partition(".")[0] in CRYPTOGRAPHY_IN


@pytest.mark.parametrize("name", sorted(n for n in MODULES if floor_of(n) == 0))
def test_the_ground_floor_needs_the_standard_library_only(name: str) -> None:
    outside = [
        i.name for i in imports_of(TREES[name]) if i.name.split(".")[0] not in {*sys.stdlib_module_names, "imgsign"}
    ]
    assert outside == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_requests_typer_and_securesystemslib_stay_in_their_package(name: str) -> None:
    strays = [
        f"line {i.line}: {i.name}"
        for i in imports_of(TREES[name])
        if (home := ONLY_IN.get(i.name.split(".")[0])) is not None and name.partition(".")[0] != home
    ]
    assert strays == []


def test_only_the_command_line_imports_by_a_computed_name() -> None:
    # Such an import escapes every other guard of this file; `imgsign/__init__` has a table of its own. `record`
    # compiles the `__init__` of records, as dataclasses does.
    dynamic = {
        name
        for name, tree in TREES.items()
        for called, _ in calls(tree)
        if called.rpartition(".")[2] in ("import_module", "__import__", "exec", "eval")
    }
    assert dynamic == {"cli", "record"}


def test_only_evaluate_holds_the_seal_of_decisions() -> None:
    # Law 1: whoever holds SEAL can make a positive decision.
    holders = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.alias) and node.name == "SEAL")
        or (isinstance(node, ast.Attribute) and node.attr == "SEAL")
        or (isinstance(node, ast.Constant) and node.value == "SEAL")
    }
    assert holders == {"evaluate"}


def test_only_evaluate_makes_decisions() -> None:
    makers = {name for name, tree in TREES.items() for called, _ in calls(tree) if called.endswith("Decision")}
    assert makers == {"evaluate"}


def test_judgements_of_reviews_are_made_in_one_module() -> None:
    # A positive one rests on a decision, or on a scope that asks for no signature: see its docstring.
    makers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (ast.unparse(node.func).endswith("Judgement") or any(k.arg == "ruling" for k in node.keywords))
    }
    assert makers == {"admission.judgement"}


@pytest.mark.parametrize("name", ["", *sorted(MODULES)])
def test_a_module_says_what_it_is(name: str) -> None:
    tree = TREES[name] if name else ast.parse((PACKAGE / "__init__.py").read_bytes())
    assert ast.get_docstring(tree)


def test_ruff_bans_the_same_names() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lint = config["tool"]["ruff"]["lint"]
    banned = set(lint["flake8-tidy-imports"]["banned-api"])
    assert banned == {*BANNED_WHERE_PURE, "datetime.datetime.now"}
    assert "TID" in lint["select"]
    assert lint["flake8-tidy-imports"]["ban-relative-imports"] == "all"


def test_ruff_exempts_no_pure_module() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    exempt = {
        glob.removeprefix("imgsign/").removesuffix("/**").removesuffix(".py").replace("/", ".")
        for glob, rules in config["tool"]["ruff"]["lint"]["per-file-ignores"].items()
        if "TID251" in rules and glob.startswith("imgsign/")
    }
    assert exempt == {name for name, floor in FLOORS.items() if floor > PURE}


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names of all modules it loaded by itself."""
    script = (
        f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def tops(modules: set[str]) -> set[str]:
    return {m.partition(".")[0] for m in modules}


def floors_of(modules: set[str]) -> set[int]:
    return {floor_of(m.removeprefix("imgsign.")) for m in modules if m.startswith("imgsign.")}


def test_evaluate_loads_only_pure_floors_and_nothing_that_reads_the_world() -> None:
    loaded = loaded_by("import imgsign.evaluate")
    assert "imgsign.evaluate" in loaded
    assert max(floors_of(loaded)) == PURE
    # `random` is loaded by cryptography, `os` and `time` by the interpreter itself.
    seen = tops(loaded) & (BANNED_WHERE_PURE | {"rich", "yaml", "click", "nacl", "http", "urllib3", "tempfile"})
    assert seen <= {"random"}
    assert "cryptography.x509" not in loaded


def test_help_loads_nothing_but_the_command_line() -> None:
    loaded = loaded_by("from imgsign.cli import main\nassert main(['--help']) == 0")
    assert {m for m in loaded if m.startswith("imgsign")} == {"imgsign", "imgsign.cli"}
    assert not tops(loaded) & {"typer", "requests", "cryptography", "securesystemslib", "rich", "yaml", "nacl"}


@pytest.mark.parametrize("command", ["verify", "pull", "check"])
def test_help_of_a_reading_command_loads_no_signers_and_no_network(command: str) -> None:
    loaded = loaded_by(f"from imgsign.cli import main\nassert main(['{command}', '--help']) == 0")
    assert f"imgsign.cli.{command}" in loaded
    assert not tops(loaded) & {"securesystemslib", "rich", "yaml", "requests", "cryptography", "nacl"}
    assert not {m for m in loaded if m.startswith(("imgsign.signers", "imgsign.signing", "imgsign.transport"))}


def test_a_rejected_image_is_judged_without_signing_code_or_network(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\ndefault = "reject"\n', "utf-8")
    arguments = ["verify", "registry.example.com/app:1", "--policy", str(policy)]
    loaded = loaded_by(f"from imgsign.cli import main\nassert main({arguments!r}) == 1")
    assert {"imgsign.evaluate", "imgsign.load"} <= loaded
    assert not tops(loaded) & {"securesystemslib", "rich", "yaml", "requests"}
    assert "imgsign.signing" not in loaded
    assert "cryptography.x509" not in loaded
