"""The fault matrix: what each request of sign, verify and pull does under each fault. Written by hand.

A row is one request, a column one fault of :mod:`tests.faults`. A cell is a letter, the least and most
times the request is sent (one number if they are the same), and sometimes a phrase:

    a  allowed or done           exit 0: the fault hit nothing that is needed, or was overcome
    d  denied, conclusively      exit 1: only where the registry gave a definite answer, see below
    u  denied, but undecided     exit 3: evidence is missing
    e  error                     exit 3: the image, or the place of its signature, cannot be read or written
    n  allowed, and noted        exit 0: a mirror was passed over, which is reported with the phrase

``e4`` is an error after four tries whose text holds the phrase of its column (:data:`COLUMN_PHRASES`);
``e1=k`` is one after one try, with the phrase ``k`` of :data:`PHRASES`.

Tries: 4 is what a repeatable request gets; 2 if it times out, since a timeout counts twice; 401 gets a
second try with a fresh token; a loop is left after five redirects; what rewrites a tag goes on for a
minute with random pauses, hence the wide ranges there.

Conclusive denials are right in three cases only. *Absent*: the one place that holds the signature says
404, which nothing can tell from unsigned. *No API*: a registry that answers ``referrers`` with 404, a web
page or a redirect elsewhere is one without that API (GHCR, docker-registry, pages of single-page
applications), and its fallback tag then is a definite 404. *One bad candidate* (law 4): what is stored as
a signature is not there, not JSON, or not what its digest says, and the denial names that.

A mirror's failure changes no verdict: every cell of a mirror's row is a good end, with a note where
something was missed. Signing never asks a mirror.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import COLUMNS

COLUMN_PHRASES = {
    "refused": "connection refused",
    "reset": "ended its answer early",
    "hang": "timed out",
    "401": "answered 401",
    "403": "answered 403",
    "404": " has no ",
    "408": "answered 408",
    "429s": "asks to wait 2 s",
    "429d": "asks to wait 2 s",
    "500": "answered 500",
    "503": "answered 503",
    "html": "sends a web page",
    "cut": "not JSON",
    "digest": "has the digest sha256:",
    "size": "has the digest sha256:",
    "away": "thief.test (for registry.test) answered 401",
    "loop": "more than 5 times",
}

PHRASES = {
    "absent": "0 of 1 needed",
    "at-mirror": "thief.test (for mirror.test) answered 401",
    "blob": "has no blob sha256:",
    "bytes": " bytes, its descriptor says ",
    "early": "storage.test ended its answer early",
    "elsewhere": "answered 307 to ",
    "entry": "is listed, but ",
    "fewer": "fewer bytes",
    "form": "answered 307 to POST token for registry.test",
    "gave-up": "it was overwritten every time",
    "hash": "is not what its digest says",
    "lacks": "it lacks signatures that the registry has",
    "lost": "was stored in registry.test/app but does not read back",
    "malformed": "malformed",
    "missing": "MANIFEST_BLOB_UNKNOWN",
    "more": "more bytes",
    "no-token": "gives no usable token",
    "other": "has the digest sha256:",
    "ok200": "answered 200 to POST",
    "rejected": "UNAUTHORIZED: authentication required",
    "said": "but the registry says sha256:",
    "standing": "is not overwritten",
    "unusable": "is unusable",
    "wrong": "UNAUTHORIZED: incorrect username or password",
}

_IMAGE = r"^GET .*/manifests/1$"
_PINNED = r"^GET .*/manifests/IMAGE$"
_LISTING = r"^GET .*/referrers/"
_FALLBACK = r"^GET .*/manifests/sha256-[0-9a-f]{64}$"
_SIG_TAG = r"^GET .*\.sig$"
_SIGNATURE = r"^GET .*/manifests/sha256:(?!IMAGE)"
_CONTENT = r"^GET https://storage\.test/(?!LAYER|CONFIG)"
_LAYER = r"^GET https://storage\.test/LAYER"
_CONFIG = r"^GET https://storage\.test/CONFIG"
_TOKEN = r"^GET https://auth\.registry\.test/"  # an address
_HEAD = r"^HEAD .*/blobs/"
_POST = r"^POST "
_UPLOAD = r"^PUT .*/blobs/uploads/"
_PUT = r"^PUT .*/manifests/sha256:"
_PUT_FALLBACK = r"^PUT .*/manifests/sha256-[0-9a-f]{64}$"
_PUT_SIG = r"^PUT .*\.sig$"
_FORM = r"^POST https://auth\.registry\.test/"
_CHILD = r"^GET .*/manifests/CHILD$"
_CHILD_LISTING = r"^GET .*/referrers/CHILD$"
_MIRROR = r"^[A-Z]+ https://mirror\.test/"
_MIRROR_IMAGE = r"^GET https://mirror\.test/.*/manifests/1$"
_MIRROR_LISTING = r"^GET https://mirror\.test/.*/referrers/"
_MIRROR_SIGNATURE = r"^GET https://mirror\.test/.*/manifests/sha256:(?!IMAGE)"
_MIRROR_SIG_TAG = r"^GET https://mirror\.test/.*\.sig$"
_MIRROR_CONTENT = r"^GET https://mirror\.test/.*/blobs/(?!LAYER|CONFIG)"
_MIRROR_LAYER = r"^GET https://mirror\.test/.*/blobs/LAYER"

# command, what is asked, pattern, what there is: at the registry a: referrers API, b: a bundle, s: a .sig tag,
# x: an index of two platforms; besides m: a mirror with all of that; o: an identity token in place of a password
_TABLE = (
    # refused reset  hang   401    403    404    408    429s   429d   500    503
    # html           cut            digest         size           away           loop
    ("verify", "image by tag", _IMAGE, "ab", """
      e4      e5     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e2             e2=said        e2=said        e1             e6"""),
    ("verify-pinned", "image by digest", _PINNED, "ab", """
      e4      e5     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e2=other       e2=other       e2=other       e1             e6"""),
    ("verify", "referrers", _LISTING, "ab", """
      u4      u4     u2     u2     u1     d1=absent u4  u4     u4     u4     u4
      d1=absent      u1=unusable    d1=entry       a1             d1=absent      u6"""),
    ("verify", "fallback tag", _FALLBACK, "b", """
      u4      u4     u2     u2     u1     d1=absent u4  u4     u4     u4     u4
      u1             u1=unusable    u1=said        u1=said        u1             u6"""),
    ("verify", "fallback tag beside the API", _FALLBACK, "ab", """
      a4      a1     a2     a2     a1     a1     a4     a4     a4     a4     a4
      a1             a1             a1             a1             a1             a6"""),
    ("verify", ".sig tag beside a bundle", _SIG_TAG, "abs", """
      a4      a4     a2     a2     a1     a1     a4     a4     a4     a4     a4
      a1             a1             a1             a1             a1             a6"""),
    ("verify", "signature manifest", _SIGNATURE, "ab", """
      u4      u4     u2     u2     u1     d1=entry u4   u4     u4     u4     u4
      u1             d1=other       d1=other       d1=other       u1             u6"""),
    ("verify", "signature blob", _CONTENT, "ab", """
      u4      u4     u2     u1     u1     d1=blob u4    u4     u4     u4     u4
      u1             d1=bytes       d1=other       d1=more        u1             u5"""),
    ("verify", ".sig tag", _SIG_TAG, "s", """
      u4      u4     u2     u2     u1     d1=absent u4  u4     u4     u4     u4
      u1             d1=malformed   d1=said        d1=said        u1             u6"""),
    ("verify", ".sig payload", _CONTENT, "s", """
      u4      u4     u2     u1     u1     d1=blob u4    u4     u4     u4     u4
      u1             d1=bytes       d1=other       d1=more        u1             u5"""),
    ("verify", "token", _TOKEN, "ab", """
      e4      e4     e2     e1     e1     e1     e4     e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a1             e1             e6"""),
    ("pull", "image by tag", _IMAGE, "ab", """
      e4      e5     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e2             e2=said        e2=said        e1             e6"""),
    ("pull", "referrers", _LISTING, "ab", """
      u4      u4     u2     u2     u1     d1=absent u4  u4     u4     u4     u4
      d1=absent      u1=unusable    d1=entry       a2             d1=absent      u6"""),
    ("pull", "fallback tag beside the API", _FALLBACK, "ab", """
      e8      a2     e4     e4     e2     a2     e8     e8     e8     e8     e8
      e2             a2             a2             a2             e2             e12"""),
    ("pull", ".sig tag beside a bundle", _SIG_TAG, "abs", """
      e8      e8     e4     e4     e2     a2     e8     e8     e8     e8     e8
      e2             a2             a2             a2             e2             e12"""),
    ("pull", "signature manifest", _SIGNATURE, "ab", """
      u4      u4     u2     u2     u1     d1=entry u4   u4     u4     u4     u4
      u1             d1=other       d1=other       d1=other       u1             u6"""),
    ("pull", "signature blob", _CONTENT, "ab", """
      u4      u4     u2     u1     u1     d1=blob u4    u4     u4     u4     u4
      u1             d1=bytes       d1=other       d1=more        u1             u5"""),
    ("pull", "layer", _LAYER, "ab", """
      e4      e4     e2     e1     e1     e1=blob e4    e4     e4     e4     e4
      e1=more        e1=fewer       e1=hash        e1=more        e1             e5"""),
    ("pull", "config", _CONFIG, "ab", """
      e4      e2     e2     e1     e1     e1=blob e4    e4     e4     e4     e4
      e1=more        e1=fewer       e1=hash        e1=more        e1             e5"""),
    ("pull", "token", _TOKEN, "ab", """
      e4      e4     e2     e1     e1     e1     e4     e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a1             e1             e6"""),
    ("sign", "image by tag", _IMAGE, "a", """
      e4      e5     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e2             e2=said        e2=said        e1             e6"""),
    ("sign", "referrers", _LISTING, "a", """
      e4      e4     e2     e2     e1     a1     e4     e4     e4     e4     e4
      a1             e1=unusable    a8             a3             a1             e6"""),
    ("sign", "fallback tag beside the API", _FALLBACK, "a", """
      e4      a2     e2     e2     e1     a2     e4     e4     e4     e4     e4
      e1             a2             a2             a2             e1             e6"""),
    ("sign", "HEAD blob", _HEAD, "a", """
      e4      a2     e2     e1     e1     a2     e4     e4     e4     e4     e4
      e8=missing     a2             a2             a2             e1             e6"""),
    ("sign", "POST upload", _POST, "a", """
      e4      e4     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1=ok200       a1             a1             a1             e1=elsewhere   e1=elsewhere"""),
    ("sign", "PUT upload", _UPLOAD, "a", """
      e4      a1     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e4=missing     a1             a1             a1             e1=elsewhere   e1=elsewhere"""),
    ("sign", "PUT manifest", _PUT, "a", """
      e4      e4     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1=missing     a1             e1=said        a1             e1=elsewhere   e1=elsewhere"""),
    ("sign", "read-back of the manifest", _SIGNATURE, "a", """
      e4      e4     e2     e2     e1     e1=lost e4    e4     e4     e4     e4
      e1             e1=lost        e1=lost        e1=lost        e1             e6"""),
    ("sign", "read-back of the blob", _CONTENT, "a", """
      e4      e4     e2     e1     e1     e1=lost e4    e4     e4     e4     e4
      e1             e1=lost        e1=lost        e1=lost        e1             e5"""),
    ("sign", "token", _TOKEN, "a", """
      e4      e4     e2     e1     e1     e1     e4     e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a2             e1             e6"""),
    ("sign", "PUT fallback index", _PUT_FALLBACK, "", """
      e5-150   a1     e1-2   e2     e1     e1     e5-150  e5-150  e5-150  e5-150  e5-150
      e5-150=gave-up  a1             e1=said        a1             e1=elsewhere   e1=elsewhere"""),
    ("sign", "fallback tag", _FALLBACK, "", """
      e4      e5-150  e2     e2     e1     e20-300=gave-up e4 e4 e4     e4     e4
      e1             e3=standing    e3=said        e3=said        e1             e6"""),
    ("sign-simple", ".sig tag", _SIG_TAG, "", """
      e4      e5-150  e2     e2     e1     e20-300=gave-up e4 e4 e4     e4     e4
      e1             e3=standing    e3=said        e3=said        e1             e6"""),
    ("sign-simple", "PUT .sig tag", _PUT_SIG, "", """
      e5-150   a1     e1-2   e2     e1     e1     e5-150  e5-150  e5-150  e5-150  e5-150
      e5-150=gave-up  a1             e1=said        a1             e1=elsewhere   e1=elsewhere"""),
    # The same fault once: what is worth another try is overcome, nothing else is.
    ("verify once", "image by tag", _IMAGE, "ab", """
      a3      a3     a3     a2     e1     e1     a3     a3     a3     a3     a3
      e1             e2             e2=said        e2=said        e1             a3"""),
    ("pull once", "layer", _LAYER, "ab", """
      a2      a2     a2     e1     e1     e1=blob a2    a2     a2     a2     a2
      e1=more        e1=fewer       e1=hash        e1=more        e1             a2"""),
    ("sign once", "PUT upload", _UPLOAD, "a", """
      a2      a1     a2     a2     e1     e1     a2     a2     a2     a2     a2
      a2             a1             a1             a1             e1=elsewhere   e1=elsewhere"""),
    ("sign once", "PUT manifest", _PUT, "a", """
      a2      a2     a2     a2     e1     e1     a2     a2     a2     a2     a2
      e1=missing     a1             e1=said        a1             e1=elsewhere   e1=elsewhere"""),
    # A platform index: signed with its children, children first; pulled with all of them.
    ("sign", "child of an index", _CHILD, "ax", """
      e4      e4     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e1=other       e1=other       e1=other       e1             e6"""),
    ("sign", "PUT signature of a child", _PUT, "ax", """
      e4      e4     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1=missing     a3             e1=said        a3             e1=elsewhere   e1=elsewhere"""),
    ("verify", "child of an index", _CHILD, "abx", """
      a0      a0     a0     a0     a0     a0     a0     a0     a0     a0     a0
      a0             a0             a0             a0             a0             a0"""),
    ("pull", "child of an index", _CHILD, "abx", """
      e4      e4     e2     e2     e1     e1     e4     e4     e4     e4     e4
      e1             e1=other       e1=other       e1=other       e1             e6"""),
    ("pull", "layer of a child", _LAYER, "abx", """
      e4      e4     e2     e1     e1     e1=blob e4    e4     e4     e4     e4
      e1=more        e1=fewer       e1=hash        e1=more        e1             e5"""),
    ("pull", "referrers of a child", _CHILD_LISTING, "abx", """
      e4      e4     e2     e2     e1     a1     e4     e4     e4     e4     e4
      a1             e1=unusable    a1             a1             a1             e6"""),
    # OAuth2: the token request is a POST whose body holds the identity token.
    ("verify", "token by POST", _FORM, "abo", """
      e4      e4     e2     e1     e1     e1=wrong e4  e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a1             e1=form        e1=form"""),
    ("pull", "token by POST", _FORM, "abo", """
      e4      e4     e2     e1     e1     e1=wrong e4  e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a1             e1=form        e1=form"""),
    ("sign", "token by POST", _FORM, "ao", """
      e4      e4     e2     e1     e1     e1=wrong e4  e4     e4     e4     e4
      e1=no-token    e1=no-token    e1=rejected    a2             e1=form        e1=form"""),
    # Through a mirror that may say what a tag means.
    ("verify", "mirror: image by tag", _MIRROR_IMAGE, "abm", """
      n4      n4     n2     n1     n1     n1     n4     n4     n4     n4     n4
      n1             n1             n1=said        n1=said        n1=at-mirror   n6"""),
    ("verify", "mirror: referrers", _MIRROR_LISTING, "abm", """
      n4      n4     n2     n1     n1     n1=lacks n4   n4     n4     n4     n4
      n1=lacks       n1=unusable    n1=lacks       a1             n1=lacks       n6"""),
    ("verify", "mirror: signature manifest", _MIRROR_SIGNATURE, "abm", """
      n4      n4     n2     n1     n1     n1     n4     n4     n4     n4     n4
      n1             n1=other       n1=other       n1=other       n1=at-mirror   n6"""),
    ("verify", "mirror: signature blob", _MIRROR_CONTENT, "abm", """
      n4      n4     n2     n1     n1     n1     n4     n4     n4     n4     n4
      n1             n1=bytes       n1=other       n1=more        n1=at-mirror   n6"""),
    ("verify", "mirror: .sig tag", _MIRROR_SIG_TAG, "sm", """
      n4      n4     n2     n1     n1     n1=lacks n4   n4     n4     n4     n4
      n1             n1             n1=said        n1=said        n1=at-mirror   n6"""),
    ("pull", "mirror: image by tag", _MIRROR_IMAGE, "abm", """
      n4      n4     n2     n1     n1     n1     n4     n4     n4     n4     n4
      n1             n1             n1=said        n1=said        n1=at-mirror   n6"""),
    ("pull", "mirror: layer", _MIRROR_LAYER, "abm", """
      n4      n1     n2     n1     n1     n1     n4     n4     n4     n4     n4
      n1=more        n1=fewer       n1=hash        n1=more        n1=at-mirror   n6"""),
    ("pull", "mirror: everything", _MIRROR, "abm", """
      n4      n4     n2     n1     n1     n13    n4     n4     n4     n4     n4
      n1             n4             n1=said        n1=said        n1=at-mirror   n6"""),
    ("sign", "mirror: everything", _MIRROR, "am", """
      a0      a0     a0     a0     a0     a0     a0     a0     a0     a0     a0
      a0             a0             a0             a0             a0             a0"""),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One request under one fault, and what is expected."""

    command: str
    what: str
    pattern: str
    has: str
    fault: str
    outcome: str
    least: int
    most: int
    phrase: str

    def __str__(self) -> str:
        return f"{self.command}: {self.what}: {self.fault}"


def cells() -> Iterator[Cell]:
    """Yield every cell of the table."""
    for command, what, pattern, has, row in _TABLE:
        for fault, text in zip(COLUMNS, row.split(), strict=True):
            expected, _, named = text.partition("=")
            least, _, most = expected[1:].partition("-")
            phrase = PHRASES[named] if named else COLUMN_PHRASES[fault]
            yield Cell(
                command=command,
                what=what,
                pattern=pattern,
                has=has,
                fault=fault,
                outcome=expected[0],
                least=int(least),
                most=int(most or least),
                phrase="" if expected[0] == "a" else phrase,
            )
