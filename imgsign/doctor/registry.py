"""What one registry answers: way, TLS, challenge, clock, image, limits, and how signatures are found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from imgsign.doctor.finding import Finding, State, bad
from imgsign.doctor.tls import tls, tls_files
from imgsign.errors import AuthenticationFailed, ImgsignError, NotFound, RegistryError
from imgsign.evaluate import CLOCK_SKEW
from imgsign.oci import MANIFEST_TYPES, Manifest
from imgsign.reference import Digest, Reference
from imgsign.stores.manifests import Manifests
from imgsign.stores.referrers import list_from_api, list_referrers
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Access, Request
from imgsign.transport.challenge import parse_challenges
from imgsign.transport.hosts import Proxies, is_loopback
from imgsign.wire import printable, redact

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.places import Place

_HEADER_LIMIT = 100  # characters shown of a header
_RATE_HEADERS = ("ratelimit-limit", "ratelimit-remaining", "docker-ratelimit-source", "retry-after")


def ping(place: Place) -> Request:
    """Ask whether a place speaks the protocol."""
    return Request(
        repository=place.repository, target="/v2/", what="/v2/", access=Access.NONE, expect=frozenset({200, 401})
    )


class Examined:
    """The registry itself; made for :meth:`examine`, once."""

    def __init__(
        self, place: Place, name: Reference, transport: Transport, environ: Mapping[str, str], now: datetime
    ) -> None:
        self._place = place
        self.name = name
        self.digest: Digest | None = None
        """Of the image, once :meth:`examine` has seen it."""
        self._transport = transport.at(place)
        self._environ = environ
        self._now = now
        self._store = RemoteStore(place.repository, self._transport)

    def examine(self) -> list[Finding]:
        """Go as far as it answers."""
        found: list[Finding] = []
        try:
            found.append(self._address())
            found += tls_files("tls files", self._place, self._transport, self._environ)
            found += self._answer()
        except RegistryError as e:
            return [*found, bad("registry", e)]
        image, about = self._image()
        found += about
        if image is not None:
            self.digest = image.digest
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
        with self._transport.open(ping(self._place)) as body:
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
        name = self.name
        what = name.digest if name.digest is not None else name.tag or "latest"
        try:
            image = self._store.fetch(what)
        except AuthenticationFailed as e:
            return None, [bad("pull", e)]
        except NotFound as e:
            hint = e.hint or "check repository and tag; some registries say this to who may not pull"
            absent = Finding(label="image", text=printable(e.message), state=State.BAD, hint=hint)
            return None, [Finding(label="pull", text="not refused"), absent]
        except ImgsignError as e:
            return None, [bad("image", e)]
        return image, [
            Finding(label="pull", text="granted"),
            Finding(label="image", text=f"{image.digest}, {image.descriptor.media_type}"),
        ]

    def _rate(self) -> Finding:
        """Ask by HEAD, which counts as no pull at Docker Hub."""
        what = self.name.digest or self.name.tag
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
            return bad("referrers", e)
        if problems:
            return bad("referrers", problems[0])
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
            return bad(".sig tag", e)
        return Finding(label=".sig tag", text=f"present, {len(found.layers)} signatures")


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
