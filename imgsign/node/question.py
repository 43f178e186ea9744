"""What containerd asks a verifier: three arguments and one OCI descriptor.

Source: containerd 2.4 ``pkg/imageverifier/bindir/bindir.go`` and ``docs/image-verification.md``::

    VERIFIER -name NAME -digest DIGEST -stdin-media-type application/vnd.oci.descriptor.v1+json
    stdin := JSON of the descriptor that NAME was resolved to, then end of file

NAME is normalised by CRI (``docker.io/library/busybox:1``). A name with tag *and* digest arrives without
its tag. DIGEST is what is pulled: the index of an image for several platforms.

Refused: other arguments, a NAME that is not spelled in full (containerd takes ``app/web`` for a host named
``app``, everybody else for Docker Hub), a NAME with another digest than DIGEST, a descriptor that is longer
than :data:`DESCRIPTOR_LIMIT`, malformed, or of another digest. Its media type and size are kept, to be
compared with the bytes themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgsign.errors import InvalidReference, UsageError
from imgsign.oci import Descriptor
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.wire import load_json, quote

DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"
DESCRIPTOR_LIMIT = 256 * 1024  # bytes; may carry annotations, and ``data`` of a small manifest

_ARGUMENTS = ("-name", "-digest", "-stdin-media-type")


@record
class Question:
    """May this be pulled? ``reference`` holds the digest that was given, ``descriptor`` what containerd knows."""

    reference: Reference
    descriptor: Descriptor


def parse_arguments(arguments: Sequence[str]) -> Reference:
    """Return ``NAME@DIGEST`` of a verifier's arguments: each of the three once, in any order, nothing else.

    Raises:
        UsageError, InvalidReference, InvalidDigest: for anything else.
    """
    names, values = tuple(arguments[::2]), tuple(arguments[1::2])
    if sorted(names) != sorted(_ARGUMENTS) or len(values) != len(_ARGUMENTS):
        shown = " ".join(quote(a) for a in arguments[:8]) or "none"
        raise UsageError(f"these are not the arguments of an image verifier: {shown}", hint="imgsign-containerd --help")
    given = dict(zip(names, values, strict=True))
    if given["-stdin-media-type"] != DESCRIPTOR_TYPE:
        raise UsageError(f"unknown media type of standard input {quote(given['-stdin-media-type'])}")
    name, digest = Reference.parse(given["-name"]), Digest.parse(given["-digest"])
    if str(name) != given["-name"]:
        raise InvalidReference(f"name {quote(given['-name'])} is not written in full", hint=f"pull it as {name}")
    if name.digest not in (None, digest):
        raise UsageError(f"name {quote(given['-name'])} has another digest than {digest}")
    return name.at(digest)


def parse_descriptor(raw: bytes, reference: Reference) -> Question:
    """Read the descriptor from the bytes of standard input.

    Raises:
        Malformed: it is not a descriptor.
        UsageError: it describes something else than ``reference``.
    """
    descriptor = Descriptor.parse(load_json(raw, limit=DESCRIPTOR_LIMIT))
    if descriptor.digest != reference.digest:
        raise UsageError(f"the descriptor has digest {descriptor.digest}, the arguments {reference.digest}")
    return Question(reference=reference, descriptor=descriptor)
