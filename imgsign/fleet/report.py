"""The report of an audit: one HTML page that needs nothing else and asks nobody for anything.

Made from the lines of :mod:`imgsign.fleet.rows` in two passes, counters first and the rows while they are
read again, so that memory does not grow with the number of images (it does, by a few numbers each, with
that of repositories and days). All text is escaped, whoever wrote the file; a Content-Security-Policy in
the page lets only its own style and script run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from html import escape
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from imgsign import __version__
from imgsign.errors import DestinationError
from imgsign.fleet.page import SCRIPT, STYLE, policy
from imgsign.fleet.rows import LINE_LIMIT, VERDICTS, Counts, Header, PolicyKey, Row, lapses, read_rows
from imgsign.stores.layout import disk
from imgsign.stores.replacing import replacing
from imgsign.wire import format_time, printable, quote

REPOSITORIES_SHOWN = 200
ALLOWED_SHOWN = 2000
"""Rows of allowed images in the page; every denial is shown, however many there are."""

_BARS = 36  # bars of the chart of signatures
_WORDS = {"allowed": "allowed", "denied": "denied", "undecided": "undecided", "error": "not readable"}


@dataclass(slots=True)
class _Key:
    images: int = 0
    last: datetime | None = None


@dataclass(slots=True)
class _Totals:
    """What the first pass counts."""

    counts: Counts
    repositories: dict[str, list[int]] = field(default_factory=dict)
    days: dict[date, int] = field(default_factory=dict)
    keys: dict[tuple[str, str], _Key] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.counts.add(row)
        counted = self.repositories.setdefault(row.repository or row.reference, [0] * len(VERDICTS))
        counted[VERDICTS.index(row.verdict)] += 1
        for name in row.formats:
            self.formats[name] = self.formats.get(name, 0) + 1
        for pair in {(s.anchor, s.key or "?") for s in row.signers}:
            self.keys.setdefault(pair, _Key()).images += 1
        for signer in row.signers:
            if signer.signed_at is not None:
                day = signer.signed_at.date()
                self.days[day] = self.days.get(day, 0) + 1
                key = self.keys[signer.anchor, signer.key or "?"]
                key.last = max(key.last or signer.signed_at, signer.signed_at)


def write_report(jsonl: Path, html: Path, soon: timedelta) -> None:
    """Write the page for an audit's lines; it appears whole or not at all.

    Raises:
        UsageError: the file is not the output of an audit.
        DestinationError: a file cannot be read or written.
    """
    where = str(jsonl)
    with disk(html), replacing(html) as handle, os.fdopen(handle, "w", encoding="utf-8", closefd=False) as out:
        os.fchmod(handle, 0o644)
        with _open(jsonl) as file:
            header = Header.parse(file.readline(LINE_LIMIT), where)
            totals = _Totals(counts=Counts(at=header.at, soon=soon))
            for _, row in read_rows(file, where):
                totals.add(row)

        def rows(wanted: Callable[[Row], bool]) -> Iterator[Row]:
            with _open(jsonl) as again:
                again.readline(LINE_LIMIT)
                yield from (row for _, row in read_rows(again, where) if wanted(row))

        _write(out, header, totals, rows)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise DestinationError(f"cannot read {quote(str(path))}: {(e.strerror or str(e)).lower()}") from e


Rows = Callable[[Callable[[Row], bool]], Iterator[Row]]


def _write(out: TextIO, header: Header, totals: _Totals, rows: Rows) -> None:
    counts = totals.counts
    out.write(_head(header))
    out.write(_summary(header, counts))
    out.write(_repositories(totals))
    out.write(_chart(totals, header.at))
    out.write(_keys(header, totals))
    out.write(_tools(counts))
    denials = counts.images - counts.verdicts["allowed"]
    out.write(f"<h2>Not allowed <small>{denials}</small></h2>\n")
    if denials:
        out.write(_table_head(("Image", ""), ("Verdict", ""), ("Why", "")))
        for row in rows(lambda r: r.verdict != "allowed"):
            out.write(_denial(row))
        out.write("</tbody></table>\n")
    else:
        out.write('<p class="empty">Every image is allowed.</p>\n')
    _write_lapsing(out, counts, rows)
    _write_allowed(out, counts, rows)
    out.write(
        f"<footer>imgsign {escape(__version__)} · judged at {format_time(header.at)} · "
        "a verdict says who signed an image "
        f"under this policy, not that it is free of faults</footer></main>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _head(header: Header) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy())}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Image audit {header.at:%Y-%m-%d}</title>\n<style>{STYLE}</style></head><body><main>\n"
    )


def _summary(header: Header, counts: Counts) -> str:
    shown = ", ".join(_text(t) for t in header.targets[:6])
    more = f" and {len(header.targets) - 6} more" if len(header.targets) > 6 else ""
    part = "" if header.shard is None else f" · part {_text(header.shard)}"
    verdicts = counts.verdicts
    lapsing = f"lapse in {counts.soon.days} days" if counts.soon.days else "lapse soon"
    tiles = [("images", counts.images, ""), *((_WORDS[v], verdicts[v], v) for v in VERDICTS)]
    tiles.append((lapsing, counts.lapsing, "soon"))
    whole = _stack([verdicts[v] for v in VERDICTS], 1160, 10)
    items = "".join(f'<li><b class="{c if n else "none"}">{n:,}</b><span>{w}</span></li>' for w, n, c in tiles)
    return (
        f'<h1>Image audit</h1>\n<p class="about">{header.at:%d %B %Y, %H:%M} UTC · {shown}{more}{part}'
        f'<br>policy <code>{_text(header.policy)}</code></p>\n<p class="verdict">{_sentence(counts)}</p>\n'
        f'<ul class="tiles">{items}</ul>\n<div class="whole">{whole}</div>\n'
    )


def _sentence(counts: Counts) -> str:
    allowed = counts.verdicts["allowed"]
    if not counts.images:
        return "There was nothing to judge."
    if allowed == counts.images:
        soon = f", and {counts.lapsing:,} of them lapse soon" if counts.lapsing else ""
        return f'<b class="allowed">All {allowed:,} images are allowed</b>{soon}.'
    share = int(1000 * allowed / counts.images) / 10  # cut, not rounded: 99.97 % is not all
    return f"<b>{share:g} %</b> of {counts.images:,} images are allowed; {counts.images - allowed:,} are not."


def _stack(numbers: list[int], width: int, height: int) -> str:
    """One bar of all verdicts side by side."""
    total = sum(numbers) or 1
    parts = [f'<rect class="track" width="{width}" height="{height}"/>']
    at = 0.0
    for verdict, number in zip(VERDICTS, numbers, strict=True):
        size = width * number / total
        if number:
            parts.append(f'<rect class="{verdict}" x="{at:.1f}" width="{max(size, 1.5):.1f}" height="{height}"/>')
        at += size
    said = ", ".join(f"{n} {_WORDS[v]}" for v, n in zip(VERDICTS, numbers, strict=True) if n)
    return (
        f'<svg role="img" aria-label="{said}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


def _repositories(totals: _Totals) -> str:
    found = sorted(totals.repositories.items(), key=lambda item: (item[1][0] - sum(item[1]), item[0]))
    rows = []
    for name, numbers in found[:REPOSITORIES_SHOWN]:
        cells = "".join(
            f'<td class="n {v if n else "none"}" data-l="{_WORDS[v]}">{n:,}</td>'
            for v, n in zip(VERDICTS, numbers, strict=True)
        )
        rows.append(
            f'<tr><td class="name">{_text(name)}</td><td class="bar" data-l="">{_stack(numbers, 200, 9)}</td>'
            f"{cells}</tr>\n"
        )
    rest = found[REPOSITORIES_SHOWN:]
    more = ""
    if rest:
        bad = sum(sum(n) - n[0] for _, n in rest)
        more = f'<p class="empty">{len(rest):,} more repositories, with {bad:,} images that are not allowed.</p>\n'
    columns = [("Repository", ""), ("", ""), *((_WORDS[v].capitalize(), "n") for v in VERDICTS)]
    table = _table_head(*columns).replace("<table>", '<table class="repos">') + "".join(rows) + "</tbody></table>\n"
    return f"<h2>Verdicts by repository <small>{len(found):,}</small></h2>\n{table}{more}"


def _chart(totals: _Totals, at: datetime) -> str:
    """Signatures by the time they were made, as the signer or a witness says, up to the audit."""
    head = "<h2>Signatures over time <small>those the allowed images rest on, by signing time</small></h2>\n"
    if not totals.days:
        return head + '<p class="empty">No signature says when it was made.</p>\n'
    last = max(at.date(), max(totals.days))
    span = (last - min(totals.days)).days + 1
    width = next((w for w in (1, 7, 30, 91, 365) if span <= w * _BARS), 365)
    bars = [0] * min(-(-span // width), 400)
    for day, number in totals.days.items():
        place = len(bars) - 1 - (last - day).days // width
        if place >= 0:
            bars[place] += number
    unit = {1: "day", 7: "week", 30: "30 days", 91: "quarter", 365: "year"}[width]
    return head + f'<div class="chart">{_bars(bars, last, width, unit)}</div>\n'


def _bars(bars: list[int], last: date, width: int, unit: str) -> str:
    left, top, high, wide = 44, 8, 130, 1100
    most = max(bars)
    step = wide / max(len(bars), 12)
    parts = [f'<line x1="{left}" x2="{left + wide}" y1="{top + high}" y2="{top + high}"/>']
    parts.append(f'<line x1="{left}" x2="{left + wide}" y1="{top}" y2="{top}"/>')
    parts.append(f'<text x="{left - 6}" y="{top + 4}" text-anchor="end">{most:,}</text>')
    parts.append(f'<text x="{left - 6}" y="{top + high + 4}" text-anchor="end">0</text>')
    labels = max(len(bars) // 8, 1)
    for place, number in enumerate(bars):
        begin = last - timedelta(days=(len(bars) - place) * width - 1)
        tall = high * number / most
        x = left + place * step
        if number:
            y = top + high - max(tall, 1.5)
            parts.append(
                f'<rect class="bar" x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" '
                f'height="{max(tall, 1.5):.1f}"><title>{begin}: {number:,}</title></rect>'
            )
        if place % labels == 0:
            parts.append(f'<text x="{x + step * 0.1:.1f}" y="{top + high + 16}">{begin}</text>')
    label = f"{sum(bars)} signatures, one bar a {unit}"
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {left + wide + 6} {top + high + 24}">{"".join(parts)}</svg>'
    )


def _keys(header: Header, totals: _Totals) -> str:
    known = {(k.anchor, k.key): k for k in header.keys}
    names = sorted({*known, *totals.keys}, key=lambda n: (-totals.keys.get(n, _Key()).images, n))
    rows = []
    for name in names:
        used, state = totals.keys.get(name, _Key()), _state(known.get(name), header.at, totals.counts.soon)
        latest = "" if used.last is None else f"{used.last:%Y-%m-%d}"
        rows.append(
            f'<tr><td data-l="anchor">{_text(name[0])}</td><td data-l="key"><code>{_text(name[1])}</code></td>'
            f'<td class="n {"" if used.images else "none"}" data-l="images">{used.images:,}</td>'
            f'<td class="date" data-l="last signature">{latest}</td><td data-l="">{state}</td></tr>'
        )
    formats = ", ".join(f"{_text(f)} {n:,}" for f, n in sorted(totals.formats.items()))
    below = f'<p class="about">Images by format of their signatures: {formats}</p>\n' if formats else ""
    columns = (("Anchor", ""), ("Key", ""), ("Images", "n"), ("Last signature", ""), ("Trusted", ""))
    return (
        f"<h2>Keys of the policy <small>{len(names)}</small></h2>\n{_table_head(*columns)}{''.join(rows)}"
        f"</tbody></table>\n{below}"
    )


def _state(key: PolicyKey | None, at: datetime, soon: timedelta) -> str:
    if key is None:
        return '<span class="none">not a key of the policy</span>'
    if key.not_after is None:
        return '<span class="none">without end</span>'
    until = f"{key.not_after:%Y-%m-%d}"
    if key.not_after <= at:
        return f'<span class="denied tag">ended {until}</span>'
    if key.not_after <= at + soon:
        return f'<span class="soon tag">ends {until}, in {(key.not_after - at).days} days</span>'
    return f"until {until}"


def _tools(counts: Counts) -> str:
    options = "".join(f'<option value="{v}">{_WORDS[v]}</option>' for v in VERDICTS if counts.verdicts[v])
    return (
        '<div class="tools" id="tools" hidden><input id="q" type="search" placeholder="Search images, reasons, keys …" '
        f'aria-label="Search"><select id="v" aria-label="Verdict"><option value="">all verdicts</option>{options}'
        '</select><span id="shown" class="about" aria-live="polite"></span></div>\n'
    )


def _denial(row: Row) -> str:
    reasons = "".join(
        f"<li>{_text(r.message)} <code>{_text(r.code)}</code>{_about(row, r.about)}</li>" for r in row.reasons
    )
    hint = "" if row.hint is None else f'<div class="hint">next: {_text(row.hint)}</div>'
    uses = ""
    if row.uses:
        more = f" and {row.used - len(row.uses)} more" if row.used > len(row.uses) else ""
        uses = f'<div class="uses">used by {", ".join(_text(u) for u in row.uses)}{more}</div>'
    return (
        f'<tr data-v="{row.verdict}">{_name(row)}<td class="tag {row.verdict}" data-l="">{_WORDS[row.verdict]}</td>'
        f'<td class="why" data-l=""><ul class="why">{reasons or "<li>no reason was given</li>"}</ul>{hint}{uses}'
        "</td></tr>\n"
    )


def _about(row: Row, about: str) -> str:
    return "" if about == row.reference else f'<code class="digest">{_text(about)}</code>'


def _write_lapsing(out: TextIO, counts: Counts, rows: Rows) -> None:
    out.write(f"<h2>Lapse within {counts.soon.days} days <small>{counts.lapsing:,}</small></h2>\n")
    if not counts.lapsing:
        out.write('<p class="empty">None of the allowed images.</p>\n')
        return
    out.write(_table_head(("Image", ""), ("Allowed until", ""), ("Signed by", "")))
    for row in rows(lambda r: lapses(r, counts.at, counts.soon)):
        days = 0 if row.valid_until is None else (row.valid_until - counts.at).days
        out.write(
            f'<tr data-v="allowed">{_name(row)}<td class="date soon" data-l="until">{_date(row.valid_until)}, '
            f"in {days} {'day' if days == 1 else 'days'}</td>{_signed(row)}</tr>\n"
        )
    out.write("</tbody></table>\n")


def _write_allowed(out: TextIO, counts: Counts, rows: Rows) -> None:
    allowed = counts.verdicts["allowed"]
    out.write(f"<h2>Allowed <small>{allowed:,}</small></h2>\n")
    if not allowed:
        out.write('<p class="empty">None.</p>\n')
        return
    cut = f", the first {ALLOWED_SHOWN:,} of them; the JSON lines have all" if allowed > ALLOWED_SHOWN else ""
    out.write(f"<details><summary>Show allowed images{cut}</summary>\n")
    out.write(_table_head(("Image", ""), ("Signed", ""), ("Allowed until", ""), ("Signed by", "")))
    for row in islice(rows(lambda r: r.verdict == "allowed"), ALLOWED_SHOWN):
        signed = min((s.signed_at for s in row.signers if s.signed_at is not None), default=None)
        out.write(
            f'<tr data-v="allowed">{_name(row)}<td class="date" data-l="signed">{_date(signed)}</td>'
            f'<td class="date" data-l="until">{_date(row.valid_until) or "without end"}</td>{_signed(row)}</tr>\n'
        )
    out.write("</tbody></table></details>\n")


def _name(row: Row) -> str:
    digest = "" if row.digest is None else f'<code class="digest">{_text(row.digest)}</code>'
    shown = row.reference.partition("@")[0] if row.digest is not None else row.reference
    return f'<td class="name">{_text(shown)}{digest}</td>'


def _signed(row: Row) -> str:
    pairs = dict.fromkeys(
        f"{_text(s.anchor)} <code>{_text(s.key or '?')}</code> {_text(s.format)}" for s in row.signers
    )
    return f'<td data-l="by">{"<br>".join(pairs) or "nobody: accepted unsigned"}</td>'


def _table_head(*columns: tuple[str, str]) -> str:
    cells = "".join(f'<th scope="col"{f" class={c!r}" if c else ""}>{t}</th>' for t, c in columns)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>\n"


def _date(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def _text(text: str) -> str:
    """Foreign text as HTML: one line, no control or direction characters, nothing that is markup."""
    return escape(printable(text))
