"""``imgsign-containerd``: containerd's image verifier plug-in.

containerd runs it for every pull, after a name was resolved and before content is fetched, with the
arguments and the standard input of :mod:`imgsign.node.question`. Its exit code is the verdict:

    0    allowed
    1    denied, conclusively
    2    these are not the arguments of a verifier
    3    could not decide: configuration, registry, no time left
    70   internal error

containerd pulls only after a 0. It shows the reason, at most :data:`REASON_LIMIT` bytes of standard
output, in the pod's event; its first line stands for itself.

- *The digest judged is the digest given.* The image is fetched by it; the tag of the name only names.
- *Scope first, network second*: what a scope rejects or accepts unsigned costs no request.
- *The plug-in ends itself* when the time of its configuration is over, whatever it waits for, and says so.
  containerd would kill it after ten seconds, and a killed verifier cannot say why.
- *One verdict a process.* Whoever comes first, judgement or deadline, speaks and ends the process.
- *Nothing is written*: a SIGKILL at any instant leaves nothing behind.

It sees no pod, no namespace and none of the pod's credentials; those are in its configuration. Images that
are on the node already, or are imported, are not shown to it.

By hand: ``imgsign-containerd --install DIR [--config FILE]`` puts the launcher into containerd's
``bin_dir``, ``--check`` reads configuration and policy and says what is wrong with them.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()  # before the other imports, which take time as well

import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, NoReturn  # noqa: E402

from imgsign.cli import INTERNAL, INTERRUPTED, OK, UNDECIDED, USAGE, exit_code  # noqa: E402
from imgsign.errors import ContentMismatch, ImgsignError, UsageError  # noqa: E402
from imgsign.node.config import CONFIG, LONGEST_TIMEOUT, NodeConfig, load_config  # noqa: E402
from imgsign.wire import printable, quote  # noqa: E402

if TYPE_CHECKING:
    from imgsign.decision import Decision
    from imgsign.node.question import Question
    from imgsign.policy.model import Policy
    from imgsign.trust import TrustStore

REASON_LIMIT = 32_768
"""Bytes that containerd reads of standard output (``outputLimitBytes``)."""

MARGIN = 0.5
"""Seconds between the last moment of a request and that of the process, to say what was found by then."""

THREADS = 8  # requests under way at once

_HELP = """\
Usage: imgsign-containerd -name NAME -digest DIGEST -stdin-media-type TYPE   (run by containerd)
       imgsign-containerd --install DIR [--config FILE]
       imgsign-containerd --check [--config FILE]

  containerd's image verifier plug-in: judges each image that is pulled by a key policy.

  --install DIR  Put a launcher into DIR, containerd's bin_dir. Its default is
                 /opt/containerd/image-verifier/bin.
  --check        Read the configuration and the policy, and judge nothing.
  --config FILE  The configuration. Default: {config}

Exit codes: 0 allowed or done · 1 denied · 2 usage · 3 could not decide · 70 internal error.
containerd pulls only after a 0. 'imgsign doctor --containerd' says whether it asks at all.
"""


class Voice:
    """Says one verdict and ends the process; who comes second says nothing."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._lock = threading.Lock()

    def end(self, code: int, reason: str) -> NoReturn:
        """Write the reason and end the process with the code, without dismantling the interpreter."""
        self._lock.acquire()  # never released: the process ends here
        left = shorten(reason)
        try:
            while left:
                left = left[os.write(1, left) :]
        except OSError:
            pass  # nobody listens: the verdict is the exit code
        os._exit(code)

    def end_at(self, moment: float, reason: str) -> None:
        """End as undecided at a time of ``time.monotonic``, whatever the process is waiting for."""
        timer = threading.Timer(max(0.0, moment - time.monotonic()), self.end, (UNDECIDED, reason))
        timer.daemon = True
        timer.start()


def run() -> NoReturn:
    """Be the process."""
    arguments = sys.argv[1:]
    voice = Voice()
    word = "error"
    try:
        config = _take_config(arguments)
        if _is_typed(arguments):
            code, reason = _by_hand(arguments, config)
        else:
            word = "undecided"
            code, reason = answer(arguments, config, voice)
    except KeyboardInterrupt:
        voice.end(INTERRUPTED, "interrupted")
    except ImgsignError as e:
        hint = "" if e.hint is None else f"\nhint: {printable(e.hint)}"
        voice.end(exit_code(e), f"{word}: {printable(e.message)}{hint}")
    except Exception as e:  # noqa: BLE001  # the last net: an uncaught exception must never look like a verdict
        voice.end(INTERNAL, f"internal error: {type(e).__name__}: {printable(str(e))}")
    voice.end(code, reason)


def answer(arguments: Sequence[str], config_file: Path, voice: Voice) -> tuple[int, str]:
    """Judge what containerd asks about; the exit code and the reason.

    Raises:
        ImgsignError: nothing could be judged.
    """
    from imgsign.admission.judgement import Judgement
    from imgsign.node.question import DESCRIPTOR_LIMIT, parse_arguments, parse_descriptor
    from imgsign.policy.model import Reject

    slow = "undecided: not even the configuration was read in time"
    voice.end_at(STARTED + LONGEST_TIMEOUT, slow)
    reference = parse_arguments(arguments)
    config = load_config(config_file)
    seconds = f"{config.timeout:.0f} s"
    voice.end_at(STARTED + config.timeout, f"undecided {reference}: no verdict within {seconds}, so nothing is pulled")
    question = parse_descriptor(sys.stdin.buffer.read(DESCRIPTOR_LIMIT + 1), reference)
    policy, trust = _load(config)
    rule = policy.rule_for(reference.repository)
    if not rule.needs_evidence and not any(isinstance(r, Reject) for r in rule.require):
        # Such an image, the pause image above all, starts without a registry's answer and without its credentials.
        accepted = Judgement.unsigned(str(reference), rule)
        return OK, f"allowed {reference}  scope {rule.scope or '(default)'}  {accepted.message}"
    decision = judge(question, config, policy, trust)
    return _code(decision), explain(decision, trust)


def judge(question: Question, config: NodeConfig, policy: Policy, trust: TrustStore) -> Decision:
    """Judge the image with the digest that was given.

    Raises:
        RegistryError: the image itself could not be read, or is not what containerd takes it for.
    """
    from concurrent.futures import ThreadPoolExecutor
    from datetime import UTC, datetime

    from imgsign.gather import GATE_LIMITS
    from imgsign.stores.locate import Registries
    from imgsign.workflow import verify

    locate = Registries(
        environment(config),
        insecure_http=config.insecure_http,
        trusted_realms=config.trusted_realms,
        deadline=STARTED + config.timeout - MARGIN,
        mirrors=config.mirrors,
        ca=config.ca,
        note=lambda text: print(f"note: {printable(text)}", file=sys.stderr),
    )
    pool = ThreadPoolExecutor(max_workers=THREADS)  # never joined: the process ends when the verdict is known
    now = datetime.now(UTC)
    decision = verify(question.reference, policy, trust, locate=locate, now=now, pool=pool, limits=GATE_LIMITS)
    if (manifest := decision.image.manifest) is not None:
        found, told = manifest.descriptor, question.descriptor
        if (found.digest, found.media_type, found.size) != (told.digest, told.media_type, told.size):
            # containerd reads the content by what it was told: the same bytes must not be two things.
            raise ContentMismatch(
                f"{question.reference} is {quote(found.media_type)} of {found.size} bytes; "
                f"containerd was told {quote(told.media_type)} of {told.size} bytes"
            )
    return decision


def environment(config: NodeConfig) -> dict[str, str]:
    """containerd's environment with the configuration's logins; ``IMGSIGN_*`` decides nothing here."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("IMGSIGN_")}
    if config.docker_config is not None:
        environ["DOCKER_CONFIG"] = config.docker_config
        environ.pop("DOCKER_AUTH_CONFIG", None)
    return environ


def explain(decision: Decision, trust: TrustStore) -> str:
    """The reason: for a denial a first line that stands for itself, then every signature and why not."""
    from imgsign.cli.render import decision_text

    head, *rest = decision_text(decision, trust).splitlines()
    if decision.allowed:
        return head
    summaries = [f"{c.group}: {c.message}" for c in decision.checks if c.about == c.group and not c.passed]
    faults = [f"{f.about}: {f.message}" for f in decision.faults]
    why = printable("; ".join([*summaries, *faults]), limit=600)
    if len(summaries) == 1:
        rest = [line for line in rest if line.strip() != summaries[0]]  # the first line says it
    return "\n".join([f"{head}: {why}" if why else head, *rest])


def shorten(reason: str) -> bytes:
    """At most :data:`REASON_LIMIT` bytes, cut at the end of a line if there is one."""
    raw = reason.encode("utf-8", "backslashreplace") + b"\n"
    if len(raw) <= REASON_LIMIT:
        return raw
    mark = "…\n".encode()
    cut = raw[: REASON_LIMIT - len(mark)].decode("utf-8", "ignore")
    whole, newline, _ = cut.rpartition("\n")
    return (whole + newline if newline else cut).encode() + mark


def _code(decision: Decision) -> int:
    if decision.allowed:
        return OK
    return UNDECIDED if decision.inconclusive else 1


def _load(config: NodeConfig) -> tuple[Policy, TrustStore]:
    from imgsign.load import load_policy

    return load_policy(config.policy, environ=environment(config))


def _take_config(arguments: list[str]) -> Path:
    """Take ``--config FILE`` out of the arguments; the launcher puts it first, and containerd has no such option."""
    if not _is_typed(arguments) or "--config" not in arguments:
        return Path(CONFIG)
    at = arguments.index("--config")
    if at + 1 >= len(arguments):
        raise UsageError("--config needs a file")
    path = Path(arguments[at + 1])
    if not path.is_absolute():
        raise UsageError(f"--config {quote(str(path))} is not an absolute path")
    del arguments[at : at + 2]
    return path


def _is_typed(arguments: Sequence[str]) -> bool:
    """Whether a person typed this: containerd's arguments have one dash."""
    return not arguments or arguments[0].startswith("--")


def _by_hand(arguments: Sequence[str], config_file: Path) -> tuple[int, str]:
    match list(arguments):
        case [] | ["--help"]:
            return OK if arguments else USAGE, _HELP.format(config=CONFIG).rstrip()
        case ["--version"]:
            from imgsign import __version__

            return OK, f"imgsign-containerd {__version__}"
        case ["--check"]:
            return OK, _checked(config_file)
        case ["--install", directory]:
            return OK, _install(Path(directory), config_file)
    raise UsageError(f"no such options: {' '.join(quote(a) for a in arguments[:8])}", hint="imgsign-containerd --help")


def _checked(config_file: Path) -> str:
    config = load_config(config_file)
    policy, _ = _load(config)
    return f"ok {config_file}  policy {config.policy} with {len(policy.scopes)} scopes  timeout {config.timeout:.0f}s"


def _install(directory: Path, config_file: Path) -> str:
    """Install nothing that would only fail: configuration and policy must be readable first."""
    from imgsign.node.launcher import Launcher, install

    checked = _checked(config_file)
    path = install(directory, Launcher(python=sys.executable, config=str(config_file)))
    return f"{checked}\ninstalled {path}\nhint: imgsign doctor --containerd"
