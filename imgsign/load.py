"""A policy file and its trust material from disk, read with limits.

A public key is named by a *spec*: a path, the PEM text itself (a public key is no secret), or ``env:NAME`` for
an environment variable that holds the PEM text. Anything else that looks like ``scheme:…`` is refused.

Refused: private keys, certificates, several keys in one file (:meth:`imgsign.keys.PublicKey.from_pem`),
and files that are not regular or too long (:func:`read_file`, which lives with the key files one floor
below, where signers need it too).
"""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from imgsign.errors import DestinationError, InvalidKey, InvalidPolicy, SignerError
from imgsign.keys import PublicKey
from imgsign.signers import split_spec
from imgsign.signers.disk import Source, read_file, read_path, read_variable
from imgsign.trust import Anchor, Keys, TrustedKey, TrustStore
from imgsign.wire import Node, load_json, load_toml, quote

if TYPE_CHECKING:
    from imgsign.policy.model import KeySource, Policy

__all__ = [
    "load_document",
    "load_policy",
    "load_policy_text",
    "load_public_key",
    "parse_public_key",
    "read_file",
    "read_key",
]


def read_key(spec: str, *, environ: Mapping[str, str], base: Path | None = None) -> Source:
    """Read the bytes a key's spec names; ``base`` is the directory relative paths start from.

    Raises:
        DestinationError: if they cannot be read, or the spec names none of the known places.
        InvalidKey: if the spec is itself a private key.
    """
    if "PRIVATE KEY-----" in spec:
        raise InvalidKey("a private key was given as text", hint="put it into a variable and say env:NAME")
    if "-----BEGIN " in spec:
        return Source("inline key", spec.encode("utf-8", "surrogateescape"))
    try:
        scheme, rest = split_spec(spec)
    except SignerError as e:
        raise DestinationError(e.message, hint=e.hint) from e
    if scheme == "env":
        return read_variable(rest, environ)
    if scheme != "file":
        raise DestinationError(f"cannot read keys from {scheme!r}", hint="use a PEM file, PEM text or env:NAME")
    path = Path(rest) if base is None else base / rest
    try:
        return read_path(path)
    except DestinationError as e:
        raise DestinationError(e.message, hint=e.hint or _hint(path)) from e


def load_public_key(spec: str, *, environ: Mapping[str, str], base: Path | None = None) -> PublicKey:
    """Read the public key a spec names.

    Raises:
        DestinationError: if it cannot be read.
        InvalidKey: if it is not one public key of a supported kind; names the file.
    """
    return parse_public_key(read_key(spec, environ=environ, base=base))


def parse_public_key(source: Source) -> PublicKey:
    """Parse a public key, naming where it is from in errors.

    Raises:
        InvalidKey: if it is not one public key of a supported kind.
    """
    try:
        return PublicKey.from_pem(source.raw)
    except InvalidKey as e:
        raise InvalidKey(f"{source.name}: {e.message}", hint=e.hint) from e


def load_policy(path: Path, *, environ: Mapping[str, str]) -> tuple[Policy, TrustStore]:
    """Read a policy and every key it names; relative key paths start from the policy's directory.

    ``.json`` is read as JSON of the same shape, anything else as TOML. All keys are read here, so that a
    policy with a missing key fails at once and not on the day the key is needed.

    Raises:
        DestinationError: the policy file cannot be read.
        InvalidPolicy: the policy, a key of it (with its path), or a key in two anchors of one rule.
    """
    from imgsign.policy.parse import POLICY_LIMIT  # a single --key does without

    return load_policy_text(read_file(path, limit=POLICY_LIMIT), path, environ=environ)


def load_policy_text(raw: bytes, path: Path, *, environ: Mapping[str, str]) -> tuple[Policy, TrustStore]:
    """As :func:`load_policy`, with the bytes that are or will be at ``path``."""
    with _no_collection():
        return _load(raw, path, environ)


def load_document(node: Node) -> tuple[Policy, TrustStore]:
    """Parse a policy that holds all its keys as PEM text; no file or variable is read.

    Raises:
        InvalidPolicy: as :func:`load_policy`, or a key is not PEM text.
    """
    from imgsign.policy.parse import parse_policy

    policy = parse_policy(Node(node.value, "", InvalidPolicy))
    for source in (s for sources in policy.anchors.values() for s in sources):
        if "-----BEGIN " not in source.text:
            raise InvalidPolicy("expected a key as PEM text", path=source.path)
    return policy, _load_trust(policy, Path(), {})


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold off the collector of cycles: there are none here, and looking for them takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(raw: bytes, path: Path, environ: Mapping[str, str]) -> tuple[Policy, TrustStore]:
    from imgsign.policy.parse import POLICY_LIMIT, parse_policy

    try:
        if path.suffix == ".json":
            node = load_json(raw, limit=POLICY_LIMIT, error=InvalidPolicy)
        else:
            node = load_toml(raw, limit=POLICY_LIMIT)
        policy = parse_policy(node)
        trust = _load_trust(policy, path.parent, environ)
    except InvalidPolicy as e:
        raise InvalidPolicy(f"policy {quote(str(path))}: {e.message}", hint=e.hint) from e
    return policy, trust


def _load_trust(policy: Policy, base: Path, environ: Mapping[str, str]) -> TrustStore:
    anchors: dict[str, Anchor] = {}
    for name, sources in policy.anchors.items():
        anchors[name] = Keys(name=name, keys=tuple(_load_key(s, base, environ) for s in sources))
    for scope, rule in policy.scopes.items():
        named = rule.anchors
        if len(named) > 1 and scope not in policy.shared_keys:
            _refuse_shared(scope, [anchors[a] for a in sorted(named)])
    return TrustStore(anchors=anchors)


def _load_key(source: KeySource, base: Path, environ: Mapping[str, str]) -> TrustedKey:
    try:
        key = load_public_key(source.text, environ=environ, base=base)
    except (DestinationError, InvalidKey) as e:
        raise InvalidPolicy(e.message, path=source.path, hint=e.hint) from e
    if source.hash is not None and key.scheme.bundle == "pure":
        raise InvalidPolicy(f"{key.scheme.title} keys have no hash to choose", path=source.path)
    return TrustedKey(key=key, not_before=source.not_before, not_after=source.not_after, hash=source.hash)


def _refuse_shared(scope: str, anchors: list[Anchor]) -> None:
    """Refuse a key that stands in two anchors of one rule: 'both teams signed' would be one person."""
    owner: dict[str, str] = {}
    for anchor in anchors:
        for trusted in anchor.keys:
            first = owner.setdefault(trusted.key.digest, anchor.name)
            if first != anchor.name:
                raise InvalidPolicy(
                    f"key {trusted.key.fingerprint} is in anchor {first!r} and in anchor {anchor.name!r}",
                    path=f"scopes.{quote(scope)}",
                    hint="take it out of one, or write unsafe-shared-key = true if one signer may count for both",
                )


def _hint(path: Path) -> str | None:
    """Find the file that was probably meant; the next thing to type, if there is one."""
    with suppress(OSError, ValueError):  # text that cannot be a path
        if path.exists():
            return None
        if (twin := path.with_name(path.name + ".pub")).is_file():
            return f"did you mean {quote(str(twin))}?"
        if path.suffix == ".pub" and (private := path.with_suffix(".key")).is_file():
            return f"imgsign key show {shlex.quote(str(private))} --pem > {shlex.quote(str(path))}"
    return "imgsign key generate"
