"""What a registry, the way to it and this machine's configuration look like from here, for one image.

One page for the person whose pipeline is red, made to be pasted into a ticket: every line is a
:class:`Finding` of label, text, state and next step. It holds no secret: of credentials only where they
are from, of URLs origin and path, of challenges the scheme and the host; what a registry says in words
has gone through ``printable``.

Only reads. So whether a registry answers ``OCI-Subject`` to a push without listing it afterwards cannot
be seen; what such a one leaves behind can: entries under the fallback tag that its own API lacks.

The order is that of a verification. What cannot be told since an earlier step failed is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from imgsign.doctor.finding import Finding, State, bad
from imgsign.doctor.mirrors import mirrors
from imgsign.doctor.registry import Examined
from imgsign.errors import ImgsignError, RegistryError
from imgsign.reference import Reference
from imgsign.transport.credentials import Credentials
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.config.host_files import HostFiles

__all__ = ["Finding", "State", "examine", "is_healthy"]


def examine(
    reference: Reference, *, transport: Transport, hosts: HostFiles, environ: Mapping[str, str], now: datetime
) -> tuple[Finding, ...]:
    """Look at everything a verification of this image would need; raises for nothing that a registry does."""
    findings = [Finding(label="name", text=str(reference.tag_or_latest()))]
    findings.append(_credentials(reference, environ, transport))
    try:
        places = hosts.places(reference.repository)
    except ImgsignError as e:
        return (*findings, bad("hosts", e))
    files = ", ".join(quote(f) for f in hosts.read) or "none"
    findings.append(Finding(label="host files", text=files))
    registry = Examined(places.primary, reference.tag_or_latest(), transport, environ, now)
    about_registry = registry.examine()  # before the mirrors, which are compared with it
    findings += mirrors(places, registry, environ, transport)
    return (*findings, *about_registry)


def is_healthy(findings: tuple[Finding, ...]) -> bool:
    """Whether all that is needed works."""
    return all(f.state is not State.BAD for f in findings)


def _credentials(reference: Reference, environ: Mapping[str, str], transport: Transport) -> Finding:
    """Say where the credentials are from; never what they are."""
    known = Credentials(environ)
    repository = reference.repository
    try:
        found = known.find(repository.registry, repository.path, left=transport.left())
    except RegistryError as e:
        return bad("credentials", e)
    if found is not None:
        return Finding(label="credentials", text=f"{found.kind.value} from {printable(found.source)}")
    where = known.places or "nowhere: neither DOCKER_CONFIG nor HOME is set"
    return Finding(
        label="credentials",
        text=f"none for {repository.registry}; looked in {where}",
        state=State.NOTE,
        hint=f"if it asks for some: imgsign login {repository.registry}",
    )
