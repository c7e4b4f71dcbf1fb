// Usage: who asked for how much, by day.

import { get } from "./api.js";
import { byId, csv, download, h, redraw, replace } from "./dom.js";
import { recordsHref } from "./links.js";
import { drawBars } from "./plot.js";
import { isSignedOut, poll, start } from "./shell.js";
import { percent, plural } from "./words.js";

const EVERY = 300_000; // ms; counting takes seconds where much is asked
const DAY = 86_400; // seconds
const COUNTS = ["chats", "answered", "degraded", "failed", "refused", "cancelled", "input_tokens", "output_tokens"];
const COLUMNS = ["day", "caller", "person", ...COUNTS];

let report = null; // what was counted last

start(() => {
  byId("days").addEventListener("change", load);
  byId("by").addEventListener("change", load);
  byId("day").addEventListener("change", showTable);
  byId("as-csv").addEventListener("click", keepAsCsv);
  addEventListener("resize", () => report && showPlot());
  poll(EVERY, load);
});

async function load() {
  const query = new URLSearchParams({ days: byId("days").value, by: byId("by").value });
  byId("counted").textContent = report ? "" : "Counting…";
  try {
    report = await get(`usage?${query}`);
  } catch (error) {
    if (!isSignedOut(error)) byId("counted").textContent = error.message;
    return;
  }
  show();
}

function show() {
  const { days, is_whole: isWhole } = report;
  const all = total(days.flatMap((day) => day.usage));
  byId("counted").textContent = `${plural(all.chats, "chat")} in ${plural(days.length, "day")}: ${percent(errors(all), all.chats)} errors, ${tokens(all)}`;
  byId("usage-note").hidden = isWhole;
  byId("usage-note").textContent = isWhole ? "" : `Not all could be counted in time. These are the newest ${plural(days.length, "day")}, and of each the callers that asked most.`;
  const chosen = byId("day").value;
  replace(byId("day"), h("option", { value: "" }, "all of them"), ...days.map((day) => h("option", { value: day.began }, date(day.began))));
  byId("day").value = days.some((day) => String(day.began) === chosen) ? chosen : "";
  showPlot();
  showTable();
}

const DATE = { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" };
const date = (unix) => new Date(unix * 1000).toLocaleDateString([], DATE);
const errors = ({ failed, refused }) => failed + refused;
const tokens = (used) => `${used.input_tokens.toLocaleString()} tokens in, ${used.output_tokens.toLocaleString()} out`;

/** The sums of several entries. */
function total(entries) {
  const sums = Object.fromEntries(COUNTS.map((name) => [name, 0]));
  for (const one of entries) for (const name of COUNTS) sums[name] += one[name];
  return sums;
}

function showPlot() {
  const oldestFirst = report.days.toReversed();
  const bins = oldestFirst.map((day) => bin(total(day.usage)));
  const [since] = oldestFirst.map((day) => day.began);
  const all = total(report.days.flatMap((day) => day.usage));
  const summary = `${all.answered - all.degraded} by the first choice, ${all.degraded} degraded, ${errors(all)} errors`;
  byId("usage-caption").textContent = `Chats by day: ${summary}`;
  const now = since + bins.length * DAY;
  const href = (began, ended) => recordsHref({ began, ended: ended - 1 });
  const tell = (at) => date(Math.min(at, now - 1));
  drawBars(byId("by-day"), bins, { since, now, step: DAY, summary, href, tell });
}

const bin = (used) => ({ good: used.answered - used.degraded, warn: used.degraded, bad: errors(used) });

function showTable() {
  const chosen = byId("day").value;
  const days = report.days.filter((day) => !chosen || String(day.began) === chosen);
  const used = byUser(days.flatMap((day) => day.usage));
  const range = { began: Math.min(...days.map((day) => day.began)), ended: Math.max(...days.map((day) => day.began)) + DAY - 1 };
  redraw(byId("used"), used.length ? table(used, range) : h("p", {}, "Nobody asked for anything."));
}

/** One entry for each user, with the sums of all days; who asked most comes first. */
function byUser(entries) {
  const users = Map.groupBy(entries, (one) => JSON.stringify([one.caller, one.person]));
  return Array.from(users.values(), (same) => ({ ...same[0], ...total(same) })).sort((one, other) => other.chats - one.chats);
}

function table(used, range) {
  const byPerson = byId("by").value === "person";
  const head = ["Caller", ...(byPerson ? ["Person"] : [])];
  const counts = ["Chats", "Answered", "Degraded", "Errors", "Given up", "Tokens in", "Tokens out"];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head.map((words) => h("th", { scope: "col" }, words)), ...counts.map((words) => h("th", { scope: "col", class: "number" }, words)), h("td", {}))),
    h("tbody", {}, ...used.map((one) => row(one, { byPerson, range }))),
  );
}

function row(used, { byPerson, range }) {
  const { caller, person, chats } = used;
  const counts = [chats, used.answered, used.degraded, errors(used), used.cancelled, used.input_tokens, used.output_tokens];
  const href = recordsHref({ ...range, caller, ...(person ? { person } : {}) });
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, caller),
    byPerson ? h("td", {}, person ?? "–") : null,
    ...counts.map((count, at) => h("td", { class: "number" }, count.toLocaleString(), at === 3 && count ? h("span", { class: "muted" }, ` ${percent(count, chats)}`) : null)),
    h("td", {}, h("a", { class: "link", href, "data-key": href, "aria-label": `Records of ${person ?? caller}` }, "Records")),
  );
}

function keepAsCsv() {
  if (!report) return;
  const rows = report.days.flatMap((day) => day.usage.map((one) => [new Date(day.began * 1000).toISOString().slice(0, 10), ...COLUMNS.slice(1).map((name) => one[name])]));
  download("usage.csv", "text/csv", csv([COLUMNS, ...rows]));
}
