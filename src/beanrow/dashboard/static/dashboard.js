// The live page: what changed comes as server-sent events, and is put where it belongs.
// Laws: without this file every page and every button works. Text that comes is what the server's
// templates wrote; nothing here makes text of its own from a name or a body. The focus stays where
// it is.
"use strict";

function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// Puts new content in place and gives the focus back to what had it, by its id.
function keepingFocus(change) {
  const focused = document.activeElement && document.activeElement.id;
  change();
  if (focused && document.activeElement.id !== focused) {
    const again = document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  }
}

function changeRows(id, news) {
  const body = document.getElementById(id);
  if (!body) return;
  const rows = new Map();
  for (const row of body.rows) rows.set(row.dataset.key, row);
  for (const [key, html] of Object.entries(news.html)) {
    const made = fragment(html).querySelector("tr");
    const old = rows.get(key);
    if (old) {
      if (old.getAttribute("aria-selected")) made.setAttribute("aria-selected", "true");
      old.replaceWith(made);
    }
    rows.set(key, made);
  }
  if (news.order) body.replaceChildren(...news.order.map((key) => rows.get(key)).filter(Boolean));
}

function take(event) {
  const news = JSON.parse(event.data);
  keepingFocus(() => {
    for (const [id, html] of Object.entries(news.parts || {})) {
      const place = document.getElementById(id);
      if (place) place.replaceChildren(fragment(html));
    }
    for (const [id, rows] of Object.entries(news.rows || {})) changeRows(id, rows);
  });
  say(news.gone || "live", Boolean(news.gone));
}

function say(text, bad) {
  const link = document.getElementById("link");
  if (link.textContent !== text) link.textContent = text;
  link.classList.toggle("bad", bad);
}

function goLive(address) {
  let events = null;
  const begin = () => {
    events = new EventSource(address);
    events.onmessage = take;
    events.onerror = () => say("not live: the dashboard does not answer", true);
  };
  // A page that nobody sees asks for nothing.
  document.addEventListener("visibilitychange", () => {
    if (events) events.close();
    events = null;
    if (!document.hidden) begin();
  });
  if (!document.hidden) begin();
}

// -- the keyboard -----------------------------------------------------------------

function step(by) {
  const rows = [...document.querySelectorAll("main tbody tr")];
  const now = rows.findIndex((row) => row.getAttribute("aria-selected"));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
  if (!next) return;
  if (now >= 0) rows[now].removeAttribute("aria-selected");
  next.setAttribute("aria-selected", "true");
  const link = next.querySelector("a");
  if (link) link.focus();
}

let waitsForPage = false;

function pressed(event) {
  const at = event.target;
  const writes = at.matches("input, textarea, select");
  if (event.key === "Escape" && writes) at.blur();
  if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
  const pages = { t: "", f: "failed", w: "workers", c: "changes" };
  if (waitsForPage && event.key in pages) {
    const server = location.pathname.match(/^\/(\d+)\//);
    if (server) location.assign(`/${server[1]}/${pages[event.key]}`);
  } else if (event.key === "/") {
    const filter = document.querySelector("[data-filter]");
    if (!filter) return;
    event.preventDefault();
    filter.focus();
  } else if (event.key === "j" || event.key === "k") {
    step(event.key === "j" ? 1 : -1);
  }
  waitsForPage = event.key === "g";
}

document.addEventListener("keydown", pressed);
if (document.body.dataset.live) goLive(document.body.dataset.live);
