"""``imgsign admission manifests``: what an operator applies to a cluster."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import OK
from imgsign.errors import UsageError
from imgsign.wire import quote

if TYPE_CHECKING:
    from imgsign.admission.manifests import Parts
    from imgsign.admission.settings import Settings

_SETTINGS = """\
version = 1
# The policy of every namespace that names none of its own: a file of the ConfigMap imgsign-policy.
policy = "{policy}"
# enforce denies; warn lets everything through with a warning to its author; audit only writes the log.
mode = "{mode}"
{mutate}# A namespace of its own kind, by its name:
# [namespaces.playground]
# mode = "warn"
"""


def command(
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="REF", help="imgsign's own image, best by digest.", show_default=False),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", "-p", metavar="FILE", help="The key policy; its keys are written into it.", show_default=False
        ),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(
            "--settings", metavar="FILE", help="Instead: settings, whose policies lie beside them.", show_default=False
        ),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Where it runs.")] = "imgsign",
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", help="Replicas, at least.")] = 3,
    mode: Annotated[
        str, typer.Option("--mode", metavar="enforce|warn|audit", help="With --policy: what a denial means.")
    ] = "enforce",
    mutate_workloads: Annotated[
        bool, typer.Option("--mutate-workloads", help="With --policy: pin images of workload templates too.")
    ] = False,
    timeout: Annotated[int, typer.Option("--timeout", metavar="SECONDS", help="The webhooks' timeoutSeconds.")] = 10,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            "--exempt", metavar="NAMESPACE", help="Never ask about this namespace. Repeatable.", show_default=False
        ),
    ] = None,
    pull_secrets: Annotated[
        list[str] | None,
        typer.Option(
            "--pull-secrets",
            metavar="NAMESPACE",
            help="Let the webhook use the imagePullSecrets of this namespace. Repeatable.",
            show_default=False,
        ),
    ] = None,
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="Make the certificate here, for clusters without cert-manager.")
    ] = False,
    print_containerfile: Annotated[
        bool, typer.Option("--containerfile", help="Print the file that builds the image, and nothing else.")
    ] = False,
) -> int:
    """Print the Kubernetes objects of the admission webhook, with the reason for each risky choice.

    Nothing is applied: read it, keep it in version control, apply it in the two steps that it begins with.
    """
    from imgsign import __version__
    from imgsign.admission.manifests import Options, containerfile, manifests

    if print_containerfile:
        print(containerfile(__version__), end="")
        return OK
    if image is None:
        raise UsageError("no image was given", hint="build one: imgsign admission manifests --containerfile")
    parts = _parts(policy, settings, mode=mode, mutate_workloads=mutate_workloads)
    options = Options(
        namespace=namespace,
        image=image,
        replicas=replicas,
        timeout=timeout,
        exempt=tuple(exempt or ()),
        pull_secrets=tuple(dict.fromkeys(pull_secrets or ())),
        mutate_workloads=_mutates(parts),
    )
    if self_signed:
        parts = _with_certificate(parts, options.host)
        print("note: this holds a private key and ends in a year: keep it out of version control", file=sys.stderr)
    if "@" not in image:
        print(f"note: {image} is not pinned: whoever can push that tag decides what runs", file=sys.stderr)
    print(manifests(options, parts), end="")
    return OK


def _parts(policy: str | None, settings: str | None, *, mode: str, mutate_workloads: bool) -> Parts:
    """Read policies with their keys, and settings or what the options say in their place."""
    from imgsign.admission.bundle import bundle_policy
    from imgsign.admission.manifests import Parts

    if (policy is None) == (settings is None):
        raise UsageError("give either --policy or --settings")
    if policy is not None:
        if mode not in ("enforce", "warn", "audit"):
            raise UsageError(f"unknown mode {quote(mode)}", hint="use enforce, warn or audit")
        name = "policy.json" if policy.endswith(".json") else "policy.toml"
        text = _SETTINGS.format(policy=name, mode=mode, mutate="mutate-workloads = true\n" if mutate_workloads else "")
        return Parts(settings=text, policies={name: bundle_policy(Path(policy), environ=os.environ)})
    if mode != "enforce" or mutate_workloads:
        raise UsageError("--mode and --mutate-workloads go with --policy; settings say it themselves")
    return _read_settings(Path(settings or ""))


def _read_settings(path: Path) -> Parts:
    from imgsign.admission.bundle import bundle_policy
    from imgsign.admission.manifests import Parts
    from imgsign.admission.settings import SETTINGS_LIMIT
    from imgsign.signers.disk import read_file

    text = read_file(path, SETTINGS_LIMIT).decode("utf-8", "surrogateescape")
    name = "settings.json" if path.suffix == ".json" else "settings.toml"
    wanted = _parse(text, name).policies
    policies = {p: bundle_policy(path.parent / p, environ=os.environ) for p in sorted(wanted)}
    return Parts(settings=text, settings_name=name, policies=policies)


def _parse(text: str, name: str) -> Settings:
    from imgsign.admission.settings import SETTINGS_LIMIT, parse_settings
    from imgsign.errors import InvalidPolicy
    from imgsign.wire import load_json, load_toml

    raw = text.encode("utf-8", "surrogateescape")
    if name.endswith(".json"):
        return parse_settings(load_json(raw, limit=SETTINGS_LIMIT, error=InvalidPolicy))
    return parse_settings(load_toml(raw, limit=SETTINGS_LIMIT))


def _mutates(parts: Parts) -> bool:
    """Whether any namespace has its workload templates pinned, so that they have to be registered."""
    settings = _parse(parts.settings, parts.settings_name)
    return any(r.mutate_workloads for r in (settings.default, *settings.namespaces.values()))


def _with_certificate(parts: Parts, host: str) -> Parts:
    from dataclasses import replace

    from imgsign.admission.authority import make_certificate

    made = make_certificate([host, f"{host}.cluster.local"], now=datetime.now(UTC))
    return replace(parts, self_made=made)
