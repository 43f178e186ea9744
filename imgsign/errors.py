"""All errors imgsign raises, as one tree.

    ImgsignError(message, *, hint=None)
    ├─ Malformed(ValueError) path      bytes or text that do not follow their grammar
    │  ├─ InvalidReference             an image reference
    │  ├─ InvalidDigest                a digest
    │  ├─ InvalidManifest              an OCI or Docker manifest, index or descriptor
    │  ├─ InvalidEnvelope              a signature container: DSSE, bundle, simple signing, statement
    │  ├─ InvalidPolicy                a policy file
    │  ├─ InvalidKey                   a public or private key
    │  └─ InvalidReview uid            a Kubernetes AdmissionReview
    ├─ SignatureInvalid                a signature that does not verify
    │  ├─ UntrustedSigner              … with any key of the anchor
    │  ├─ IdentityMismatch             verified, but over another name
    │  ├─ SubjectMismatch              verified, but over another digest
    │  └─ Expired                      verified, but no longer valid
    ├─ RegistryError status, codes, url
    │  ├─ NotFound                     a definite "it is not there"
    │  ├─ AuthenticationFailed         401 or 403 after everything we could offer
    │  ├─ Unavailable                  no answer, 429, 5xx, deadline: try again later
    │  ├─ ContentMismatch              bytes that are not the bytes that were asked for
    │  └─ TooLarge                     more bytes than the limit allows
    ├─ SignerError                     key missing, wrong passphrase, backend unreachable
    ├─ DestinationError                a local place that cannot be written or read
    ├─ UsageError                      a request that contradicts itself
    └─ Denied(decision)                raised only by pull and require_allowed

A message says what failed, on which input and where: lower case, no full stop, input quoted with
``!r``. A hint is the next thing to type. Messages never hold credentials; a URL in one has gone
through :func:`imgsign.wire.redact`.

``DestinationError`` and ``UsageError`` extend the tree of the design: a full disk is neither the
registry's nor the signer's fault, and the library refuses contradictory requests by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgsign.decision import Decision


class ImgsignError(Exception):
    """Base of all errors; ``hint`` is the next thing to type, or ``None``."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Malformed(ImgsignError, ValueError):
    """Input that does not follow its grammar; ``path`` is the place in it, such as ``$.config.size``."""

    def __init__(self, message: str, *, path: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{message} at {path}" if path else message, hint=hint)
        self.path = path


class InvalidReference(Malformed):
    """Text that is not an image reference."""


class InvalidDigest(Malformed):
    """Text that is not a supported digest."""


class InvalidManifest(Malformed):
    """Bytes that are not one unambiguous OCI or Docker schema 2 manifest or index."""


class InvalidEnvelope(Malformed):
    """Bytes that are not one unambiguous signature container or statement."""


class InvalidPolicy(Malformed):
    """A policy that cannot be used; ``path`` names the key, such as ``scopes."x".require[0].threshold``."""


class InvalidEvidence(Malformed):
    """Saved evidence that is not what its format says."""


class InvalidKey(Malformed):
    """A key that cannot be read or is of a kind imgsign refuses."""


class InvalidReview(Malformed):
    """Bytes that are not one AdmissionReview; ``uid`` is whom a denial can be addressed to, if that could be read."""

    def __init__(
        self, message: str, *, path: str | None = None, hint: str | None = None, uid: str | None = None
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.uid = uid


class SignatureInvalid(ImgsignError):
    """A signature that does not count."""


class UntrustedSigner(SignatureInvalid):
    """The signature verifies with no key of the anchor."""


class IdentityMismatch(SignatureInvalid):
    """The signature is over another name."""


class SubjectMismatch(SignatureInvalid):
    """The signature is over another digest."""


class Expired(SignatureInvalid):
    """The signature is no longer valid."""


class RegistryError(ImgsignError):
    """A registry, or the way to it, failed.

    ``status`` is the HTTP status (``None`` without an answer), ``codes`` the registry's own error codes
    (distribution-spec v1.1.1 "Error Codes"), ``url`` redacted.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        codes: tuple[str, ...] = (),
        url: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.codes = codes
        self.url = url


class NotFound(RegistryError):
    """The registry says definitely that it does not have it."""


class AuthenticationFailed(RegistryError):
    """401 or 403 after everything we could offer."""


class Unavailable(RegistryError):
    """No usable answer: connection, TLS, timeout, 429, 5xx, or an answer that breaks the protocol."""


class ContentMismatch(RegistryError):
    """The bytes received are not those the digest or size names."""


class TooLarge(RegistryError):
    """More bytes than the limit allows."""


class SignerError(ImgsignError):
    """A private key is missing, locked with another password, or its backend does not answer."""


class DestinationError(ImgsignError):
    """A local file or directory cannot be read or written."""


class UsageError(ImgsignError):
    """What was asked contradicts itself or the image it names."""


class Denied(ImgsignError):
    """The policy denies the image; ``decision`` says why."""

    def __init__(self, message: str, decision: Decision, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.decision = decision
