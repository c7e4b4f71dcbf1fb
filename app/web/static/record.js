// One record, whole: what happened, who was asked, what was said.

import { get } from "./api.js";
import { byId, copyButton, h, replace, unmasked } from "./dom.js";
import { eventWords, why } from "./explanation.js";
import { replayPart } from "./replay.js";
import { timeline } from "./timeline.js";
import { duration, faultWords, fullMoment, kindOfRecord, moment, problemWords, verdict } from "./words.js";

/** Show the record of that id; `back` leads to the list, `beside` names its neighbours there, `upstreams` whom it may be asked again of. */
export async function showOne(id, { back, beside, upstreams }) {
  const record = await get(`records/${encodeURIComponent(id)}`);
  replace(
    byId("record"),
    ways(back, beside),
    h("div", { class: "head" }, h("h1", { tabindex: "-1" }, "Record"), h("span", { class: `chip ${kindOfRecord(record)}` }, verdict(record))),
    h("p", { class: "lead" }, story(record)),
    why(record),
    ...(record.outcome === "event" ? [] : talk(record)),
    replayPart(record, upstreams),
    h("section", {}, h("h2", {}, "Facts"), facts(record)),
    h("div", { class: "actions" }, copyButton("Copy as JSON", () => JSON.stringify(record, null, 2))),
  );
  byId("record").querySelector("h1").focus();
}

const talk = (record) => [
  h("section", {}, h("h2", {}, "Attempts"), attempts(record)),
  h("section", {}, h("h2", {}, "What was said"), ...said(record)),
];

function ways(back, { newer, older }) {
  const to = (id, words) => (id ? h("a", { class: "link", href: `#record=${id}` }, words) : null);
  return h("nav", { class: "actions", "aria-label": "Other records" }, h("a", { class: "link", href: back }, "← Back to the list"), to(newer, "Newer"), to(older, "Older"));
}

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
    Began: fullMoment(record.opened_at),
    Ended: record.closed_at && fullMoment(record.closed_at),
    Outcome: record.outcome ?? "under way",
    Status: record.status,
    Code: record.code,
    Provider: record.provider,
    Model: record.model,
    "Degraded by": record.degraded_by,
    "Tokens in, out": record.input_tokens === null ? null : `${record.input_tokens}, ${record.output_tokens ?? "–"}`,
    Token: record.route === "tokens" ? particulars(record.request) : null,
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
