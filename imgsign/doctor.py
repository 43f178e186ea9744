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
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING

from imgsign.errors import AuthenticationFailed, ImgsignError, NotFound, RegistryError
from imgsign.evaluate import CLOCK_SKEW
from imgsign.oci import MANIFEST_TYPES, Manifest
from imgsign.reference import Reference
from imgsign.stores.manifests import Manifests
from imgsign.stores.referrers import list_from_api, list_referrers
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Access, Request
from imgsign.transport.challenge import parse_challenges
from imgsign.transport.credentials import Credentials
from imgsign.transport.hosts import Proxies, is_loopback
from imgsign.wire import format_time, printable, quote, redact

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.config.host_files import HostFiles
    from imgsign.transport.places import Place, Places

EXPIRES_SOON = 14  # days before its end at which a certificate is pointed at
_HEADER_LIMIT = 100  # characters shown of a header
_RATE_HEADERS = ("ratelimit-limit", "ratelimit-remaining", "docker-ratelimit-source", "retry-after")


class State(Enum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line; ``hint`` is the next step where it is not good."""

    label: str
    text: str
    state: State = State.OK
    hint: str | None = None


def examine(
    reference: Reference, *, transport: Transport, hosts: HostFiles, environ: Mapping[str, str], now: datetime
) -> tuple[Finding, ...]:
    """Look at everything a verification of this image would need; raises for nothing that a registry does."""
    findings = [Finding(label="name", text=str(reference.tag_or_latest()))]
    findings.append(_credentials(reference, environ))
    try:
        places = hosts.places(reference.repository)
    except ImgsignError as e:
        return (*findings, _bad("hosts", e))
    files = ", ".join(quote(f) for f in hosts.read) or "none"
    findings.append(Finding(label="host files", text=files))
    findings += _mirrors(places, transport)
    findings += _Registry(places.primary, reference.tag_or_latest(), transport, environ, now).examine()
    return tuple(findings)


def is_healthy(findings: tuple[Finding, ...]) -> bool:
    """Whether all that is needed works."""
    return all(f.state is not State.BAD for f in findings)


def _bad(label: str, error: ImgsignError) -> Finding:
    return Finding(label=label, text=printable(error.message), state=State.BAD, hint=error.hint)


def _credentials(reference: Reference, environ: Mapping[str, str]) -> Finding:
    """Say where the credentials are from; never what they are."""
    known = Credentials(environ)
    repository = reference.repository
    try:
        found = known.find(repository.registry, repository.path)
    except AuthenticationFailed as e:
        return _bad("credentials", e)
    if found is not None:
        return Finding(label="credentials", text=f"{found.kind.value} from {printable(found.source)}")
    where = known.places or "nowhere: neither DOCKER_CONFIG nor HOME is set"
    return Finding(
        label="credentials",
        text=f"none for {repository.registry}; looked in {where}",
        state=State.NOTE,
        hint=f"if it asks for some: imgsign login {repository.registry}",
    )


def _mirrors(places: Places, transport: Transport) -> list[Finding]:
    """Ask each mirror whether it is there; one that is not is passed over, so it is no fault."""
    found = [Finding(label="hosts", text=printable(note), state=State.NOTE) for note in places.notes]
    for number, place in enumerate(places.mirrors, 1):
        named = f"{place} (from {printable(place.source)})"
        try:
            answer = transport.at(place).call(_ping(place))
            found.append(Finding(label=f"mirror {number}", text=f"{named} answers {answer.status}"))
        except RegistryError as e:
            text = f"{named}: {printable(e.message)}"
            hint = "it is passed over, which takes time" if e.hint is None else e.hint
            found.append(Finding(label=f"mirror {number}", text=text, state=State.NOTE, hint=hint))
    return found or [Finding(label="mirrors", text="none")]


def _ping(place: Place) -> Request:
    return Request(
        repository=place.repository, target="/v2/", what="/v2/", access=Access.NONE, expect=frozenset({200, 401})
    )


class _Registry:
    """The registry itself; made for :meth:`examine`, once."""

    def __init__(
        self, place: Place, name: Reference, transport: Transport, environ: Mapping[str, str], now: datetime
    ) -> None:
        self._place = place
        self._name = name
        self._transport = transport.at(place)
        self._environ = environ
        self._now = now
        self._store = RemoteStore(place.repository, self._transport)

    def examine(self) -> list[Finding]:
        """Go as far as it answers."""
        found: list[Finding] = []
        try:
            found.append(self._address())
            found += self._answer()
        except RegistryError as e:
            return [*found, _bad("registry", e)]
        image, about = self._image()
        found += about
        if image is not None:
            found += [self._rate(), self._referrers(image), self._tag(image)]
        return found

    def _address(self) -> Finding:
        origin = self._transport.origin(self._place.repository)
        proxy = Proxies.from_environ(self._environ).find(origin)
        through = "directly" if proxy is None else f"through the proxy {redact(proxy)}"
        plain = origin.scheme == "http" and not is_loopback(origin.host)
        return Finding(
            label="address",
            text=f"{origin}, {through}",
            state=State.NOTE if plain else State.OK,
            hint="plain http: whoever is on the way can read and change everything" if plain else None,
        )

    def _answer(self) -> list[Finding]:
        """Ping: TLS, API version, challenge and clock."""
        with self._transport.open(_ping(self._place)) as body:
            peer, status, headers, scheme = body.peer, body.status, body.headers, body.origin.scheme
            body.read_error()
        found = [tls(*peer, now=self._now)] if peer is not None else []
        if scheme == "http":
            found = [Finding(label="tls", text="none: plain http", state=State.NOTE)]
        version = headers.get("docker-distribution-api-version", "not said")
        found.append(Finding(label="registry", text=f"answers {status}, API version {_short(version)}"))
        if status == 401:
            found.append(_challenge(headers.get("www-authenticate", "")))
        else:
            found.append(Finding(label="challenge", text="none: it asks nobody who they are"))
        return [*found, self._clock(headers.get("date", ""))]

    def _clock(self, date: str) -> Finding:
        try:
            said = parsedate_to_datetime(date)
        except ValueError:
            return Finding(label="clock", text="the registry does not say its time", state=State.NOTE)
        seconds = (self._now - said.replace(tzinfo=said.tzinfo or UTC)).total_seconds()
        text = f"this machine is {abs(seconds):.0f} s {'ahead of' if seconds >= 0 else 'behind'} the registry"
        if abs(seconds) <= CLOCK_SKEW.total_seconds():
            return Finding(label="clock", text=text)
        hint = "set the clock: expiry and age of signatures depend on it"
        return Finding(label="clock", text=text, state=State.BAD, hint=hint)

    def _image(self) -> tuple[Manifest | None, list[Finding]]:
        name = self._name
        what = name.digest if name.digest is not None else name.tag or "latest"
        try:
            image = self._store.fetch(what)
        except AuthenticationFailed as e:
            return None, [_bad("pull", e)]
        except NotFound as e:
            hint = e.hint or "check repository and tag; some registries say this to who may not pull"
            absent = Finding(label="image", text=printable(e.message), state=State.BAD, hint=hint)
            return None, [Finding(label="pull", text="not refused"), absent]
        except ImgsignError as e:
            return None, [_bad("image", e)]
        return image, [
            Finding(label="pull", text="granted"),
            Finding(label="image", text=f"{image.digest}, {image.descriptor.media_type}"),
        ]

    def _rate(self) -> Finding:
        """Ask by HEAD, which counts as no pull at Docker Hub."""
        what = self._name.digest or self._name.tag
        request = Request(
            repository=self._place.repository,
            method="HEAD",
            target=f"manifests/{what}",
            what=f"manifest {what} of {self._place.repository.path}",
            headers={"Accept": ", ".join(MANIFEST_TYPES)},
        )
        try:
            headers = self._transport.call(request).headers
        except RegistryError as e:
            return Finding(label="rate limit", text=printable(e.message), state=State.NOTE, hint=e.hint)
        shown = "; ".join(f"{name}: {_short(headers[name])}" for name in _RATE_HEADERS if name in headers)
        if headers.get("ratelimit-remaining", "").partition(";")[0].strip() == "0":
            hint = f"wait, or log in for a limit of your own: imgsign login {self._place.repository.registry}"
            return Finding(label="rate limit", text=shown, state=State.BAD, hint=hint)
        return Finding(label="rate limit", text=shown or "none said")

    def _referrers(self, image: Manifest) -> Finding:
        """Say whether there is the API, and what only the fallback tag lists."""
        manifests = Manifests(self._place.repository, self._transport)
        problems: list[RegistryError] = []
        try:
            listed = {d.digest for d in list_from_api(manifests, image.digest, problems)}
            everything = {d.digest for d in list_referrers(manifests, image.digest)}
        except RegistryError as e:
            return _bad("referrers", e)
        if problems:
            return _bad("referrers", problems[0])
        count = f"{len(everything)} attached"
        if self._transport.memory.lacks_referrers(self._place.repository.registry):
            return Finding(label="referrers", text=f"no API; fallback tag, {count}")
        hidden = len(everything - listed)
        if not hidden:
            return Finding(label="referrers", text=f"API, {count}")
        return Finding(
            label="referrers",
            text=f"API, {count}, {hidden} of them only under the fallback tag",
            state=State.NOTE,
            hint="it was upgraded, or says OCI-Subject and does not list; others that ask its API only miss them",
        )

    def _tag(self, image: Manifest) -> Finding:
        tag = f"{image.digest.tag}.sig"
        try:
            found = self._store.fetch(tag)
        except NotFound:
            return Finding(label=".sig tag", text="absent")
        except ImgsignError as e:
            return _bad(".sig tag", e)
        return Finding(label=".sig tag", text=f"present, {len(found.layers)} signatures")


def tls(version: str, certificate: Mapping[str, object], *, now: datetime) -> Finding:
    """Say which TLS is spoken, who vouches for the registry and until when."""
    pairs = certificate.get("issuer", ())
    names = dict(p for part in pairs for p in part) if isinstance(pairs, tuple) else {}
    issuer = names.get("organizationName") or names.get("commonName") or "(unnamed)"
    text = f"{version}, issued by {printable(str(issuer), limit=_HEADER_LIMIT)}"
    try:
        ends = datetime.strptime(str(certificate.get("notAfter")), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    except ValueError:
        return Finding(label="tls", text=text)
    text += f", until {format_time(ends)}"
    if (ends - now).days < EXPIRES_SOON:
        return Finding(label="tls", text=text, state=State.NOTE, hint="its certificate ends soon: tell its operator")
    return Finding(label="tls", text=text)


def _challenge(header: str) -> Finding:
    """Name the schemes and the token server's host; parameters are not for a ticket."""
    shown = []
    for challenge in parse_challenges(header):
        realm = challenge.parameters.get("realm", "")
        at = f" from {redact(realm)}" if challenge.scheme == "bearer" else ""
        shown.append(f"{printable(challenge.scheme, limit=_HEADER_LIMIT)}{at}")
    if shown:
        return Finding(label="challenge", text=", ".join(shown))
    text = "401 without a usable WWW-Authenticate"
    return Finding(label="challenge", text=text, state=State.BAD, hint="ask its operator")


def _short(text: str) -> str:
    return printable(text, limit=_HEADER_LIMIT)
