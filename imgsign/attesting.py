"""attest(): sign a statement about an image that says more than its name: how it was built, what is in it.

The same steps as :func:`imgsign.signing.sign`, whose module docstring has their order: an attestation is a
signature with another predicate. What differs: an index is attested alone, since a document about an index
says nothing of its platforms, and what stands already is left alone only if it has the very same bytes.

The predicate's bytes are signed as they were given. Checked before is that they are strict JSON and of the
kind their type promises (:mod:`imgsign.predicates`); not checked, by anybody, is that they are true.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime

from imgsign.errors import InvalidEnvelope, UsageError
from imgsign.formats import FORMATS
from imgsign.predicates import check_predicate, shown_type
from imgsign.reference import Reference
from imgsign.resolve import Target
from imgsign.signers import Signer
from imgsign.signing import Pending, Signed, SignOptions, sign
from imgsign.stores import Locate
from imgsign.wire import quote


def attest(
    references: Sequence[Reference | Target],
    signer: Signer,
    predicate_type: str,
    predicate: bytes,
    options: SignOptions | None = None,
    *,
    locate: Locate | None = None,
    now: datetime | None = None,
    pool: Executor | None = None,
    pending: Pending | None = None,
) -> tuple[Signed, ...]:
    """Attest a predicate (JSON) of a type (its URI) about images, under the names they are referred to by.

    Raises:
        UsageError: the predicate is not of that type, or the options do not fit it.
        RegistryError: the image or the place for the attestation could not be read or written.
        SignerError: the key could not sign.
    """
    options = options or SignOptions()
    for name in options.formats:
        if name not in FORMATS or not FORMATS[name].attests:
            known = ", ".join(f.name for f in FORMATS.values() if f.attests)
            raise UsageError(f"format {quote(name)} holds no attestations", hint=f"use one of {known}")
    try:
        checked = check_predicate(predicate_type, predicate)
    except InvalidEnvelope as e:
        raise UsageError(f"not a predicate of type {quote(shown_type(predicate_type))}: {e.message}") from e
    options = replace(options, predicate_type=predicate_type, predicate=checked, index_only=True)
    return sign(references, signer, options, locate=locate, now=now, pool=pool, pending=pending)
