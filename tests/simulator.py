"""A registry in memory behind requests' adapter interface: no socket, a clock that only sleeping moves.

It speaks distribution-spec v1.1.1 as docker-registry 2.8.2 does (404 for what is not accepted, blobs and
children must exist before a manifest), optionally with the referrers API, and challenges with Bearer or
Basic. On top of that it can be told to fail and to lie::

    sim = Simulator()                                   # or Simulator(referrers_api=False)
    store = sim.store("app")                            # a RemoteStore at registry.test/app
    image = sim.put_image("app", tag="1")
    sim.fail(r"GET .*/manifests/1$", 503, times=2)      # the third try succeeds
    sim.alter(r"/blobs/", lambda a: a.with_header("Content-Encoding", "gzip"))

Patterns are searched in ``METHOD url``. The newest fault that matches answers, and what it alters is what the
older ones answer; each counts its own ``times``.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import BaseAdapter

from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from imgsign.reference import Digest, Repository
from imgsign.stores.remote import RemoteStore
from imgsign.transport import Transport
from tests.answers import Answer, Clock, Respond, Seen, Trickle, Zeros, error_answer, json_answer, to_response

PUSHED = "application/octet-stream"


@dataclass(slots=True)
class Fault:
    """Something wrong with the requests a pattern matches; ``left`` is ``None`` for always."""

    pattern: re.Pattern[str]
    left: int | None
    respond: Callable[[Seen, Respond], Answer]


@dataclass(slots=True)
class Content:
    """What one repository holds; manifests are (media type, bytes) by digest."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    listed: dict[str, list[object]] = field(default_factory=dict)


class Simulator(BaseAdapter):
    """One registry, and whatever other hosts a test adds by :meth:`site`.

    Public knobs: ``referrers_api``, ``page_size`` (referrers a page), ``lag`` (listings answered empty),
    ``oci_subject`` (whether PUT claims to list; ``True`` without the API is a lie), ``latency`` (seconds
    a request takes), ``endless_pages``, ``tag_is_digest`` (GitLab's reading of fallback tags), ``mounts`` blobs
    of other repositories, ``deletes`` manifests. Of
    the token server: ``identity_tokens`` it takes, ``gives_identity`` (the one it gives to whoever logs in),
    ``refuses_post`` (its status for every POST).
    """

    def __init__(self, host: str = "registry.test", *, referrers_api: bool = True) -> None:
        super().__init__()
        self.host = host
        self.referrers_api = referrers_api
        self.oci_subject = referrers_api
        self.page_size: int | None = None
        self.lag = 0
        self.latency = 0.0
        self.endless_pages = False
        self.tag_is_digest = False
        self.mounts = True
        self.deletes = True
        self.clock = Clock()
        self.requests_seen: list[Seen] = []
        self.timeouts: list[object] = []
        self.proxies: list[Mapping[str, str]] = []
        self.content: dict[str, Content] = {}
        self.tokens: dict[str, set[str]] = {}
        self.token_lifetime = 300
        self.identity_tokens: set[str] = set()
        self.gives_identity: str | None = None
        self.refuses_post: int | None = None
        self._sites: dict[str, Respond] = {}
        self._faults: list[Fault] = []
        self._before: list[Callable[[Seen], None]] = []
        self._authorize: Callable[[Seen, str], Answer | None] = lambda seen, name: None
        self._uploads = 0
        self._lock = threading.RLock()

    # Using it

    def transport(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        insecure_http: frozenset[str] = frozenset(),
        deadline: float | None = None,
    ) -> Transport:
        """A transport that ends here; its clock is :attr:`clock`."""
        return Transport(
            environ=environ or {},
            insecure_http=insecure_http,
            adapter=self,
            deadline=deadline,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def store(self, path: str, transport: Transport | None = None) -> RemoteStore:
        """A store for one repository of this registry."""
        return RemoteStore(Repository(self.host, path), transport or self.transport())

    def repository(self, path: str) -> Content:
        """What a repository holds, made when it is first named."""
        return self.content.setdefault(path, Content())

    def put_blob(self, path: str, raw: bytes, *, algorithm: str = "sha256") -> Digest:
        """Store a blob without a request."""
        digest = Digest.of(raw, algorithm)
        self.repository(path).blobs[str(digest)] = raw
        return digest

    def put_manifest(self, path: str, raw: bytes, media_type: str, *, tag: str | None = None) -> Digest:
        """Store a manifest without a request; nothing is checked."""
        digest = Digest.of(raw)
        content = self.repository(path)
        content.manifests[str(digest)] = (media_type, raw)
        if tag is not None:
            content.tags[tag] = str(digest)
        return digest

    def put_image(self, path: str, *, tag: str | None = None, salt: str = "") -> Manifest:
        """Store a small image with one layer."""
        layer = self.put_blob(path, f"layer {salt}".encode())
        self.put_blob(path, EMPTY_CONFIG.raw)
        layers = [{"mediaType": PUSHED, "digest": str(layer), "size": len(f"layer {salt}")}]
        raw = manifest_bytes(layers=layers)
        self.put_manifest(path, raw, OCI_MANIFEST, tag=tag)
        return Manifest.parse(raw, OCI_MANIFEST)

    def put_referrer(self, path: str, subject: Descriptor, *, salt: str = "", **extra: object) -> Manifest:
        """Store a manifest with a subject; the referrers API lists it, the fallback tag does not."""
        self.put_blob(path, EMPTY_CONFIG.raw)
        raw = manifest_bytes(subject=subject, annotations={"salt": salt}, **extra)
        self.put_manifest(path, raw, OCI_MANIFEST)
        return Manifest.parse(raw, OCI_MANIFEST)

    def put_fallback(self, path: str, subject: Digest, entries: list[object]) -> None:
        """Store an index under the fallback tag of a subject."""
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        self.put_manifest(path, raw, OCI_INDEX, tag=subject.tag)

    def fallback_entries(self, path: str, subject: Digest) -> list[str]:
        """The digests that the fallback tag of a subject lists now."""
        content = self.repository(path)
        _, raw = content.manifests[content.tags[subject.tag]]
        return [entry["digest"] for entry in json.loads(raw)["manifests"]]

    def seen(self, pattern: str) -> list[Seen]:
        """The requests that a pattern matches, in order."""
        return [s for s in self.requests_seen if re.search(pattern, str(s))]

    # Misbehaving

    def fail(self, pattern: str, status: int, *, times: int | None = None, **headers: str) -> None:
        """Answer with an error status; header names are written with ``_`` for ``-``."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.respond(pattern, lambda seen: Answer(status=status, headers=named), times=times)

    def respond(self, pattern: str, respond: Respond, *, times: int | None = None) -> None:
        """Answer in place of the registry."""
        self._faults.append(Fault(re.compile(pattern), times, lambda seen, normally: respond(seen)))

    def alter(self, pattern: str, change: Callable[[Answer], Answer], *, times: int | None = None) -> None:
        """Change what the registry answers."""
        self._faults.append(Fault(re.compile(pattern), times, lambda seen, normally: change(normally(seen))))

    def wrap(self, pattern: str, respond: Callable[[Seen, Respond], Answer]) -> None:
        """Answer in place of the registry, which may be asked what it would say."""
        self._faults.append(Fault(re.compile(pattern), None, respond))

    def disconnect(self, pattern: str, *, times: int | None = 1, error: Exception | None = None) -> None:
        """Raise what the adapter raises when a connection breaks before an answer."""

        def broken(seen: Seen) -> Answer:
            raise error or requests.exceptions.ConnectionError(ConnectionResetError(104, "Connection reset by peer"))

        self.respond(pattern, broken, times=times)

    def redirect(self, pattern: str, to: str, *, status: int = 307) -> None:
        """Send elsewhere."""
        self.respond(pattern, lambda seen: Answer(status=status, headers=(("Location", to),)))

    def serve_instead(self, pattern: str, raw: bytes) -> None:
        """Answer other bytes, whatever was asked for; headers stay."""
        self.alter(pattern, lambda a: replace(a, body=raw).with_header("Docker-Content-Digest", None))

    def swap_digest_header(self, pattern: str, digest: Digest) -> None:
        """Declare another digest than that of the bytes."""
        self.alter(pattern, lambda a: a.with_header("Docker-Content-Digest", str(digest)))

    def truncate(self, pattern: str, keep: int, *, times: int | None = None) -> None:
        """Break off after ``keep`` bytes of what Content-Length declares."""
        self.alter(
            pattern,
            lambda a: replace(a, body=a.body[:keep]).with_header("Content-Length", str(len(a.body))),
            times=times,
        )

    def endless(self, pattern: str) -> None:
        """Answer 200 with zeros that do not end."""
        self.alter(pattern, lambda a: replace(a, body=b"", stream=Zeros()))

    def trickle(self, pattern: str, seconds: float) -> None:
        """Answer one byte at a time, each after so many seconds of the clock."""
        self.alter(pattern, lambda a: replace(a, body=b"", stream=Trickle(a.body, self.clock, seconds)))

    def encode(self, pattern: str, encoding: str) -> None:
        """Claim a content encoding."""
        self.alter(pattern, lambda a: a.with_header("Content-Encoding", encoding))

    def before(self, act: Callable[[Seen], None]) -> None:
        """Call something before each request is answered: to move a tag, to be another writer."""
        self._before.append(act)

    def list_for(self, path: str, subject: Digest, *entries: object) -> None:
        """Let the referrers API list entries that are not there: junk, duplicates, dangling ones."""
        self.repository(path).listed.setdefault(str(subject), []).extend(entries)

    def site(self, host: str, respond: Respond) -> None:
        """Answer for another host (``host[:port]``); hosts that nobody added cannot be resolved."""
        self._sites[host] = respond

    # Asking for credentials

    def require_basic(self, user: str, password: str) -> None:
        """Refuse every request without this user and password."""
        expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        challenge = (("WWW-Authenticate", 'Basic realm="Registry Realm"'),)

        def authorize(seen: Seen, name: str) -> Answer | None:
            return None if seen.authorization == expected else Answer(status=401, headers=challenge)

        self._authorize = authorize

    def require_token(
        self, *, realm: str = "https://auth.registry.test/token", users: Mapping[str, str] | None = None
    ) -> None:
        """Refuse every request without a token for its repository and action.

        The token server at ``realm`` gives one to ``users`` (passwords by name), or to all if ``None``.
        """
        self.site(urlsplit(realm).netloc, lambda seen: self._give_token(seen, users))

        def authorize(seen: Seen, name: str) -> Answer | None:
            action = "pull" if seen.method in ("GET", "HEAD") else "pull,push"
            bearer = (seen.authorization or "").removeprefix("Bearer ")
            granted = self.tokens.get(bearer, set())
            if not name and bearer in self.tokens:  # /v2/ belongs to no repository
                return None
            if {f"repository:{name}:{action}", f"repository:{name}:pull,push"} & granted:
                return None
            scope = f'Bearer realm="{realm}",service="{self.host}"'
            scope += f',scope="repository:{name}:{action}"' if name else ""
            refused = error_answer(401, "UNAUTHORIZED", "authentication required")
            return refused.with_header("WWW-Authenticate", scope)

        self._authorize = authorize

    def _give_token(self, seen: Seen, users: Mapping[str, str] | None) -> Answer:
        form = parse_qs(seen.body.decode())
        if seen.method == "POST":
            if self.refuses_post is not None:
                return error_answer(self.refuses_post, "UNSUPPORTED", "no POST here")
            if form.get("refresh_token", [""])[0] not in self.identity_tokens:
                return error_answer(401, "UNAUTHORIZED", "invalid refresh token")
        elif users is not None:
            pairs = (f"{user}:{password}".encode() for user, password in users.items())
            if seen.authorization not in {f"Basic {base64.b64encode(p).decode()}" for p in pairs}:
                return error_answer(401, "UNAUTHORIZED", "incorrect username or password")
        token = f"token-{len(self.tokens) + 1}"
        scopes = form.get("scope", [""])[0].split() if seen.method == "POST" else seen.query.get("scope", [])
        self.tokens[token] = set(scopes)
        field = "access_token" if seen.method == "POST" else "token"
        given = {"refresh_token": self.gives_identity} if "offline_token" in seen.query else {}
        return json_answer({field: token, "expires_in": self.token_lifetime, **given})

    # Answering

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Answer one request; this is what requests' adapters are asked to do."""
        body = request.body or b""
        seen = Seen(
            method=str(request.method),
            url=str(request.url),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b"".join(body),
        )
        for act in self._before:
            act(seen)
        with self._lock:
            self.requests_seen.append(seen)
            self.timeouts.append(timeout)
            self.proxies.append(proxies or {})
            self.clock.now += self.latency
            return to_response(request, self._with_faults(seen, len(self._faults)))

    def _with_faults(self, seen: Seen, upto: int) -> Answer:
        """Answer through the newest fault that matches, which may ask the older ones."""
        for index in reversed(range(upto)):
            fault = self._faults[index]
            if fault.left != 0 and fault.pattern.search(str(seen)):
                if fault.left is not None:
                    fault.left -= 1
                return fault.respond(seen, lambda s: self._with_faults(s, index))  # noqa: B023  # called before it changes
        return self._answer(seen)

    def close(self) -> None:
        """Nothing to close."""

    def _answer(self, seen: Seen) -> Answer:
        if seen.host in self._sites:
            return self._sites[seen.host](seen)
        if seen.host != self.host:
            raise requests.exceptions.ConnectionError(OSError(113, "No route to host"))
        for pattern, respond in _ROUTES:
            if (match := re.fullmatch(pattern, seen.path)) is not None:
                refused = self._authorize(seen, match["name"])
                return refused if refused is not None else respond(self, seen, **match.groupdict())
        return Answer(status=404, body=b"404 page not found")

    def _manifest(self, seen: Seen, name: str, what: str) -> Answer:
        if seen.method == "PUT":
            return self._put_manifest(seen, name, what)
        if name not in self.content:
            return error_answer(404, "NAME_UNKNOWN", "repository name not known to registry")
        content = self.content[name]
        if seen.method == "DELETE":
            return self._delete_manifest(content, what)
        if self.tag_is_digest and re.fullmatch(r"sha256-[0-9a-f]{64}", what):
            what = what.replace("-", ":")
        digest = content.tags.get(what, what)
        media_type, raw = content.manifests.get(digest, ("", b""))
        if not raw:
            return error_answer(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if media_type not in seen.headers.get("accept", ""):
            return error_answer(404, "MANIFEST_UNKNOWN", "manifest found, but accept header does not support it")
        return Answer(headers=(("Content-Type", media_type), ("Docker-Content-Digest", digest)), body=raw)

    def _delete_manifest(self, content: Content, what: str) -> Answer:
        if not self.deletes:
            return error_answer(405, "UNSUPPORTED", "The operation is unsupported.")
        if content.manifests.pop(what, None) is None:
            return error_answer(404, "MANIFEST_UNKNOWN", "manifest unknown")
        content.tags = {tag: digest for tag, digest in content.tags.items() if digest != what}
        return Answer(status=202)

    def _list_tags(self, seen: Seen, name: str) -> Answer:
        if name not in self.content:
            return error_answer(404, "NAME_UNKNOWN", "repository name not known to registry")
        return self._page(seen, "tags", sorted(self.content[name].tags), {"name": name})

    def _catalog(self, seen: Seen, name: str) -> Answer:
        return self._page(seen, "repositories", sorted(self.content), {})

    def _page(self, seen: Seen, member: str, names: list[str], more: dict[str, object]) -> Answer:
        last = seen.query.get("last", [""])[0]
        names = [n for n in names if n > last]
        size = self.page_size or max(len(names), 1)
        answer = json_answer({**more, member: names[:size] or None})
        if len(names) > size:
            answer = answer.with_header("Link", f'<{seen.path}?last={names[size - 1]}&n={size}>; rel="next"')
        return answer

    def _put_manifest(self, seen: Seen, name: str, what: str) -> Answer:
        content = self.repository(name)
        manifest = Manifest.parse(seen.body, seen.headers["content-type"])
        for child in (d for d in (manifest.config, *manifest.layers) if d is not None):
            if str(child.digest) not in content.blobs:
                return error_answer(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {child.digest}")
        for child in manifest.manifests:
            if str(child.digest) not in content.manifests:
                return error_answer(400, "MANIFEST_BLOB_UNKNOWN", f"manifest unknown: {child.digest}")
        if ":" in what and what != str(Digest.of(seen.body, what.partition(":")[0])):
            return error_answer(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        digest = what if ":" in what else str(manifest.digest)
        content.manifests[digest] = (manifest.descriptor.media_type, seen.body)
        if ":" not in what:
            content.tags[what] = digest
        answer = Answer(status=201, headers=(("Docker-Content-Digest", digest),))
        if manifest.subject is not None and self.oci_subject:
            answer = answer.with_header("OCI-Subject", str(manifest.subject.digest))
        return answer

    def _blob(self, seen: Seen, name: str, digest: str) -> Answer:
        raw = self.repository(name).blobs.get(unquote(digest))
        if raw is None:
            return error_answer(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = (("Content-Type", PUSHED), ("Docker-Content-Digest", digest))
        wanted = re.fullmatch(r"bytes=([0-9]+)-", seen.headers.get("range", ""))
        if wanted is None:
            return Answer(headers=headers, body=raw)
        start = int(wanted[1])
        if start >= len(raw):
            return Answer(status=416, headers=(("Content-Length", "100"),))
        part = ("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}")
        return Answer(status=206, headers=(*headers, part), body=raw[start:])

    def _start_upload(self, seen: Seen, name: str) -> Answer:
        digest, source = (seen.query.get(k, [""])[0] for k in ("mount", "from"))
        if self.mounts and (raw := self.repository(source).blobs.get(digest)) is not None:
            self.repository(name).blobs[digest] = raw
            return Answer(status=201, headers=(("Location", f"/v2/{name}/blobs/{digest}"),))
        self._uploads += 1
        location = f"/v2/{name}/blobs/uploads/{self._uploads}?_state=a%2Fb%3D"
        return Answer(status=202, headers=(("Location", location),))

    def _upload(self, seen: Seen, name: str, number: str) -> Answer:
        if seen.query.get("_state") != ["a/b="]:
            return error_answer(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        digest = Digest.parse(seen.query["digest"][0])
        if Digest.of(seen.body, digest.algorithm) != digest:
            return error_answer(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.repository(name).blobs[str(digest)] = seen.body
        return Answer(status=201, headers=(("Docker-Content-Digest", str(digest)),))

    def _referrers(self, seen: Seen, name: str, digest: str) -> Answer:
        if not self.referrers_api:
            return Answer(status=404, headers=(("Content-Type", "text/plain"),), body=b"404 page not found\n")
        entries = list(self._referring(name, digest)) + self.repository(name).listed.get(digest, [])
        if self.lag:
            self.lag -= 1
            entries = []
        start = int(seen.query.get("last", ["0"])[0])
        size = self.page_size or max(len(entries), 1)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries[start : start + size]}
        answer = json_answer(index, media_type=OCI_INDEX)
        if start + size < len(entries) or self.endless_pages:
            link = f'</v2/{name}/referrers/{digest}?last={start + size}>; rel="next"'
            answer = answer.with_header("Link", link)
        return answer

    def _referring(self, name: str, digest: str) -> Iterator[object]:
        for own, (media_type, raw) in self.repository(name).manifests.items():
            if b'"subject"' not in raw:
                continue
            manifest = Manifest.parse(raw, media_type)
            if manifest.subject is not None and str(manifest.subject.digest) == digest:
                kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
                yield {
                    "mediaType": media_type,
                    "digest": own,
                    "size": len(raw),
                    "artifactType": kind,
                    "annotations": dict(manifest.annotations),
                }


_NAME = r"/v2/(?P<name>.+)"
_ROUTES: tuple[tuple[str, Callable[..., Answer]], ...] = (
    (r"/v2/(?P<name>)_catalog", Simulator._catalog),
    (rf"{_NAME}/tags/list", Simulator._list_tags),
    (r"/v2/(?P<name>)", lambda sim, seen, name: Answer()),
    (rf"{_NAME}/manifests/(?P<what>[^/]+)", Simulator._manifest),
    (rf"{_NAME}/blobs/uploads/", Simulator._start_upload),
    (rf"{_NAME}/blobs/uploads/(?P<number>[0-9]+)", Simulator._upload),
    (rf"{_NAME}/blobs/(?P<digest>[^/]+)", Simulator._blob),
    (rf"{_NAME}/referrers/(?P<digest>[^/]+)", Simulator._referrers),
)


def manifest_bytes(**members: object) -> bytes:
    """A small OCI manifest; ``subject`` may be a Descriptor."""
    subject = members.get("subject")
    if isinstance(subject, Descriptor):
        members["subject"] = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY_CONFIG.descriptor.to_json()}
    return json.dumps({**document, "layers": [], **members}).encode()
