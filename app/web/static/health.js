// Health: the upstreams, what is under way, and the recent past.

import { get } from "./api.js";
import { loadFigures, showCards } from "./cards.js";
import { byId, h, redraw } from "./dom.js";
import { recordsHref } from "./links.js";
import { drawLatency, drawOutcomes } from "./plot.js";
import { isSignedOut, may, poll, start } from "./shell.js";
import { duration, faultWords, moment, percent, plural, zone } from "./words.js";

const STATUS_EVERY = 2000; // ms
const PAST_EVERY = 3000;
const WINDOWS_EVERY = 10000;
const FIGURES_EVERY = 10000;
const SHOWN = { chat: "the upstreams and what is under way", audit: "the last minutes and days" };
const LIVE = 60; // seconds after its last answer in which a window may still go on

let latest = null; // the activity that was drawn last

start(() => {
  for (const section of document.querySelectorAll("[data-scope]")) section.hidden = !may(section.dataset.scope);
  if (may("chat")) poll(STATUS_EVERY, () => tell(status));
  if (may("audit")) {
    poll(PAST_EVERY, () => tell(past)).then(() => poll(WINDOWS_EVERY, () => tell(windows)));
    if (may("chat")) poll(FIGURES_EVERY, () => tell(loadFigures));
    addEventListener("resize", () => latest && drawPast(latest));
  }
  const lacking = Object.keys(SHOWN).find((scope) => !may(scope));
  byId("scope-note").hidden = !lacking;
  byId("scope-note").textContent = lacking ? `Your token lacks the scope ${lacking}, so ${SHOWN[lacking]} are not shown.` : "";
});

async function tell(task) {
  try {
    await task();
  } catch (error) {
    if (!isSignedOut(error)) byId("as-of").textContent = `Not up to date: ${error.message}`;
  }
}

async function status() {
  const known = await get("status");
  byId("as-of").textContent = `As of ${moment(Date.parse(known.timestamp) / 1000)}, ${zone()}`;
  redraw(byId("alarms"), ...alarms(known.gateway));
  const { scope, workers } = known.admission;
  showCards(known.routing.order, known.core_services);
  redraw(byId("tiles"), ...tiles(known));
  byId("hosts-section").hidden = !known.hosts.length;
  redraw(byId("hosts-box"), tableOf(["Host", "State folder", "Version", "Workers", "Other than here"], known.hosts.map(hostRow)));
  byId("load-title").textContent = scope === "host" ? `Now, in ${plural(workers, "worker")}` : "Now, in the worker that answered";
  byId("load-note").hidden = scope !== "worker";
}

const ALARMS = { refusing: ["bad", "Chats are refused"], degraded: ["warn", "Degraded"] };

/** What must be seen first: why chats are refused, or what does not hold. */
function alarms({ state, since, reasons }) {
  if (!(state in ALARMS)) return [];
  const [kind, words] = ALARMS[state];
  const causes = reasons.map(({ detail, code, next_step }) => h("li", {}, `${detail}. ${next_step} `, h("code", {}, code)));
  return [h("div", { class: `notice ${kind}` }, h("strong", {}, `${words} since ${moment(Date.parse(since) / 1000)}`), h("ul", {}, ...causes))];
}

const pair = (name, value) => [h("div", {}, h("dt", {}, name), h("dd", {}, value))];
const label = (name) => name.replaceAll("_", " ");
const sortedTimes = (chats) => chats.map((chat) => chat.duration).sort((a, b) => a - b);
const share = (sorted, part) => sorted[Math.floor(sorted.length * part)];

const TOKENS = { ok: "in effect", stale: "file broken", off: "none needed" };

function tiles({ routing, admission, audit, tokens }) {
  const places = [
    ["chats being answered", admission.busy, admission.slots],
    ["waiting in the queue", admission.waiting, admission.queue],
    ["streams", admission.streams, admission.stream_slots],
  ];
  return [
    ...places.filter(([, taken]) => taken !== undefined).flatMap(([name, taken, all]) => pair(name, `${taken} of ${all}`)),
    ...pair("deadline of a chat", duration(routing.deadline_s)),
    ...pair("records", audit === "ok" ? "are written" : label(audit)),
    ...pair("tokens", TOKENS[tokens.status] ?? tokens.status),
  ];
}

async function past() {
  const activity = await get("activity");
  for (const chat of activity.chats) chat.kind = kindOf(chat);
  latest = activity;
  drawPast(activity);
}

/** The callers' own mistakes, and chats that they gave up, say nothing about answers. */
function kindOf({ outcome, status, degraded_by: reason }) {
  if (outcome === "completed") return reason ? "warn" : "good";
  if (outcome === "failed" || outcome === "interrupted") return "bad";
  return outcome === "refused" && status >= 500 ? "bad" : null;
}

function drawPast({ now, since, is_whole: isWhole, chats }) {
  const oldest = isWhole ? since : chats.at(-1).opened_at;
  const counted = chats.filter((chat) => chat.kind);
  const span = { since: oldest, now, step: (now - oldest) / 30 };
  note(isWhole ? "" : `So much is asked that the newest ${chats.length} chats fill the picture: ${duration(now - oldest)}.`);
  const count = (kind) => counted.filter((chat) => chat.kind === kind).length;
  const [good, warn, bad] = ["good", "warn", "bad"].map(count);
  const took = sortedTimes(counted.filter((chat) => chat.kind !== "bad"));
  byId("latency-caption").textContent = took.length
    ? `How long answers took: half within ${duration(share(took, 0.5))}, 95 % within ${duration(share(took, 0.95))}`
    : "How long answers took: nobody asked";
  byId("errors-caption").textContent = counted.length
    ? `How ${plural(counted.length, "chat")} ended: ${percent(warn, counted.length)} degraded, ${percent(bad, counted.length)} without an answer`
    : "How chats ended: nobody asked";
  byId("past-records").href = recordsHref({ began: oldest, ended: now });
  const href = (began, ended) => recordsHref({ began, ended: ended - 1 });
  drawLatency(byId("latency"), counted, { ...span, summary: byId("latency-caption").textContent });
  drawOutcomes(byId("errors"), counted, { ...span, href, summary: `${good} by the first choice, ${warn} degraded, ${bad} without an answer` });
}

function note(words) {
  byId("past-note").hidden = !words;
  byId("past-note").textContent = words;
}

async function windows() {
  const { now, windows: found } = await get("windows");
  redraw(byId("windows-box"), found.length ? table(found, now) : h("p", {}, "There was none."));
}

function hostRow({ name, place, version, workers, silent, differences }) {
  const living = workers || `none since ${duration(silent)}`;
  const cells = [name, place, version, living, differences.map(label).join(", ") || "nothing"];
  return h("tr", {}, ...cells.map((words) => h("td", {}, `${words}`)));
}

function table(found, now) {
  const head = ["Began", "Lasted", "What", "Cause", "Chats"];
  return tableOf(head, found.map((window) => row(window, now)), h("td", {}));
}

function tableOf(head, rows, ...more) {
  const names = head.map((words) => h("th", { scope: "col" }, words));
  return h("table", {}, h("thead", {}, h("tr", {}, ...names, ...more)), h("tbody", {}, ...rows));
}

/** What finds the records of a window, among those of its time. */
const BAD = { degraded: { degraded: "true" }, unanswered: { failed: "true" }, refused: { failed: "true" } };
const KIND_COLOURS = { degraded: "warn", unanswered: "bad", refused: "bad" };

/** Of a degraded window it is what the first choice did; else the code says it. */
const causeWords = (kind, cause) => (kind === "degraded" ? `The first choice ${faultWords(cause)} ` : "");

function row(window, now) {
  const [first, ...others] = window.causes;
  const goesOn = now - window.ended < LIVE && !isOver(window);
  return h(
    "tr",
    {},
    h("td", {}, moment(window.began)),
    h("td", {}, duration(window.ended - window.began), goesOn ? h("span", { class: "chip warn" }, "goes on") : null),
    h("td", {}, h("span", { class: `chip ${KIND_COLOURS[window.kind]}` }, window.kind)),
    h("td", {}, causeWords(window.kind, first.cause), h("code", {}, first.cause), others.length ? h("span", { class: "muted" }, ` then ${others.map((other) => other.cause).join(", ")}`) : null),
    h("td", { class: "number" }, window.chats.toLocaleString()),
    h("td", {}, h("a", { class: "link", href: recordsHref({ began: window.began, ended: window.ended, ...BAD[window.kind] }), "data-key": window.began, "aria-label": `Records of the window that began ${moment(window.began)}` }, "Records"), " ", h("a", { class: "link", href: reportOn(window), "data-key": `why ${window.began}`, "aria-label": `Why: the report on the window that began ${moment(window.began)}` }, "Why")),
  );
}

/** Whether the first choice has answered since. */
function isOver(window) {
  return Boolean(latest?.chats.some((chat) => chat.kind === "good" && chat.opened_at > window.ended));
}

/** The report on a window, with ten minutes around it. */
function reportOn({ began, ended }) {
  const range = new URLSearchParams({ since: Math.floor(began) - 600, until: Math.ceil(ended) + 600 });
  return `/operator/outages#${range}`;
}
