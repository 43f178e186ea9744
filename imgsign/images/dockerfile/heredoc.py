"""Which heredocs a line opens: ``[n]<<[-]WORD``, as BuildKit's parser.go (heredocsFromLine); pure.

WORD may be quoted. The line is lexed with a backslash for escape token, whatever the file's own is; one that
does not lex has no heredocs.
"""

from __future__ import annotations

from imgsign.images.dockerfile.shell import Shell
from imgsign.images.dockerfile.words import ExpansionFault


def heredocs(line: str) -> list[tuple[str, bool]]:
    """List the names that end the bodies, and whether leading tabs are cut.

    Raises:
        ExpansionFault: for a word that BuildKit refuses, or a line that is too much work.
    """
    try:
        words = Shell("\\", raw_quotes=True, raw_escapes=True, keep_unset=True).words(line)
    except ExpansionFault as e:
        if e.limit:
            raise
        return []  # as BuildKit: a line that does not lex has no heredocs
    return [found for word in words if (found := _heredoc_word(word)) is not None]


def _heredoc_word(word: str) -> tuple[str, bool] | None:
    """Read ``[n]<<[-]NAME``: the name without quotes, and whether leading tabs are cut; ``None`` if it is none."""
    position = 0
    while position < len(word) and word[position] in "0123456789":
        position += 1
    if not word.startswith("<<", position):
        return None
    position += 2
    chomp = word.startswith("-", position)
    rest = word[position + chomp :].lstrip("\t\n\f\r ")
    if not rest or "<" in rest:
        return None
    words = Shell("\\", keep_unset=True).words(rest)
    if len(words) != 1:
        return None
    if len(Shell("\\", raw_quotes=True, keep_unset=True).words(rest)) != 1:
        raise ExpansionFault("the heredoc's word reads as two")
    return words[0], chomp
