"""Make the test keys of this directory. They are public and worthless: never trust anything signed with them.

    python keys-test/make.py [--force]

Every private key is encrypted with the password ``test``, which is public as well. The names are fixed,
the keys are new on each run; existing files are kept unless ``--force`` is given, because tests and
example policies refer to these very keys.
"""

from __future__ import annotations

import sys
from pathlib import Path

from imgsign.errors import ImgsignError
from imgsign.signers import KeyFormat, Kind
from imgsign.signers.disk import NewFile, check_free, write_files
from imgsign.signers.keyfile import generate, public_key_of, to_pem

HERE = Path(__file__).resolve().parent
PASSWORD = b"test"

PKCS8_KEYS: dict[str, Kind] = {
    **dict.fromkeys(("release-a", "release-b", "release-c", "ci", "stranger"), Kind.ECDSA_P256),
    **{kind.value: kind for kind in Kind if kind is not Kind.ECDSA_P256},
}
KEYS = {
    **{name: (kind, KeyFormat.PKCS8) for name, kind in PKCS8_KEYS.items()},
    "cosign-p256": (Kind.ECDSA_P256, KeyFormat.COSIGN),
}


def main(arguments: list[str]) -> int:
    """Write all pairs, or none if one exists and ``--force`` is not given."""
    if arguments not in ([], ["--force"]):
        print("usage: make.py [--force]", file=sys.stderr)
        return 2
    force = arguments == ["--force"]
    files: list[NewFile] = []
    for name, (kind, format) in KEYS.items():
        key = generate(kind)
        files.append(NewFile(HERE / f"{name}.key", to_pem(key, format, PASSWORD), 0o600))
        files.append(NewFile(HERE / f"{name}.pub", public_key_of(key).to_pem(), 0o644))
    try:
        check_free(*(file.path for file in files), force=force)
        write_files(*files, force=force)
    except ImgsignError as e:
        print(f"error: {e}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
