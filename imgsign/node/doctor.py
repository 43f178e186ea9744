"""Whether this node's containerd will really ask the plug-in about every image that Kubernetes pulls.

A verifier that is not called fails open and in silence, so doubt is bad here: what cannot be told is a
:attr:`State.BAD` finding. In the order of the way a pull takes:

1. containerd's version: CRI asks verifiers since 2.1 only.
2. Its configuration: the plug-in not switched off, and none of the options that make CRI pull by itself,
   past every verifier, with nothing but a line in containerd's log.
3. ``bin_dir``: it exists, each entry is a program, and ours is among the first ``max_verifiers``.
4. Our deadline ends before containerd's.
5. Our configuration and policy can be read, by the interpreter of the launcher; the pause image, without
   which no pod starts, has a scope.

Not seen: whether the containerd that runs is the one that is installed and has read this configuration, what
flags its service has, and images that are on the node already or are imported: nobody is asked about those.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from imgsign.doctor import Finding, State
from imgsign.errors import ImgsignError, Malformed
from imgsign.load import load_policy
from imgsign.node.config import NodeConfig, load_config
from imgsign.node.launcher import Entry, Launcher, is_open_to_others, list_entries
from imgsign.node.settings import BINDIR, CRI, IMAGES, Setting, Settings, load_settings, parse_go_duration
from imgsign.policy.model import Policy, Reject
from imgsign.record import record
from imgsign.reference import Reference
from imgsign.wire import printable, quote

BIN_DIR = "/opt/containerd/image-verifier/bin"
MAX_VERIFIERS = 10
PER_VERIFIER_TIMEOUT = 10.0
PAUSE = "registry.k8s.io/pause:3.10"  # its tag differs by release; scopes have none
START_SECONDS = 1.0  # what a cold interpreter on a busy node needs beside its own deadline

_TRANSFER = "io.containerd.transfer.v1.local"
_FIRST = (2, 1)  # version whose CRI asks verifiers
_VERSION = re.compile(r"\bv?([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})")

Run = Callable[[list[str]], str | None]
"""Runs a program and returns what it prints; ``None`` if it cannot be run or fails."""


@record(kw_only=False)
class _Switch:
    """An option of CRI that makes it pull without the transfer service, and so without verifiers."""

    plugin: str
    keys: tuple[str, ...]
    is_off: Callable[[object], bool]
    reason: str


def _is_true(value: object) -> bool:
    return value is True


def _is_false(value: object) -> bool:
    return value is False


def _is_filled(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


_SWITCHES = tuple(
    _Switch(plugin, (*prefix, *keys), is_off, reason)
    for keys, is_off, reason, nested in (
        (("use_local_image_pull",), _is_true, "set it to false", ()),
        (("disable_snapshot_annotations",), _is_false, "set it to true", ("containerd",)),
        (("discard_unpacked_layers",), _is_true, "set it to false", ("containerd",)),
        (
            ("max_concurrent_downloads",),
            lambda v: v != 3,
            f'leave it at 3, and set it in plugins."{_TRANSFER}" instead',
            (),
        ),
        (("image_pull_with_sync_fs",), _is_true, "set it to false", ()),
        (("registry", "mirrors"), _is_filled, "write hosts.toml files and set config_path", ()),
        (("registry", "configs"), _is_filled, "write hosts.toml files and set config_path", ()),
        (("registry", "auths"), _is_filled, "use imagePullSecrets or a credential provider", ()),
    )
    for plugin, prefix in ((IMAGES, ()), (CRI, nested))
)


def examine(path: Path, *, run: Run, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Look at everything; raises for nothing that a file says."""
    found = [_version(run(["containerd", "--version"]))]
    try:
        settings = load_settings(path)
        found += _files(path, settings)
        found += _switched_off(settings)
        found += _Directory.of(settings, run, environ).examine()
    except ImgsignError as e:
        found.append(_bad("config", printable(e.message), "correct it; containerd itself may not start with it"))
    except OSError as e:
        found.append(
            _bad("config", f"cannot look at {quote(str(e.filename))}: {(e.strerror or '?').lower()}", "be root")
        )
    return tuple(found)


def run_program(command: list[str]) -> str | None:
    """Run a program for at most ten seconds; its standard output, bounded, or ``None``."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout[:4096].decode("utf-8", "replace") if done.returncode == 0 else None


def _bad(label: str, text: str, hint: str | None = None) -> Finding:
    return Finding(label=label, text=text, state=State.BAD, hint=hint)


def _note(label: str, text: str, hint: str | None = None) -> Finding:
    return Finding(label=label, text=text, state=State.NOTE, hint=hint)


def _version(said: str | None) -> Finding:
    """Judge the installed program's version."""
    match = None if said is None else _VERSION.search(said)
    if match is None:
        return _bad(
            "containerd", "its version cannot be told: `containerd --version` gives none", "run this on the node"
        )
    version = tuple(int(n) for n in match.groups())
    shown = ".".join(match.groups())
    if version[0] < 2:
        return _bad("containerd", f"{shown} has no image verifiers at all", "install containerd 2.1 or newer")
    if version[:2] < _FIRST:
        return _bad(
            "containerd", f"{shown} asks verifiers, but not for Kubernetes' pulls", "install containerd 2.1 or newer"
        )
    return Finding(
        label="containerd", text=f"{shown} asks verifiers for Kubernetes' pulls (if it is the one that runs)"
    )


def _files(path: Path, settings: Settings) -> list[Finding]:
    if not settings.files:
        return [
            _note("config", f"{path} is absent: containerd's defaults", "--containerd-config FILE if it is elsewhere")
        ]
    return [Finding(label="config", text=", ".join(quote(str(f)) for f, _ in settings.files))]


def _switched_off(settings: Settings) -> list[Finding]:
    """Everything in the configuration by which no verifier is asked."""
    found = []
    reasons = {
        BINDIR: "no verifier is run at all",
        _TRANSFER: "pulls do not pass verifiers",
        IMAGES: "this containerd pulls nothing for Kubernetes",
        CRI: "this containerd pulls nothing for Kubernetes",
    }
    for setting in settings.disabled():
        if (reason := reasons.get(name := setting.node.text())) is not None:
            text = f"disabled_plugins of {setting.file} holds {name}: {reason}"
            found.append(_bad("options", text, "take it out of the list"))
    for switch in _SWITCHES:
        for setting in settings.of(switch.plugin, *switch.keys):
            if switch.is_off(setting.node.value):
                text = f"{'.'.join(switch.keys)} in {setting.file}: Kubernetes' pulls pass no verifier, silently"
                found.append(_bad("options", text, switch.reason))
    if found:
        return found
    return [Finding(label="options", text="no option takes Kubernetes' pulls past verifiers")]


@record
class _Directory:
    """``bin_dir`` and how containerd runs what is in it."""

    path: Path
    limit: int
    timeout: float
    pause: str
    run: Run
    environ: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings, run: Run, environ: Mapping[str, str]) -> _Directory:
        """Read its section; of several values of a key the worst one counts."""
        limits = [s.node.integer() for s in settings.of(BINDIR, "max_verifiers")]
        timeouts = [parse_go_duration(s.node.text()) for s in settings.of(BINDIR, "per_verifier_timeout")]
        places = {s.node.text() for s in settings.of(BINDIR, "bin_dir")}
        if len(places) > 1:
            raise Malformed(f"bin_dir is set to several directories: {', '.join(quote(p) for p in sorted(places))}")
        pauses = settings.of(IMAGES, "pinned_images", "sandbox") or settings.of(CRI, "sandbox_image")
        return cls(
            path=Path(places.pop() if places else BIN_DIR),
            limit=min((n for n in limits if n >= 0), default=-1 if limits else MAX_VERIFIERS),
            timeout=min(timeouts, default=PER_VERIFIER_TIMEOUT),
            pause=_last_text(pauses) or PAUSE,
            run=run,
            environ=environ,
        )

    def examine(self) -> Iterator[Finding]:
        """Look at each entry, and at ours in particular."""
        entries = list_entries(self.path)
        hint = f"imgsign-containerd --install {self.path}"
        if not entries:
            what = "is empty" if self.path.exists() else "is absent"
            yield _bad("bin_dir", f"{self.path} {what}: every image is allowed", hint)
            return
        if is_open_to_others(self.path.stat()):
            yield _bad("bin_dir", f"{self.path} may be written by others than root", f"chmod go-w {self.path}")
        else:
            yield Finding(label="bin_dir", text=f"{self.path}, {len(entries)} entries")
        ours = None
        for number, entry in enumerate(entries, 1):
            skipped = 0 <= self.limit < number
            yield self._entry(entry, skipped=skipped)
            if entry.launcher is not None and not skipped:
                ours = ours or (entry, entry.launcher)
        if ours is None:
            yield _bad("imgsign", f"no entry of {self.path} that containerd runs is imgsign's", hint)
            return
        yield from self._ours(*ours)

    def _entry(self, entry: Entry, *, skipped: bool) -> Finding:
        name = quote(entry.name)
        if entry.problem is not None and not skipped:
            text = f"{name} is {entry.problem}: every pull on this node fails"
            return _bad("entry", text, f"move it out of {self.path}")
        if skipped:
            say = _bad if entry.launcher is not None else _note
            return say(
                "entry", f"{name} is skipped: max_verifiers is {self.limit}", "raise it in containerd's configuration"
            )
        if entry.writable:
            return _bad("entry", f"{name} may be written by others than root", "chown root, chmod go-w")
        whose = "imgsign's" if entry.launcher is not None else "another verifier; all of them must allow"
        return Finding(label="entry", text=f"{name}: {whose}")

    def _ours(self, entry: Entry, launcher: Launcher) -> Iterator[Finding]:
        """Our own configuration, as containerd will start it."""
        try:
            config = load_config(Path(launcher.config))
            policy, _ = load_policy(config.policy, environ=self.environ)
        except ImgsignError as e:
            yield _bad("imgsign", f"every pull on this node fails: {printable(e.message)}", e.hint)
            return
        if self.run([str(self.path / entry.name), "--check"]) is None:
            text = f"{entry.name} does not start: {launcher.python} is gone or has no imgsign"
            yield _bad("imgsign", text, f"imgsign-containerd --install {self.path}")
        else:
            yield Finding(label="imgsign", text=f"{launcher.config}, policy {config.policy}")
        yield from self._open_files(launcher, config)
        yield self._deadline(config)
        yield _pause(self.pause, policy)

    def _open_files(self, launcher: Launcher, config: NodeConfig) -> Iterator[Finding]:
        for path in (Path(launcher.config), config.policy):
            if is_open_to_others(path.stat()):
                yield _bad("imgsign", f"{path} may be written by others than root", f"chmod go-w {path}")

    def _deadline(self, config: NodeConfig) -> Finding:
        text = f"imgsign's {config.timeout:g} s, containerd's {self.timeout:g} s"
        if config.timeout + START_SECONDS <= self.timeout:
            return Finding(label="deadline", text=text)
        hint = f'raise per_verifier_timeout to 10s, or set timeout = "{max(1, int(self.timeout - START_SECONDS))}s"'
        return _bad("deadline", f"{text}: containerd kills it before it can say why", hint if self.timeout else None)


def _last_text(settings: tuple[Setting, ...]) -> str:
    return settings[-1].node.text() if settings else ""


def _pause(name: str, policy: Policy) -> Finding:
    """No pod starts without the pause image."""
    try:
        reference = Reference.parse(name)
    except Malformed as e:
        return _bad("pause image", printable(e.message))
    rule = policy.rule_for(reference.repository)
    if any(isinstance(r, Reject) for r in rule.require):
        return _bad(
            "pause image",
            f"{reference.repository} is rejected by scope {rule.scope or '(default)'}: no pod starts on a new node",
            f'add [scopes."{reference.repository}"] to the policy',
        )
    kinds = ", ".join(str(r) for r in rule.require)
    return Finding(label="pause image", text=f"{reference.repository} has scope {rule.scope or '(default)'}: {kinds}")
