"""Password-based encryption of PKCS#8 keys: PEM ``ENCRYPTED PRIVATE KEY``.

Sources: RFC 5958 §3 (EncryptedPrivateKeyInfo), RFC 8018 §6.2 and appendix A (PBES2, PBKDF2), RFC 7914 §7
(scrypt in PBES2), X.690 §8 and §10 (DER).

    EncryptedPrivateKeyInfo ::= SEQUENCE { SEQUENCE { OID pbes2, Params }, OCTET STRING }
    Params                  ::= SEQUENCE { SEQUENCE { OID, KdfParams }, SEQUENCE { OID, iv } }
    KdfParams (PBKDF2)      ::= SEQUENCE { salt OCTET STRING, rounds INTEGER, [length], [prf] }
    KdfParams (scrypt)      ::= SEQUENCE { salt OCTET STRING, n INTEGER, r INTEGER, p INTEGER, [length] }

Written is PBKDF2-HMAC-SHA-256 with AES-256-CBC, which OpenSSL, Java and Go programs all open. cryptography's
own ``BestAvailableEncryption`` writes the same with 2,048 rounds, 300 times fewer than a guesser should
pay, and offers no choice; scrypt with strong parameters is refused by OpenSSL's default memory limit.

Checked before any key derivation: that its cost is bounded, since whoever wrote the file chose it. PBES1
(RFC 8018 §6.1: DES, RC2) is refused.

Not done here: decryption, which is cryptography's after :func:`check_cost`.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from imgsign.errors import InvalidKey

PBKDF2_ROUNDS = 600_000
"""OWASP Password Storage Cheat Sheet (2023), PBKDF2-HMAC-SHA256; about 0.1 s."""

MAX_PBKDF2_ROUNDS = 10_000_000
"""Most rounds that are computed for a file; a few seconds."""

MAX_SCRYPT_COST = 2**20
"""Largest ``n * r * p`` that is computed for a file: 128 MiB, as much as cosign's largest setting."""

LEGACY_HINT = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"

_INTEGER, _OCTETS, _NULL, _OID, _SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")  # 1.2.840.113549.2.9
_AES256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11


def encrypt(pkcs8: bytes, password: bytes) -> bytes:
    """Encrypt a DER PrivateKeyInfo into a DER EncryptedPrivateKeyInfo."""
    salt, iv = os.urandom(16), os.urandom(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, PBKDF2_ROUNDS).derive(password)
    padder = padding.PKCS7(128).padder()
    cipher = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    body = cipher.update(padder.update(pkcs8) + padder.finalize()) + cipher.finalize()
    rounds = PBKDF2_ROUNDS.to_bytes(3, "big")  # 0x0927c0: positive as it stands
    prf = _tlv(_SEQUENCE, _tlv(_OID, _HMAC_SHA256), _tlv(_NULL))
    kdf = _tlv(_SEQUENCE, _tlv(_OCTETS, salt), _tlv(_INTEGER, rounds), prf)
    parameters = _tlv(
        _SEQUENCE,
        _tlv(_SEQUENCE, _tlv(_OID, _PBKDF2), kdf),
        _tlv(_SEQUENCE, _tlv(_OID, _AES256_CBC), _tlv(_OCTETS, iv)),
    )
    algorithm = _tlv(_SEQUENCE, _tlv(_OID, _PBES2), parameters)
    return _tlv(_SEQUENCE, algorithm, _tlv(_OCTETS, body))


def check_cost(der: bytes) -> None:
    """Refuse an EncryptedPrivateKeyInfo whose key derivation is unknown or too costly.

    Raises:
        InvalidKey: also if the structure is damaged.
    """
    match _children(der):
        case [(0x30, outer)]:
            pass
        case _:
            raise _damaged()
    match _children(outer):
        case [(0x30, algorithm), (0x04, _)]:
            pass
        case _:
            raise _damaged()
    match _children(algorithm):
        case [(0x06, oid), (0x30, parameters)] if oid == _PBES2:
            pass
        case [(0x06, _), *_]:
            raise InvalidKey("encrypted with an outdated method", hint=LEGACY_HINT)
        case _:
            raise _damaged()
    match _children(parameters):
        case [(0x30, kdf), (0x30, _)]:
            _check_kdf(kdf)
        case _:
            raise _damaged()


def _check_kdf(kdf: bytes) -> None:
    match _children(kdf):
        case [(0x06, oid), (0x30, parameters)]:
            values = _children(parameters)
        case _:
            raise _damaged()
    match values:
        case [(0x04, _), (0x02, rounds), *_] if oid == _PBKDF2:
            if not 0 < _integer(rounds) <= MAX_PBKDF2_ROUNDS:
                raise InvalidKey(f"{_integer(rounds)} rounds of PBKDF2 are not within 1 to {MAX_PBKDF2_ROUNDS}")
        case [(0x04, _), (0x02, n), (0x02, r), (0x02, p), *_] if oid == _SCRYPT:
            factors = (_integer(n), _integer(r), _integer(p))
            if min(factors) < 1 or factors[0] * factors[1] * factors[2] > MAX_SCRYPT_COST:
                raise InvalidKey(f"scrypt cost n * r * p is not within 1 to {MAX_SCRYPT_COST}")
        case _:
            raise InvalidKey("encrypted with an unknown key derivation", hint=LEGACY_HINT)


def _integer(body: bytes) -> int:
    if not 0 < len(body) <= 8:
        raise InvalidKey("key derivation of absurd cost")
    return int.from_bytes(body, "big", signed=True)


def _children(der: bytes) -> list[tuple[int, bytes]]:
    """Split the content of a constructed value into tags and bodies; DER lengths only (X.690 §10.1)."""
    found: list[tuple[int, bytes]] = []
    while der:
        if len(der) < 2:
            raise _damaged()
        tag, size, start = der[0], der[1], 2
        if size >= 0x80:
            start += size & 0x7F
            size = int.from_bytes(der[2:start], "big")
            if not 0x82 >= der[1] > 0x80 or size < 0x80 or (der[1] == 0x82 and size < 0x100):
                raise _damaged()
        if start + size > len(der):
            raise _damaged()
        found.append((tag, der[start : start + size]))
        der = der[start + size :]
    return found


def _tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        length = bytes([size])
    else:
        digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + body


def _damaged() -> InvalidKey:
    return InvalidKey("damaged encrypted private key")
