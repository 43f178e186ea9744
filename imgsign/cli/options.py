"""Options that several commands share, and what they turn into.

Every option with a harmless value may come from an ``IMGSIGN_*`` variable; nothing that weakens a
verdict or where secrets go (``--insecure-http``, ``--trusted-realm``, ``--name unsafe-any``) may.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.errors import InvalidReference, Malformed, UsageError
from imgsign.reference import DOCKER_HUB, Reference
from imgsign.wire import parse_duration, quote

if TYPE_CHECKING:
    from imgsign.policy.model import Policy
    from imgsign.resolve import Target
    from imgsign.stores import Locate
    from imgsign.stores.locate import Registries
    from imgsign.trust import TrustStore

SYSTEM_POLICY = "/etc/imgsign/policy.toml"
LINES_LIMIT = 100_000  # references on standard input
LINE_LIMIT = 4096  # characters of one of them
TIMEOUT = "5m"  # a pipeline step that waits longer has long been given up by whoever watches it
PULL_TIMEOUT = "1h"  # 20 GB at 50 Mbit/s; an interrupted pull into a layout goes on where it ended

References = Annotated[
    list[str],
    typer.Argument(
        metavar="REF…",
        help="registry/repo:tag, repo@sha256:…, or both; or oci:DIR[:TAG] for an OCI layout.",
        show_default=False,
    ),
]
OptionalReferences = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF…",
        help="registry/repo:tag, repo@sha256:…, or both; or oci:DIR[:TAG] for an OCI layout.",
        show_default=False,
    ),
]
PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="FILE",
        envvar="IMGSIGN_POLICY",
        help=f"The key policy, TOML or JSON of the same shape. Default: {SYSTEM_POLICY}, never the working directory.",
        show_default=False,
    ),
]
InsecureHttp = Annotated[
    list[str] | None,
    typer.Option(
        "--insecure-http",
        metavar="HOST[:PORT]",
        help="Speak plain http to this registry. Loopback hosts need no flag. Repeatable.",
        show_default=False,
    ),
]
TrustedRealm = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-realm",
        metavar="HOST[:PORT]",
        help="Show credentials to this token server although it is not of the registry's domain. Repeatable.",
        show_default=False,
    ),
]
Mirror = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="[HOST[/PATH]=]MIRROR[/PATH]",
        envvar="IMGSIGN_MIRROR",
        help="Look for content and signatures here first; HOST is any registry if left out. Tags are still resolved "
        "at the registry. In place of the mirrors in this machine's configuration. Repeatable.",
        show_default=False,
    ),
]
CertificateAuthority = Annotated[
    list[str] | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        envvar="IMGSIGN_CA",
        help="PEM file of certificate authorities to trust for registries, in addition to the usual ones. Repeatable.",
        show_default=False,
    ),
]
Timeout = Annotated[
    str,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        envvar="IMGSIGN_TIMEOUT",
        help="Give up on registries after this long in all, retries included: 30s, 5m, 1h.",
    ),
]
PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        "-k",
        metavar="KEY",
        help="Instead of a policy: a public key (PEM file, inline PEM or env:NAME); one of them must have signed. "
        "Repeatable.",
        show_default=False,
    ),
]
SignedName = Annotated[
    str,
    typer.Option(
        "--name",
        metavar="exact|repository|unsafe-any",
        help="With --key: how the signed name must match. 'unsafe-any' accepts cosign's nameless signatures.",
    ),
]
SigningKey = Annotated[
    str,
    typer.Option(
        "--key",
        "-k",
        metavar="KEY",
        envvar="IMGSIGN_KEY",
        help="Private key: a file (PEM or cosign's format) or env:NAME.",
        show_default=False,
    ),
]
Annotations = Annotated[
    list[str] | None,
    typer.Option("--annotation", "-a", metavar="KEY=VALUE", help="Sign this too. Repeatable.", show_default=False),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="90d",
        envvar="IMGSIGN_EXPIRES",
        help="Valid for this long: s, m, h, d, w or y.",
        show_default=False,
    ),
]
SequenceNumber = Annotated[
    int | None,
    typer.Option(
        "--sequence",
        metavar="N",
        envvar="IMGSIGN_SEQUENCE",
        help="A number that grows with every release, for min-sequence.",
        show_default=False,
    ),
]
Identity = Annotated[
    str | None,
    typer.Option(
        "--identity",
        metavar="REF",
        help="The name of the image in oci:DIR: what is signed or compared.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="text|json", envvar="IMGSIGN_OUTPUT", help="Form of the result on standard output."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only repo@sha256:… of each image.", show_default=False)
]


def parse_reference(text: str) -> Reference:
    """Parse a typed reference; ``IMGSIGN_DEFAULT_REGISTRY`` stands in where it names no registry."""
    default = os.environ.get("IMGSIGN_DEFAULT_REGISTRY") or DOCKER_HUB
    if "://" in text:
        raise InvalidReference(f"{quote(text)} is a URL, not an image reference", hint="leave out the scheme")
    reference = Reference.parse(text, default_registry=default)
    if default != DOCKER_HUB and reference != Reference.parse(text):
        print(f"note: {text} is read as {reference} (IMGSIGN_DEFAULT_REGISTRY)", file=sys.stderr)
    return reference


def read_targets(texts: Sequence[str], locate: Locate, identity: str | None) -> list[Target]:
    """Parse typed references and layouts; ``-`` reads more from standard input, one a line, blank lines skipped."""
    found: list[Target] = []
    for text in texts:
        if text != "-":
            found.append(parse_target(text, locate, identity))
            continue
        for number, line in enumerate(sys.stdin, 1):
            if number > LINES_LIMIT or len(line) > LINE_LIMIT:
                raise UsageError(f"standard input: more than {LINES_LIMIT} lines, or a line that is too long")
            if line.strip():
                try:
                    found.append(parse_target(line.strip(), locate, identity))
                except InvalidReference as e:
                    raise InvalidReference(f"standard input line {number}: {e.message}", hint=e.hint) from e
    if not found:
        raise UsageError("no image reference was given")
    if identity is not None and len(found) != 1:
        raise UsageError("--identity names one image", hint="give one REF with it")
    return found


def parse_target(text: str, locate: Locate, identity: str | None = None) -> Target:
    """Parse one typed reference, or ``oci:DIR[:TAG]`` with the name that ``--identity`` gives it."""
    from imgsign.resolve import Target, target_of

    if not text.startswith("oci:"):
        if identity is not None:
            raise UsageError("--identity goes with oci:DIR; a registry reference is its own name")
        return target_of(parse_reference(text), locate)
    from imgsign.stores.layout import LayoutStore, parse_location  # not before it is needed: a cold command waits

    directory, tag = parse_location(text)
    store = LayoutStore(directory)
    name = None if identity is None else parse_reference(identity).tag_or_latest()
    return Target(name=name, store=store, what=tag or store.only_image(), place=str(store))


def registries(
    insecure_http: Sequence[str] | None,
    timeout: str,
    trusted_realm: Sequence[str] | None = None,
    *,
    mirror: Sequence[str] | None = None,
    ca: Sequence[str] | None = None,
    patient: bool = False,
) -> Registries:
    """Find registries by this process's environment; ``timeout`` bounds all requests of the command, from now.

    ``patient``: wait for a registry that is too busy as long as that.
    """
    from imgsign.stores.locate import Registries
    from imgsign.transport.places import MirrorOption

    for text in mirror or ():
        try:
            MirrorOption.parse(text)
        except Malformed as e:
            raise UsageError(e.message, hint=e.hint) from e
    deadline = parse_deadline(timeout)
    return Registries(
        os.environ,
        insecure_http=frozenset(insecure_http or ()),
        trusted_realms=frozenset(trusted_realm or ()),
        deadline=deadline,
        mirrors=tuple(mirror or ()),
        ca=tuple(ca or ()),
        note=lambda text: print(f"note: {text}", file=sys.stderr),
        patient=patient,
    )


def parse_deadline(timeout: str) -> float:
    """Turn ``--timeout`` into a time of ``time.monotonic``."""
    try:
        return time.monotonic() + parse_duration(timeout).total_seconds()
    except Malformed as e:
        raise UsageError(f"--timeout: {e.message}", hint="a number and a unit: 30s, 5m, 1h") from e


def choose_policy(
    policy: str | None, keys: Sequence[str] | None, name: str, *, attested: str | None = None
) -> tuple[Policy, TrustStore]:
    """Load ``--policy`` or make the policy that ``--key`` means; ``attested`` as in ``workflow.key_policy``."""
    from pathlib import Path

    from imgsign.load import load_policy, load_public_key
    from imgsign.policy.model import NameRule
    from imgsign.workflow import key_policy

    if keys:
        given = policy is not None and policy != os.environ.get("IMGSIGN_POLICY")
        if given:
            raise UsageError("--policy and --key exclude each other")
        try:
            rule = NameRule(name)
        except ValueError as e:
            choices = ", ".join(r.value for r in NameRule)
            raise UsageError(f"unknown name rule {quote(name)}", hint=f"use one of {choices}") from e
        public = [load_public_key(k, environ=os.environ, base=None) for k in keys]
        return key_policy(public, rule, attested=attested)
    if name != NameRule.EXACT.value:
        raise UsageError("--name goes with --key; a policy says it by itself")
    if policy is None and not Path(SYSTEM_POLICY).exists():
        raise UsageError("no policy was given", hint="--policy FILE, or --key KEY.pub for a single key")
    return load_policy(Path(policy or SYSTEM_POLICY), environ=os.environ)


def check_output(output: str) -> bool:
    """Return whether JSON was asked for."""
    if output not in ("text", "json"):
        raise UsageError(f"unknown output {quote(output)}", hint="use text or json")
    return output == "json"
