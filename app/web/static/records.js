// Records: find them, and look at one. What is searched stands behind the `#` of the
// address, which a browser keeps to itself.

import { get } from "./api.js";
import { byId, csv, download, h, replace, unmasked } from "./dom.js";
import { eventWords } from "./explanation.js";
import { showOne } from "./record.js";
import { isSignedOut, poll, start } from "./shell.js";
import { duration, kindOfRecord, moment, plural, verdict } from "./words.js";

const FIELDS = ["text", "id", "session_id", "caller", "person", "provider", "outcome", "since", "until"];
const TIMES = ["since", "until"];
const LASTS = { "15m": 900, "1h": 3600, "24h": 86_400 }; // seconds
const CHIPS = [
  ["Degraded", { degraded: "true" }],
  ["No answer", { failed: "true" }],
  ["Under way", { outcome: "open" }],
  ["Events", { outcome: "event" }],
  ["Last 15 min", { last: "15m" }],
  ["Last hour", { last: "1h" }],
  ["Last 24 h", { last: "24h" }],
];
const PAGE = 50;
const LIVE_EVERY = 2000; // ms
const LIVE_ROWS = 500;
const EXPORT_PAGE = 200;
const EXPORT_MOST = 10_000;
const WIDE = 704; // pixels from which on there is room for the form

let searched = ""; // the search that was shown last
let upstreams = []; // their names
let next = null; // what asks for the records behind those that are shown
let isLive = false;

start((status) => {
  upstreams = status.routing.order;
  suggest(upstreams);
  byId("filters").addEventListener("submit", onSearch);
  byId("filters").addEventListener("reset", () => (location.hash = ""));
  byId("older").addEventListener("click", () => attempt(() => load(next)));
  byId("live").addEventListener("click", toggleLive);
  byId("as-csv").addEventListener("click", () => attempt(() => keep("csv", "text/csv", asCsv)));
  byId("as-lines").addEventListener("click", () => attempt(() => keep("jsonl", "application/jsonl", asLines)));
  byId("more").open = innerWidth >= WIDE;
  addEventListener("hashchange", show);
  show();
  poll(LIVE_EVERY, async () => isLive && !wanted().has("record") && attempt(refresh));
});

/** Names of providers, for the field that wants one. */
function suggest(names) {
  const known = new Set(Array.from(byId("providers").options, (option) => option.value));
  const more = new Set(names.filter((name) => name && !known.has(name)));
  byId("providers").append(...Array.from(more, (name) => h("option", { value: name }, name)));
}

const wanted = () => new URLSearchParams(location.hash.slice(1));

/** What the gateway is asked for; `last` is counted back from now. */
function query(limit) {
  const asked = wanted();
  const last = LASTS[asked.get("last")];
  asked.delete("last");
  if (last) asked.set("since", Math.floor(Date.now() / 1000 - last));
  asked.set("limit", limit);
  return asked;
}

function show() {
  const id = wanted().get("record");
  byId("search").hidden = Boolean(id);
  byId("record").hidden = !id;
  attempt(() => (id ? showOne(id, { back: `#${searched}`, beside: beside(id), upstreams }) : showSearch()));
}

/** The records above and below one in the list, if it is there. */
function beside(id) {
  const ids = Array.from(byId("rows").children, (li) => li.dataset.id);
  const at = ids.indexOf(id);
  return at < 0 ? {} : { newer: ids[at - 1], older: ids[at + 1] };
}

async function attempt(task) {
  try {
    await task();
  } catch (error) {
    if (isSignedOut(error)) return;
    byId("found").textContent = error.message;
    const words = error.status === 404 ? "There is no such record." : error.message;
    const back = h("p", {}, h("a", { class: "link", href: `#${searched}` }, "← Back to the list"));
    if (!byId("record").hidden) replace(byId("record"), back, h("p", { class: "notice bad", role: "alert" }, words));
  }
}

function onSearch(event) {
  event.preventDefault();
  const asked = wanted();
  for (const name of [...FIELDS, "last"]) {
    const value = byId(name)?.value.trim();
    if (value) asked.set(name, TIMES.includes(name) ? Date.parse(value) / 1000 : value);
    else if (name !== "last") asked.delete(name);
  }
  if (asked.has("since") || asked.has("until")) asked.delete("last");
  lookFor(asked);
}

function lookFor(asked) {
  if (`#${asked}` === location.hash || (!asked.size && !location.hash)) show();
  else location.hash = asked;
}

async function showSearch() {
  const asked = wanted();
  searched = asked.toString();
  for (const name of FIELDS) byId(name).value = TIMES.includes(name) ? local(asked.get(name)) : (asked.get(name) ?? "");
  if (FIELDS.some((name) => asked.has(name) && !TIMES.includes(name))) byId("more").open = true;
  showChips(asked);
  replace(byId("rows"));
  await load(null);
}

function showChips(asked) {
  const pressed = (terms) => Object.entries(terms).every(([name, value]) => asked.get(name) === value);
  const focused = document.activeElement?.dataset.chip;
  replace(byId("chips"), ...CHIPS.map(([words, terms]) => chip(words, terms, pressed(terms))));
  if (focused) byId("chips").querySelector(`[data-chip="${focused}"]`)?.focus();
}

function chip(words, terms, isPressed) {
  const click = () => {
    const asked = wanted();
    for (const [name, value] of Object.entries(terms)) isPressed ? asked.delete(name) : asked.set(name, value);
    if (!isPressed && terms.last) for (const name of TIMES) asked.delete(name);
    lookFor(asked);
  };
  return h("button", { type: "button", class: "pick", "aria-pressed": String(isPressed), "data-chip": words, click }, words);
}

/** Unix seconds as a field for local time wants them. */
function local(unix) {
  if (!unix) return "";
  const at = new Date(Number(unix) * 1000);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

async function load(before) {
  const asked = query(PAGE);
  if (before) asked.set("before", before);
  const page = await get(`records?${asked}`);
  byId("rows").append(...page.records.map(row));
  suggest(page.records.map((record) => record.provider));
  next = page.next;
  tell();
}

function tell() {
  const count = byId("rows").children.length;
  byId("older").hidden = !next;
  byId("none").hidden = count > 0 || !wanted().size;
  const words = count ? `${next ? "The newest " : ""}${plural(count, "record")}` : "Nothing was found.";
  byId("found").textContent = isLive ? `${words} · live` : words;
}

function toggleLive() {
  isLive = !isLive;
  byId("live").setAttribute("aria-pressed", String(isLive));
  tell();
  if (isLive) attempt(refresh);
}

/** Put what is new above the others, and show how those under way have ended. */
async function refresh() {
  const asked = searched;
  const page = await get(`records?${query(PAGE)}`);
  if (asked !== searched) return; // something else is looked for by now
  const rows = byId("rows");
  const known = new Map(Array.from(rows.children, (li) => [li.dataset.id, li]));
  for (const record of page.records) place(rows, known.get(record.id), record);
  while (rows.children.length > LIVE_ROWS) {
    rows.lastChild.remove();
    next = `${rows.lastChild.dataset.at}-${rows.lastChild.dataset.id}`;
  }
  tell();
}

function place(rows, known, record) {
  if (known?.dataset.outcome === (record.outcome ?? "")) return;
  const fresh = row(record);
  if (!known) {
    const older = Array.from(rows.children).find((li) => Number(li.dataset.at) < record.opened_at);
    rows.insertBefore(fresh, older ?? null);
    return;
  }
  const hadFocus = known.contains(document.activeElement);
  known.replaceWith(fresh);
  if (hadFocus) fresh.querySelector("a").focus({ preventScroll: true });
}

/** All that is found, page by page, as a file. */
async function keep(ending, type, written) {
  const found = [];
  let before = null;
  do {
    const asked = query(EXPORT_PAGE);
    if (before) asked.set("before", before);
    const page = await get(`records?${asked}`);
    found.push(...page.records);
    before = page.next;
    byId("found").textContent = `${plural(found.length, "record")} so far…`;
  } while (before && found.length < EXPORT_MOST);
  download(`records.${ending}`, type, written(found));
  byId("found").textContent = before ? `The newest ${plural(found.length, "record")} are in the file; narrow the search for older ones.` : `${plural(found.length, "record")} are in the file.`;
}

const asLines = (found) => found.map((record) => `${JSON.stringify(record)}\n`).join("");

function asCsv(found) {
  const columns = Object.keys(found[0] ?? { id: "" });
  return csv([columns, ...found.map((record) => columns.map((name) => record[name]))]);
}

function row(record) {
  return h(
    "li",
    { "data-id": record.id, "data-at": record.opened_at, "data-outcome": record.outcome ?? "" },
    h(
      "a",
      { href: `#record=${record.id}` },
      h("span", { class: "when" }, moment(record.opened_at)),
      h("span", { class: `chip ${kindOfRecord(record)}` }, verdict(record)),
      h("span", { class: "by" }, record.provider ?? record.code ?? "–"),
      h("span", { class: "who" }, record.person ?? record.caller),
      h("span", { class: "took" }, duration(record.duration)),
      h("span", { class: "excerpt", dir: "auto" }, excerpt(record)),
    ),
  );
}

function excerpt(record) {
  if (record.outcome === "event") return eventWords(record);
  return record.excerpt === null ? "(not kept)" : unmasked(record.excerpt);
}
