"use strict";
// Reads /decisions.json and shows it. All that comes from outside is set as text, never as markup.
const EVERY = 2000;
const $ = (id) => document.getElementById(id);
const open = new Set();
let last = null;
let paused = false;

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = String(text);
  return made;
}

function pair(left, right, trouble) {
  const made = node("div", "pair");
  made.append(node("span", "", left), node("span", trouble ? "trouble" : "", right));
  return made;
}

function worst(decision) {
  return decision.verdict || "denied";
}

// The colour of a verdict; anything new is shown as odd.
function tone(verdict) {
  return { allowed: "allowed", denied: "denied", exempt: "allowed" }[verdict] || "odd";
}

function took(milliseconds) {
  if (milliseconds >= 1000) return (milliseconds / 1000).toFixed(2) + " s";
  return (milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)) + " ms";
}

// An image in a line: its name counts, of its digest the beginning is enough.
function short(image) {
  return image.replace(/@(sha\d+):([0-9a-f]{12})[0-9a-f]+$/, "@$1:$2\u2026");
}

function title(decision) {
  const space = decision.namespace ? decision.namespace + "/" : "";
  return (decision.kind || "?") + " " + space + (decision.name || "?");
}

function matches(decision) {
  const verdict = $("verdict").value;
  const namespace = $("namespace").value;
  if (verdict && worst(decision) !== verdict) return false;
  if (namespace && decision.namespace !== namespace) return false;
  const sought = $("search").value.trim().toLowerCase();
  return !sought || JSON.stringify(decision).toLowerCase().includes(sought);
}

function row(decision) {
  const item = node("li");
  const details = node("details");
  const id = decision.uid + " " + decision.time;
  details.open = open.has(id);
  details.addEventListener("toggle", () => (details.open ? open.add(id) : open.delete(id)));
  const summary = node("summary");
  const images = (decision.images || []).map((i) => short(i.image));
  const shown = images.slice(0, 2).join(", ") + (images.length > 2 ? " and " + (images.length - 2) + " more" : "");
  const verdict = node("span", "verdict " + tone(worst(decision)), worst(decision));
  const object = node("span", "object");
  object.append(node("span", "line", title(decision)));
  const what = node("span", "images");
  what.append(node("span", "line", shown || "no image to judge"));
  if ((decision.codes || []).length) what.append(node("span", "line quiet", decision.codes.join(", ")));
  summary.append(node("span", "time", (decision.time || "").slice(11, 19)), verdict, object, what,
    node("span", "took", took(decision.milliseconds)));
  details.append(summary);
  if (details.open) details.append(detail(decision));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(detail(decision));
  });
  item.append(details);
  return item;
}

function detail(decision) {
  const made = node("div", "detail");
  const facts = node("p", "facts");
  if (decision.dry_run) facts.append(node("span", "", "dry run"));
  for (const [name, value] of [["asked to", decision.gate], ["operation", decision.operation], ["user", decision.user],
    ["uid", decision.uid], ["mode", decision.mode], ["policy", decision.policy]]) {
    if (value) facts.append(node("span", "", name + " " + value));
  }
  made.append(facts);
  if (decision.message) made.append(node("p", "reason", decision.message));
  for (const image of decision.images || []) {
    const box = node("div", "image " + tone(image.verdict));
    box.append(node("code", "", image.image));
    const facts = [image.verdict, image.code, image.cached ? "remembered" : ""].filter(Boolean).join(" \u00b7 ");
    box.append(node("p", "quiet", facts));
    if (image.digest && !image.image.includes(image.digest)) box.append(node("p", "quiet", image.digest));
    made.append(box);
  }
  return made;
}

function health(found) {
  $("state").textContent = found.state;
  $("state").className = "state " + (found.ready ? "ready" : "unready");
  $("problems").hidden = found.problems.length === 0;
  $("problems").replaceChildren(...found.problems.map((text) => node("p", "", text)));
  $("cache").textContent = found.cache.entries.toLocaleString("en");
  const asked = found.cache.hits + found.cache.misses;
  $("hits").textContent = asked ? Math.floor((100 * found.cache.hits) / asked) + " % of " + asked.toLocaleString("en") + " look-ups" : "no look-up yet";
  $("policies").replaceChildren(...found.policies.map((p) => pair(p.name, p.digest.slice(0, 12))),
    node("p", "quiet", "certificate until " + found.certificate_until.slice(0, 10)));
  if (found.registries.length) {
    $("registries").replaceChildren(...found.registries.slice(0, 8).map((r) => {
      const busy = r.busy + r.waiting ? r.busy + " busy, " + r.waiting + " waiting" : "ok";
      return pair(r.host, r.open ? "left alone" : r.failures ? r.failures + (r.failures > 1 ? " failures" : " failure") : busy, r.failures > 0);
    }));
  }
}

function spaces(decisions) {
  const select = $("namespace");
  const names = [...new Set(decisions.map((d) => d.namespace).filter(Boolean))].sort();
  const kept = select.value;
  if (kept && !names.includes(kept)) names.push(kept);
  select.replaceChildren(new Option("all", ""), ...names.map((n) => new Option(n, n)));
  select.value = kept;
}

function draw() {
  if (!last) return;
  const count = { allowed: 0, warned: 0, denied: 0, undecided: 0 };
  for (const d of last.decisions) count[worst(d)] = (count[worst(d)] || 0) + 1;
  $("total").textContent = last.decisions.length;
  $("split").textContent = Object.entries(count).filter(([, n]) => n).map(([v, n]) => n + " " + v).join(", ");
  const shown = last.decisions.filter(matches);
  $("decisions").replaceChildren(...shown.slice(0, 200).map(row));
  $("empty").hidden = shown.length > 0;
  $("empty").textContent = last.decisions.length ? "No decision matches these filters." : "No decision yet. They appear here as the API server asks.";
}

async function read() {
  if (!paused) {
    try {
      const answer = await fetch("/decisions.json", { cache: "no-store" });
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      last = await answer.json();
      health(last.health);
      spaces(last.decisions);
      if (!document.activeElement || document.activeElement.tagName !== "SUMMARY" || !document.activeElement.matches(":active")) draw();
      $("updated").textContent = "updated " + new Date().toLocaleTimeString("en-GB");
    } catch (e) {
      $("state").textContent = "no answer";
      $("state").className = "state unready";
    }
  }
  setTimeout(read, EVERY);
}

for (const id of ["verdict", "namespace", "search"]) $(id).addEventListener("input", draw);
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
});
document.querySelector("form").addEventListener("submit", (e) => e.preventDefault());
read();
