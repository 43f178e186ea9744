"""The ``WWW-Authenticate`` header: which authentication a server asks for.

Source: RFC 9110 §11.2, §11.6.1, §5.6 (RFC 7235 §2.1, §4.1 before it).

    WWW-Authenticate := challenge *("," challenge)         several headers count as one list
    challenge        := scheme [1*SP (token68 | parameter *("," parameter))]
    parameter        := token BWS "=" BWS (token | quoted-string)
    quoted-string    := <"> *(qdtext | "\\" char) <">
    token68          := 1*(ALPHA | DIGIT | "-._~+/") *"="

The grammar is ambiguous until one has looked past a word: ``Basic`` after a comma begins a challenge if
no ``=`` follows. Schemes and parameter names are case-insensitive and given in lower case. Scopes hold
commas (``pull,push``), so the text cannot be split at them.

What cannot be read is skipped to the next comma; nothing here raises. Not done: what a challenge means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from imgsign.record import record

CHALLENGES_LIMIT = 16
"""Challenges read of one answer; real ones hold up to three."""

_HEADER_LIMIT = 8 * 1024  # characters; http.client lets 64 KiB through, skipping garbage takes quadratic time
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")(?=[ \t]*(?:,|$))', re.DOTALL)
_SCHEME = re.compile(rf"({_WORD})(?=[ \t]|,|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_SPACE = re.compile(r"[ \t]*")
_LIST = re.compile(r"[ \t,]*")  # empty elements are allowed (RFC 9110 §5.6.1.2)
_SKIP = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"|")*', re.DOTALL)


@record
class Challenge:
    """One challenge: ``scheme`` and parameter names in lower case; of a repeated parameter the first counts."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """Parse the header's value, several headers joined by commas; unreadable parts are left out."""
    text = text[:_HEADER_LIMIT]
    found: list[tuple[str, dict[str, str]]] = []
    at = _end(_LIST, text, 0)
    while at < len(text):
        if (parameter := _PARAMETER.match(text, at)) is not None and found:
            name, token, quoted = parameter.groups()
            value = token if token is not None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            found[-1][1].setdefault(name.lower(), value)
            at = parameter.end()
        elif (scheme := _SCHEME.match(text, at)) is not None:
            if len(found) == CHALLENGES_LIMIT:
                break
            found.append((scheme[1].lower(), {}))
            at = _end(_SPACE, text, scheme.end())
            if (token68 := _TOKEN68.match(text, at)) is not None and _PARAMETER.match(text, at) is None:
                at = token68.end()
            elif _PARAMETER.match(text, at) is not None:
                continue
        else:
            at = _end(_SKIP, text, at)
        at = _end(_LIST, text, at)
    return tuple(Challenge(scheme=s, parameters=p) for s, p in found)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
