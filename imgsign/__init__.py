"""imgsign signs container images, judges them by one readable policy, and pulls only what was verified.

The architecture on one page. Everything an attacker can influence is gathered as bytes by a thin shell;
then one pure function turns (policy, trust, name, evidence, now) into a Decision, which the command line
and ``pull`` only render.

    floor 6  cli/ demo containerd                         reads argv, environment, clock; prints
    floor 5  workflow signing attesting examine fleet/ doctor load login pending  input and output, by objects given
    floor 5  resolve scanning checking pinning node/      likewise
    floor 5  evidence evidence_files comparing editing importing  kept evidence; policies compared, edited, brought
    floor 4  gather stores/ transport/ signers/           requests, securesystemslib, files
    floor 3  evaluate conditions where verifications images/ admission/  pure: the judgement, what is judged
    floor 2  policy/ predicates/ formats/ decision platforms  pure: what is asked for, what was found
    floor 1  reference oci keys trust dsse intoto claim enveloped tagged  pure: the words of the field
    floor 0  errors wire outline record                   pure, standard library only

A module imports from its own floor or below; ``tests/test_layers.py`` reads every import. Flow of a
verification: text -> Reference; the policy's scope, before any request; fetch -> Manifest, its digest of
the bytes received; gather -> Evidence in rounds; evaluate -> Decision; render.

Decisions, with what was weighed:

- *The name is signed too.* A digest alone lets a registry serve old signed bytes under a new tag.
- *One rule, the most specific scope.* Rules that add up cannot be read by a tired person.
- *Age, expiry and sequence belong to a subject*, so that nothing is mixed across subjects of a claim.
- *A candidate is verified by one key at a time*, so that ``evaluate`` can bound and remember the work.
- *A condition on a predicate asks for something that is there*; none asks for absence, none runs code.
- *A predicate is checked to be JSON and not built* (``outline``), so that an SBOM of 30 MB costs its bytes.
- *``evaluate`` counts, ``conditions`` judges one signature, ``where`` one predicate*: three pages, one judgement.
- *Signing is a module of its own* (``signing``) beside ``workflow``, and what both need is in ``resolve``;
  ``decision`` holds the types that gathering, judging and rendering share.

Library use::

    from imgsign import Reference, load_policy, pull, require_allowed, sign, verify
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Decision": "imgsign.decision",
    "Denied": "imgsign.errors",
    "Digest": "imgsign.reference",
    "ImgsignError": "imgsign.errors",
    "LayoutDestination": "imgsign.stores.destination",
    "Policy": "imgsign.policy.model",
    "PublicKey": "imgsign.keys",
    "Reference": "imgsign.reference",
    "Registries": "imgsign.stores.locate",
    "SignOptions": "imgsign.signing",
    "TrustStore": "imgsign.trust",
    "Verdict": "imgsign.decision",
    "attest": "imgsign.attesting",
    "key_policy": "imgsign.workflow",
    "load_policy": "imgsign.load",
    "load_signer": "imgsign.signers",
    "pull": "imgsign.workflow",
    "require_allowed": "imgsign.workflow",
    "sign": "imgsign.signing",
    "verify": "imgsign.workflow",
}

__all__ = [
    "Decision",
    "Denied",
    "Digest",
    "ImgsignError",
    "LayoutDestination",
    "Policy",
    "PublicKey",
    "Reference",
    "Registries",
    "SignOptions",
    "TrustStore",
    "Verdict",
    "__version__",
    "attest",
    "key_policy",
    "load_policy",
    "load_signer",
    "pull",
    "require_allowed",
    "sign",
    "verify",
]

if TYPE_CHECKING:
    from imgsign.attesting import attest
    from imgsign.decision import Decision, Verdict
    from imgsign.errors import Denied, ImgsignError
    from imgsign.keys import PublicKey
    from imgsign.load import load_policy
    from imgsign.policy.model import Policy
    from imgsign.reference import Digest, Reference
    from imgsign.signers import load_signer
    from imgsign.signing import SignOptions, sign
    from imgsign.stores.destination import LayoutDestination
    from imgsign.stores.locate import Registries
    from imgsign.trust import TrustStore
    from imgsign.workflow import key_policy, pull, require_allowed, verify


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``import imgsign`` alone loads nothing heavy."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'imgsign' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value
