// Records: find them, and look at one. What is searched stands behind the `#` of the
// address, which a browser keeps to itself.

import { get } from "./api.js";
import { byId, copyButton, h, replace, unmasked } from "./dom.js";
import { eventWords, why } from "./explanation.js";
import { replayPart } from "./replay.js";
import { isSignedOut, start } from "./shell.js";
import { timeline } from "./timeline.js";
import { duration, faultWords, moment, plural, problemWords } from "./words.js";

const FIELDS = ["text", "id", "session_id", "provider", "outcome", "since", "until"];
const TIMES = ["since", "until"];
const PAGE = 50;

let searched = ""; // the search that was shown last
let upstreams = []; // their names
let next = null; // what asks for the records behind those that are shown

start((status) => {
  upstreams = status.routing.order;
  suggest(upstreams);
  byId("filters").addEventListener("submit", onSearch);
  byId("filters").addEventListener("reset", () => (location.hash = ""));
  byId("older").addEventListener("click", () => attempt(() => load(next)));
  addEventListener("hashchange", show);
  show();
});

/** Names of providers, for the field that wants one. */
function suggest(names) {
  const known = new Set(Array.from(byId("providers").options, (option) => option.value));
  const more = new Set(names.filter((name) => name && !known.has(name)));
  byId("providers").append(...Array.from(more, (name) => h("option", { value: name })));
}

const wanted = () => new URLSearchParams(location.hash.slice(1));

function show() {
  const id = wanted().get("record");
  byId("search").hidden = Boolean(id);
  byId("record").hidden = !id;
  attempt(() => (id ? showRecord(id) : showSearch()));
}

async function attempt(task) {
  try {
    await task();
  } catch (error) {
    if (isSignedOut(error)) return;
    byId("found").textContent = error.message;
    const words = error.status === 404 ? "There is no such record." : error.message;
    if (!byId("record").hidden) replace(byId("record"), back(), h("p", { class: "notice bad", role: "alert" }, words));
  }
}

function onSearch(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const name of FIELDS) {
    const value = byId(name).value.trim();
    if (value) query.set(name, TIMES.includes(name) ? Date.parse(value) / 1000 : value);
  }
  if (`#${query}` === location.hash || (!query.size && !location.hash)) show();
  else location.hash = query;
}

async function showSearch() {
  const query = wanted();
  searched = query.toString();
  for (const name of FIELDS) byId(name).value = TIMES.includes(name) ? local(query.get(name)) : (query.get(name) ?? "");
  replace(byId("rows"));
  await load(null);
}

/** Unix seconds as a field for local time wants them. */
function local(unix) {
  if (!unix) return "";
  const at = new Date(Number(unix) * 1000);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

async function load(before) {
  const query = wanted();
  query.set("limit", PAGE);
  if (before) query.set("before", before);
  const page = await get(`records?${query}`);
  byId("rows").append(...page.records.map(row));
  suggest(page.records.map((record) => record.provider));
  next = page.next;
  byId("older").hidden = !next;
  const count = byId("rows").children.length;
  byId("found").textContent = count ? `${next ? "The newest " : ""}${plural(count, "record")}` : "Nothing was found.";
}

function row(record) {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#record=${record.id}` },
      h("span", { class: "when" }, moment(record.opened_at)),
      h("span", { class: `chip ${kind(record)}` }, verdict(record)),
      h("span", { class: "by" }, record.provider ?? record.code ?? "–"),
      h("span", { class: "took" }, duration(record.duration)),
      h("span", { class: "excerpt", dir: "auto" }, excerpt(record)),
    ),
  );
}

function excerpt(record) {
  if (record.outcome === "event") return eventWords(record);
  return record.excerpt === null ? "(not kept)" : unmasked(record.excerpt);
}

function kind(record) {
  if (record.outcome === "completed") return record.degraded_by ? "warn" : "good";
  return ["failed", "interrupted", "refused"].includes(record.outcome) ? "bad" : "";
}

function verdict(record) {
  if (record.outcome === "completed" && record.degraded_by) return "degraded";
  return record.outcome ?? "under way";
}

async function showRecord(id) {
  const record = await get(`records/${encodeURIComponent(id)}`);
  replace(
    byId("record"),
    back(),
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Record"), h("span", { class: `chip ${kind(record)}` }, verdict(record))),
    h("p", { class: "lead" }, story(record)),
    why(record),
    h("section", {}, h("h2", {}, "Attempts"), attempts(record)),
    h("section", {}, h("h2", {}, "What was said"), ...said(record)),
    replayPart(record, upstreams),
    h("section", {}, h("h2", {}, "Facts"), facts(record)),
    h("div", { class: "actions" }, copyButton("Copy as JSON", () => JSON.stringify(record, null, 2))),
  );
  byId("record").querySelector("h1").focus();
}

const back = () => h("p", {}, h("a", { class: "link", href: `#${searched}` }, "← Back to the list"));

/** What happened, in a sentence. */
function story(record) {
  if (record.outcome === "event") return `At ${moment(record.opened_at)}: ${eventWords(record)}.`;
  const asked = `${record.caller} asked at ${moment(record.opened_at)}. `;
  if (record.outcome === null) return `${asked}The chat is still under way.`;
  if (record.outcome === "completed" && record.degraded_by)
    return `${asked}The first choice ${faultWords(record.degraded_by)}, so ${record.provider} answered after ${duration(record.duration)}.`;
  if (record.outcome === "completed") return `${asked}${record.provider} answered after ${duration(record.duration)}.`;
  const endings = {
    cancelled: "The caller left before the end.",
    interrupted: "The worker that dealt with it died.",
    refused: `It was refused (${record.code}).`,
  };
  return asked + (endings[record.outcome] ?? `${problemWords(record.code)} (${record.code}).`);
}

function attempts(record) {
  if (!record.attempts?.length) return h("p", { class: "muted" }, "Nobody was asked.");
  return timeline(record.attempts, record.duration);
}

function said(record) {
  const { messages } = record.request ?? {};
  const turns = (messages ?? []).map(([role, content]) => quote(role, content));
  const answer = record.reply?.text;
  if (answer) turns.push(quote(record.provider ?? "answer", answer));
  for (const part of ["request", "reply"]) if (record[part]?.hmac_sha256) turns.push(digest(part, record[part]));
  return turns.length ? turns : [h("p", { class: "muted" }, "No words were kept.")];
}

const quote = (who, words) => h("figure", { class: "quote" }, h("figcaption", {}, who), h("blockquote", { dir: "auto" }, unmasked(words)));

const digest = (part, { bytes, hmac_sha256: sum }) =>
  h("p", {}, `Of the ${part} only a digest of its ${bytes.toLocaleString()} bytes was kept: `, h("code", {}, sum));

function facts(record) {
  const shown = {
    Record: record.id,
    "Correlation id": record.correlation_id,
    Session: record.session_id,
    Caller: record.caller,
    Person: record.person,
    Route: record.route,
    Began: new Date(record.opened_at * 1000).toISOString(),
    Ended: record.closed_at && new Date(record.closed_at * 1000).toISOString(),
    Outcome: record.outcome ?? "under way",
    Status: record.status,
    Code: record.code,
    Provider: record.provider,
    Model: record.model,
    "Degraded by": record.degraded_by,
    "Tokens in, out": record.input_tokens === null ? null : `${record.input_tokens}, ${record.output_tokens ?? "–"}`,
    Context: particulars(record.request?.context),
    Metadata: particulars(record.request?.metadata),
    Corrects: record.corrects,
    "Clock step": record.clock_step && `${record.clock_step} s`,
    Worker: record.worker,
    "Place in the chain": record.seq,
    Digest: record.digest,
  };
  const kept = Object.entries(shown).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts-list" }, ...kept.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, unmasked(String(value)), ...more(name, value))]));
}

const particulars = (value) => (value && Object.keys(value).length ? JSON.stringify(value) : null);

function more(name, value) {
  if (name !== "Session") return [];
  const all = new URLSearchParams({ session_id: value });
  return [" ", h("a", { class: "link", href: `#${all}` }, "all of it")];
}
