"""``imgsign admission serve``: the admission webhook of a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from imgsign.cli.options import CertificateAuthority, InsecureHttp, Mirror, TrustedRealm
from imgsign.errors import Malformed, UsageError
from imgsign.wire import parse_duration, printable, quote

SETTINGS = "/etc/imgsign/admission.toml"
TLS = "/etc/imgsign-tls"


def command(
    settings: Annotated[
        str | None,
        typer.Option("--settings", metavar="FILE", help=f"Namespaces, modes, policies. Default: {SETTINGS}."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", "-p", metavar="FILE", help="One policy for every namespace, without settings."),
    ] = None,
    tls: Annotated[
        str, typer.Option("--tls", metavar="DIR", help="Directory with tls.crt and tls.key, as a Secret mounts them.")
    ] = TLS,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where reviews come in, https.")] = (
        "0.0.0.0:8443"
    ),
    admin: Annotated[
        str, typer.Option("--admin", metavar="HOST:PORT", help="Probes, metrics and the decision page, plain http.")
    ] = "0.0.0.0:8080",
    page: Annotated[
        bool, typer.Option("--page", help="Show the decision page on the admin port, to loopback only.")
    ] = False,
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="DURATION", help="timeoutSeconds of the webhook configuration, 2s to 30s."),
    ] = "10s",
    ttl: Annotated[
        str, typer.Option("--ttl", metavar="DURATION", help="Remember what was allowed for at most this long.")
    ] = "10m",
    negative_ttl: Annotated[
        str, typer.Option("--negative-ttl", metavar="DURATION", help="… and what was denied, at most 1m.")
    ] = "10s",
    tag_window: Annotated[
        str,
        typer.Option("--tag-window", metavar="DURATION", help="Use what a tag was for so long; 0s asks each time."),
    ] = "0s",
    drain: Annotated[
        str, typer.Option("--drain", metavar="DURATION", help="Serve on for so long after SIGTERM.")
    ] = "20s",
    pull_secrets: Annotated[
        bool,
        typer.Option("--pull-secrets", help="Read images with the Pod's imagePullSecrets, by the Kubernetes API."),
    ] = False,
    service_account: Annotated[
        str, typer.Option("--service-account", metavar="DIR", help="Where --pull-secrets finds token and ca.crt.")
    ] = "/var/run/secrets/kubernetes.io/serviceaccount",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
) -> int:
    """Serve the admission webhook: POST /validate and /mutate over https, until SIGTERM."""
    from imgsign.admission.judge import Times
    from imgsign.admission.places import PlaceOptions
    from imgsign.admission.server import Options, serve
    from imgsign.transport.places import MirrorOption

    if settings is not None and policy is not None:
        raise UsageError("--settings and --policy exclude each other", hint="settings name their policies")
    for text in mirror or ():
        try:
            MirrorOption.parse(text)
        except Malformed as e:
            raise UsageError(e.message, hint=e.hint) from e
    host, port = _address("--listen", listen)
    admin_host, admin_port = _address("--admin", admin)
    review = _seconds("--timeout", timeout, low=2, high=30)
    times = Times(
        ttl=_seconds("--ttl", ttl, low=1, high=86_400),
        negative_ttl=_seconds("--negative-ttl", negative_ttl, low=0, high=60),
        tag=_seconds("--tag-window", tag_window, low=0, high=3600),
        gather=review - 1,
    )
    options = Options(
        source=Path(policy or settings or SETTINGS),
        is_policy=policy is not None,
        certificate=Path(tls) / "tls.crt",
        key=Path(tls) / "tls.key",
        host=host,
        port=port,
        admin_host=admin_host,
        admin_port=admin_port,
        page=page,
        timeout=review,
        times=times,
        drain=_seconds("--drain", drain, low=0, high=300),
        places=PlaceOptions(
            insecure_http=frozenset(insecure_http or ()),
            trusted_realms=frozenset(trusted_realm or ()),
            mirrors=tuple(mirror or ()),
            ca=tuple(ca or ()),
        ),
        pull_secrets=Path(service_account) if pull_secrets else None,
    )
    return serve(options, dict(os.environ), _log)


def _log(text: str) -> None:
    print(printable(text, limit=4096), file=sys.stderr, flush=True)


def _address(option: str, text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(f"{option} is no HOST:PORT: {quote(text)}", hint=f"{option} 0.0.0.0:8443")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return host or "0.0.0.0", int(port)  # noqa: S104  # ":8443" means every address, as everywhere


def _seconds(option: str, text: str, *, low: float, high: float) -> float:
    try:
        found = 0.0 if text in ("0", "0s") else parse_duration(text).total_seconds()
    except Malformed as e:
        raise UsageError(f"{option} is {e.message}", hint=e.hint) from e
    if not low <= found <= high:
        raise UsageError(f"{option} is {text}, and may be {low:g} to {high:g} seconds")
    return found
