"""The decision page in a real browser: at two sizes, light and dark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsign import Reference, Registries, SignOptions, sign
from tests.bench.admission_body import body
from tests.e2e import images, parts
from tests.e2e.chromium import chromium
from tests.e2e.webhook import Cluster, until, webhook
from tests.signing_keys import signer

# The least contrast of all text that is seen, by WCAG 2.2 "contrast ratio"; and what it is of.
CONTRAST = """
(() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  let least = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const found = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (found < least[0]) least = [found, e.textContent.slice(0, 60)];
  }
  return least;
})()
"""
HOSTILE = "<img src=x onerror=document.title='owned'>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_both_screens_can_be_read_and_runs_nothing_foreign(
    tmp_path: Path, registry: parts.Registry, scheme: str
) -> None:
    path = f"page/app-{scheme}"
    digest = images.push(registry, path, "1")
    name = Reference.parse(f"{registry.host}/{path}:1@{digest}")
    sign([name.name], signer("release"), SignOptions(), locate=Registries({}))
    cluster = Cluster(tmp_path / "c", signer("release").public_key.to_pem(), registry.host, "127.0.0.1:9")
    with webhook(tmp_path / "w", cluster, "--page") as found:
        found.review(body([str(name)] * 3))
        found.review(body([HOSTILE, "nginx:latest"], name=HOSTILE))
        found.review(body(["127.0.0.1:9/" + "a-very-long-path/" * 8 + "app@sha256:" + "0" * 64], name="w" * 200))
        cluster.set_policy("version = 1\n")
        until(lambda: "policy" in found.admin("/readyz")[1])
        with chromium(tmp_path / "b", f"http://127.0.0.1:{found.admin_port}/") as tab:
            until(lambda: tab.run("document.querySelectorAll('#decisions > li').length") == 3)
            tab.run("document.querySelectorAll('summary').forEach((s) => s.click())")
            until(lambda: tab.run("document.querySelectorAll('.detail').length") == 3)
            for width, height in ((1280, 720), (390, 844)):
                tab.show(width, height, scheme)
                root = "document.documentElement"
                assert tab.run(f"{root}.scrollWidth - {root}.clientWidth") == 0
                contrast = tab.run(CONTRAST)
                assert isinstance(contrast, list)
                assert contrast[0] >= 4.5, contrast
                if keep := os.environ.get("SCREENSHOTS"):
                    tab.screenshot(Path(keep) / f"{scheme}-{width}.png")
            assert tab.run("document.title") == "imgsign admission"
            assert tab.run("document.querySelectorAll('main img').length") == 0
            text = str(tab.run("document.body.innerText"))
            assert HOSTILE in text
            assert "no scope of the policy covers it, and the default rejects [no-scope]" in text
            assert "missing key 'default'" in text
            tab.run(
                "document.querySelector('#verdict').value = 'allowed'; document.querySelector('#verdict')"
                ".dispatchEvent(new Event('input'))"
            )
            assert tab.run("document.querySelectorAll('#decisions > li').length") == 1
