"""Style and script of the report page: inline, hashed into its Content-Security-Policy, asking nobody for anything."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1d232b;--soft:#5b6673;--line:#dfe4ea;--card:#f6f8fa;--head:#f0f3f6;
--allowed:#1a7f4b;--denied:#c62b36;--undecided:#a15c00;--error:#6b4fbb;--soon:#a15c00;--bar:#3b78c3;--track:#e6eaef}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--fg:#e3e8ee;--soft:#97a3b0;--line:#2c343e;--card:#1a2028;
--head:#202832;--allowed:#4cc38a;--denied:#ff6b75;--undecided:#f0a848;--error:#b39dff;--soon:#f0a848;--bar:#6aa5ee;
--track:#2a323c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 24px 64px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}
h2{font-size:18px;margin:40px 0 10px}
h2 small{font-weight:400;color:var(--soft);font-size:14px;margin-left:6px}
p{margin:6px 0}
.about{color:var(--soft);font-size:14px;overflow-wrap:anywhere}
.verdict{font-size:17px;margin:18px 0 14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:0;padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tiles b{display:block;font-size:28px;line-height:1.15;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:13px}
.allowed{color:var(--allowed)}.denied{color:var(--denied)}.undecided{color:var(--undecided)}.error{color:var(--error)}
.soon{color:var(--soon)}.none{color:var(--soft)}
svg{display:block;max-width:100%}
svg .allowed{fill:var(--allowed)}svg .denied{fill:var(--denied)}svg .undecided{fill:var(--undecided)}
svg .error{fill:var(--error)}svg .track{fill:var(--track)}svg .bar{fill:var(--bar)}
svg text{fill:var(--soft);font-size:11px}svg line{stroke:var(--line)}
.whole{margin:16px 0 0;border-radius:5px;overflow:hidden}
table{border-collapse:collapse;width:100%;font-size:14px}
th{background:var(--head);text-align:left;font-weight:600;font-size:13px;white-space:nowrap}
th,td{padding:7px 10px;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.bar{width:220px;padding-top:12px}
td.date{white-space:nowrap;font-variant-numeric:tabular-nums}
td.name{overflow-wrap:anywhere;min-width:200px}
code{font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
td code.digest{color:var(--soft);font-size:11px;display:block}
.tag{font-weight:600;white-space:nowrap}
ul.why{margin:0;padding:0 0 0 16px}ul.why li{overflow-wrap:anywhere}
ul.why code{color:var(--soft)}ul.why code.digest{font-size:11px;display:block}
.hint,.uses{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.tools{display:flex;flex-wrap:wrap;gap:10px;align-items:center;position:sticky;top:0;background:var(--bg);
padding:12px 0;margin-top:32px;border-bottom:1px solid var(--line);z-index:1}
.tools[hidden]{display:none}
input,select{font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:7px;
padding:7px 10px}
input{flex:1 1 240px;min-width:0}
:focus-visible{outline:2px solid var(--bar);outline-offset:1px}
details summary{cursor:pointer;padding:8px 0;color:var(--soft)}
footer{margin-top:48px;color:var(--soft);font-size:13px;border-top:1px solid var(--line);padding-top:12px}
.empty{color:var(--soft)}
tr[hidden]{display:none}
@media (max-width:700px){
main{padding:20px 14px 48px}h1{font-size:22px}.tiles{grid-template-columns:repeat(2,1fr);gap:8px}
.tiles b{font-size:24px}
thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
table,tbody,tr,td{display:block}
tr{border-bottom:1px solid var(--line);padding:8px 0}
td,td.n{border:0;padding:2px 0;text-align:left;white-space:normal}
td.bar{width:auto;padding:4px 0}
td[data-l]:not(.bar)::before{content:attr(data-l) " ";color:var(--soft);font-size:12px;margin-right:4px}
td.name::before{display:none}td.why::before{display:none !important}
.repos td.n{display:inline-block;margin-right:12px}
.chart{overflow-x:auto}.chart svg{min-width:560px}
}
@media print{
:root{color-scheme:light;--bg:#fff;--fg:#000;--soft:#444;--line:#ccc;--card:#fff;--head:#f0f0f0;--allowed:#1a7f4b;
--denied:#c62b36;--undecided:#a15c00;--error:#6b4fbb;--soon:#a15c00;--bar:#3b78c3;--track:#e6eaef}
body{font-size:11px}main{max-width:none;padding:0}.tools,summary{display:none !important}
table{font-size:10.5px}thead{display:table-header-group}tr{break-inside:avoid}h2{break-after:avoid;margin-top:22px}
svg{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.tiles{grid-template-columns:repeat(6,1fr)}.tiles b{font-size:20px}.hint,.uses{font-size:9.5px}
td.bar{width:110px}td code.digest,ul.why code.digest{font-size:8px}
}
"""

SCRIPT = """
(function(){
var tools=document.getElementById('tools'),q=document.getElementById('q'),v=document.getElementById('v');
var shown=document.getElementById('shown'),rows=[].slice.call(document.querySelectorAll('tr[data-v]'));
var texts=rows.map(function(r){return r.textContent.toLowerCase();});
function apply(){
var words=q.value.toLowerCase().split(/\\s+/).filter(Boolean),n=0;
rows.forEach(function(r,i){
var ok=(!v.value||r.getAttribute('data-v')===v.value)&&words.every(function(w){return texts[i].indexOf(w)>=0;});
r.hidden=!ok;if(ok)n++;});
var all=!words.length&&!v.value;
shown.textContent=all?'':n+' of '+rows.length+' shown';
document.querySelectorAll('details').forEach(function(d){if(!all&&d.querySelector('tr[data-v]:not([hidden])'))d.open=true;});
}
tools.hidden=false;q.addEventListener('input',apply);v.addEventListener('change',apply);
window.addEventListener('beforeprint',function(){document.querySelectorAll('details').forEach(function(d){d.open=true;});});
})();
"""


def policy() -> str:
    """The page's own Content-Security-Policy: this style and this script, no request to anywhere."""
    return (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    """A hash source (CSP level 3 §2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
