"""cosign's encrypted key files: PEM ``ENCRYPTED SIGSTORE PRIVATE KEY``, older ``ENCRYPTED COSIGN PRIVATE KEY``.

Sources: cosign pkg/cosign/keys.go and secure-systems-lab/go-securesystemslib encrypted/encrypted.go, RFC 7914
(scrypt), NaCl crypto_secretbox (XSalsa20-Poly1305, tag first). The PEM body is compact JSON in this order:

    {"kdf":{"name":"scrypt","params":{"N":32768,"r":8,"p":1},"salt":"b64 32 B"},
     "cipher":{"name":"nacl/secretbox","nonce":"b64 24 B"},"ciphertext":"b64"}

The plaintext is PKCS#8 DER. Written is N = 2^15, the one setting every reader opens: skopeo up to 1.13 refuses
what cosign writes since 2.2, 2^16. An empty password is legal, as it is for cosign.

Refused before any scrypt work: every N but 2^15, 2^16 and 2^17, every r but 8, every p but 1 (whoever wrote the
file would choose our memory), unknown or duplicate JSON keys, other sizes of salt and nonce.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from imgsign.errors import InvalidKey
from imgsign.record import record
from imgsign.wire import Node, b64decode, b64encode, dump_json, load_json

PEM_TYPE = "ENCRYPTED SIGSTORE PRIVATE KEY"
PEM_TYPES = (PEM_TYPE, "ENCRYPTED COSIGN PRIVATE KEY")
"""What is written, and all that is read."""

_N, _R, _P = 2**15, 8, 1
_N_READ = (2**15, 2**16, 2**17)  # go-securesystemslib's Legacy, Standard and OWASP
_SALT, _NONCE, _TAG = 32, 24, 16  # bytes
_JSON_LIMIT = 64 * 1024


@record
class Box:
    """The parsed, still locked content of a key file: parameters are within bounds."""

    n: int
    salt: bytes
    nonce: bytes
    ciphertext: bytes


def parse_box(raw: bytes) -> Box:
    """Read the JSON inside the PEM; no key is derived.

    Raises:
        InvalidKey: see the module docstring.
    """
    top = load_json(raw, limit=_JSON_LIMIT, error=InvalidKey).fields(("kdf", "cipher", "ciphertext"))
    kdf = top["kdf"].fields(("name", "params", "salt"))
    cipher = top["cipher"].fields(("name", "nonce"))
    _expect(kdf["name"], "scrypt")
    _expect(cipher["name"], "nacl/secretbox")
    params = kdf["params"].fields(("N", "r", "p"))
    n = params["N"].integer()
    if n not in _N_READ or params["r"].integer() != _R or params["p"].integer() != _P:
        kdf["params"].refuse("scrypt parameters are not those of cosign: N of 2^15, 2^16 or 2^17, r = 8, p = 1")
    ciphertext = _bytes(top["ciphertext"])
    if len(ciphertext) <= _TAG:
        top["ciphertext"].refuse("too short")
    return Box(n=n, salt=_bytes(kdf["salt"], _SALT), nonce=_bytes(cipher["nonce"], _NONCE), ciphertext=ciphertext)


def open_box(box: Box, password: bytes) -> bytes | None:
    """Return the PKCS#8 DER inside, or ``None`` if the password is wrong."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        return SecretBox(_derive(password, box.salt, box.n)).decrypt(box.ciphertext, box.nonce)
    except CryptoError:
        return None


def seal(pkcs8: bytes, password: bytes) -> bytes:
    """Encrypt PKCS#8 DER into the JSON that goes inside the PEM."""
    from nacl.secret import SecretBox

    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    ciphertext = SecretBox(_derive(password, salt, _N)).encrypt(pkcs8, nonce).ciphertext
    return dump_json(
        {
            "kdf": {"name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": b64encode(salt)},
            "cipher": {"name": "nacl/secretbox", "nonce": b64encode(nonce)},
            "ciphertext": b64encode(ciphertext),
        }
    )


def _derive(password: bytes, salt: bytes, n: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=_R, p=_P).derive(password)


def _expect(node: Node, name: str) -> None:
    if node.text() != name:
        node.refuse(f"expected {name!r}")


def _bytes(node: Node, size: int | None = None) -> bytes:
    raw = b64decode(node.text(), error=InvalidKey, path=node.path)
    if size is not None and len(raw) != size:
        node.refuse(f"expected {size} bytes, got {len(raw)}")
    return raw
