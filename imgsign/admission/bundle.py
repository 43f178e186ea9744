"""A policy and its keys as one text that stands for itself: what a ConfigMap can hold.

A policy names its keys by paths; in a cluster there is only the text. So every key is read and written into
the policy in place of its path; comments and order are kept (TOML by tomlkit). The keys' ``not-before``,
``not-after`` and ``hash`` stay. A key from an environment variable has no meaning elsewhere and is refused.

What was made is read again, and refused unless it names the same keys: what is printed is what was checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgsign.errors import InvalidPolicy, UsageError
from imgsign.load import load_policy, load_public_key
from imgsign.policy.parse import POLICY_LIMIT, parse_policy
from imgsign.signers.disk import read_file
from imgsign.wire import load_json, load_toml, quote


def bundle_policy(path: Path, *, environ: Mapping[str, str]) -> str:
    """Read a policy file; its text with every key in it.

    Raises:
        DestinationError, InvalidPolicy: it cannot be used; the message names the file.
        UsageError: a key comes from an environment variable.
    """
    load_policy(path, environ=environ)  # it is in order before anything is changed
    text = read_file(path, POLICY_LIMIT).decode("utf-8")
    document = _read(path, text)
    changed = False
    for name, anchor in document.get("anchors", {}).items():
        for index, key in enumerate(anchor["keys"]):
            spec = str(key["key"] if isinstance(key, dict) else key)
            if "-----BEGIN " in spec:
                continue
            if spec.startswith("env:"):
                hint = "name a file, or write the key's PEM text into the policy"
                raise UsageError(f"anchor {quote(name)}: {quote(spec)} means nothing in a cluster", hint=hint)
            pem = _text(load_public_key(spec, environ=environ, base=path.parent).to_pem().decode(), path)
            if isinstance(key, dict):
                key["key"] = pem
            else:
                anchor["keys"][index] = pem
            changed = True
    if not changed:
        return text
    return _checked(path, _write(path, document))


def _text(pem: str, path: Path) -> str:
    """A key as people would write it: on several lines where the format can."""
    if path.suffix == ".json":
        return pem
    import tomlkit

    return tomlkit.string(pem, multiline=True)


def _read(path: Path, text: str) -> Any:  # tomlkit's documents have no useful types
    if path.suffix == ".json":
        return json.loads(text)
    import tomlkit

    return tomlkit.parse(text)


def _write(path: Path, document: Any) -> str:  # as above
    if path.suffix == ".json":
        return json.dumps(document, indent=2) + "\n"
    import tomlkit

    return tomlkit.dumps(document)


def _checked(path: Path, text: str) -> str:
    raw = text.encode()
    loaded = load_json if path.suffix == ".json" else load_toml
    try:
        policy = parse_policy(loaded(raw, limit=POLICY_LIMIT))
    except InvalidPolicy as e:
        raise InvalidPolicy(f"policy {quote(str(path))}, with its keys: {e.message}") from e
    sources = [s.text for sources in policy.anchors.values() for s in sources]
    if not all("-----BEGIN " in s for s in sources):
        raise InvalidPolicy(f"policy {quote(str(path))}: a key could not be written into it")
    return text
