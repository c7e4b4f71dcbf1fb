// Outages: a report of every minute in which a fallback or nobody answered, and why.

import { get } from "./api.js";
import { byId, copyButton, h, replace, svg } from "./dom.js";
import { FLOOR, TOP, line, nice, prepare, round } from "./plot.js";
import { isSignedOut, start } from "./shell.js";
import { clock, duration, moment, plural } from "./words.js";

const DAY = 86400; // seconds
const BARS = 120; // at most, of whole minutes
const KINDS = { degraded: "warn", unanswered: "bad", refused: "bad" };
const SHOWN = 500; // lines of a list; the command `report degraded` has them all

let drawn = null; // the report that is on show
let back = DAY; // so long ago it begins, where the address names no time

start(() => {
  byId("range").addEventListener("submit", onRange);
  byId("print").addEventListener("click", () => print());
  byId("anchor").addEventListener("submit", onAnchor);
  for (const button of document.querySelectorAll("[data-back]")) button.addEventListener("click", () => lookBack(Number(button.dataset.back)));
  addEventListener("hashchange", show);
  addEventListener("resize", () => drawn && draw(drawn));
  show();
});

const wanted = () => new URLSearchParams(location.hash.slice(1));

function lookBack(seconds) {
  back = seconds;
  history.replaceState(null, "", location.pathname);
  show();
}

/** Report on the time that the address names, else on the newest. */
async function show() {
  const until = Number(wanted().get("until")) || Date.now() / 1000;
  const since = Number(wanted().get("since")) || until - back;
  [byId("since").value, byId("until").value] = [local(since), local(until)];
  byId("summary").textContent = "Reading the records …";
  try {
    tell(await get(`report?${new URLSearchParams({ since, until })}`));
  } catch (error) {
    byId("report").hidden = byId("print").hidden = true;
    if (!isSignedOut(error)) byId("summary").textContent = error.message;
  }
}

function onRange(event) {
  event.preventDefault();
  const range = new URLSearchParams();
  for (const name of ["since", "until"]) if (byId(name).value) range.set(name, Date.parse(byId(name).value) / 1000);
  if (location.hash === `#${range}`) show();
  else location.hash = range;
}

/** Unix seconds as a field for local time wants them. */
function local(unix) {
  const at = new Date(unix * 1000);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function tell(report) {
  drawn = report;
  byId("report").hidden = byId("print").hidden = false;
  byId("summary").textContent = summary(report);
  draw(report);
  const windows = report.windows.toReversed();
  replace(byId("outages"), ...(windows.length ? windows.slice(0, SHOWN).map(outage) : [h("li", {}, "There was none.")]));
  const bad = report.minutes.filter(isBad).toReversed();
  byId("minutes-section").hidden = !bad.length;
  replace(byId("minutes"), table(bad.slice(0, SHOWN)));
  replace(byId("happened"), ...happened(report));
  replace(byId("heads"), ...report.heads.map((head) => h("li", {}, h("code", {}, head), " ", copyButton("Copy", () => head))));
}

const isBad = (minute) => minute.degraded || minute.unanswered || minute.refused;

function summary({ since, until, chats, degraded, unanswered, refused, unexplained, minutes, stops }) {
  const bad = minutes.filter(isBad).length;
  const parts = [
    `${moment(since)} to ${moment(until)}: ${plural(chats, "chat")}.`,
    bad ? `${plural(bad, "bad minute")}: ${degraded} degraded, ${unanswered} unanswered, ${refused} refused.` : "Every chat was answered by its first choice.",
    stops.length ? `The gateway was not running ${stops.length === 1 ? "once" : `${stops.length} times`}.` : "",
    unexplained ? `For ${plural(unexplained, "chat")} no cause is on record.` : "",
  ];
  return parts.filter(Boolean).join(" ");
}

/** A bar for each stretch of whole minutes, bands for stops, marks for what happened. */
function draw({ since, until, minutes, stops, happenings }) {
  const step = 60 * Math.max(1, Math.ceil((until - since) / 60 / BARS));
  const begin = Math.floor(since / step) * step;
  const bins = Array.from({ length: Math.ceil((until - begin) / step) }, () => ({ good: 0, warn: 0, bad: 0 }));
  for (const minute of minutes) add(bins[Math.floor((minute.at - begin) / step)], minute);
  byId("picture-caption").textContent = `How chats ended, by ${step === 60 ? "minute" : duration(step)}`;
  const { frame, x } = prepare(byId("picture"), begin, until, byId("summary").textContent);
  const top = nice(Math.max(4, ...bins.map((bin) => bin.good + bin.warn + bin.bad)));
  const y = (count) => round(FLOOR - (count / top) * (FLOOR - TOP));
  const grid = [0, top / 2, top].flatMap((count) => line(byId("picture"), y(count), String(count)));
  const bands = stops.map((stop) => svg("rect", { class: "bar-rest", x: x(Math.max(stop.since, begin)), y: FLOOR - 4, width: Math.max(2, x(stop.until) - x(Math.max(stop.since, begin))), height: 4 }));
  const marks = happenings.map((one) => svg("path", { class: "mark", d: `M${x(one.at)} ${TOP - 8}v8` }, svg("title", {}, `${clock(one.at)} ${one.sentence}`)));
  const bars = bins.flatMap((bin, index) => stack(bin, x(begin + index * step), Math.max(1.5, x(begin + step) - x(begin) - 1), y));
  replace(byId("picture"), svg("svg", frame, ...grid, ...axis(x, begin, until), ...bars, ...bands, ...marks));
}

function add(bin, { chats, degraded, unanswered, refused }) {
  if (!bin) return;
  bin.warn += degraded;
  bin.bad += unanswered + refused;
  bin.good += chats - degraded - unanswered - refused;
}

function stack(bin, left, width, y) {
  let below = 0;
  return ["good", "warn", "bad"].filter((kind) => bin[kind]).map((kind) => {
    const [low, high] = [y(below), y((below += bin[kind]))];
    return svg("rect", { class: `bar-${kind}`, x: left, y: high, width, height: Math.max(low - high - 0.5, 1.5) });
  });
}

function axis(x, since, until) {
  const ends = [[since, "start"], [(since + until) / 2, "middle"], [until, "end"]];
  return ends.map(([at, anchor]) => svg("text", { x: x(at), y: FLOOR + 18, "text-anchor": anchor }, moment(at)));
}

function outage(window) {
  const range = new URLSearchParams({ since: Math.floor(window.began), until: Math.ceil(window.ended) + 1 });
  return h(
    "li",
    { class: `card ${KINDS[window.kind]}` },
    h("h3", {}, h("span", { class: `chip ${KINDS[window.kind]}` }, window.kind), ` ${moment(window.began)}`),
    h("p", { class: "muted" }, `${plural(window.chats, "chat")} in ${duration(window.ended - window.began)} · `, h("a", { class: "link", href: `/operator/records#${range}` }, "Records")),
    h("ol", { class: "events" }, ...window.causes.map(cause)),
    window.happenings.length ? h("details", { class: "ids" }, h("summary", {}, "What happened around it"), h("ol", { class: "events" }, ...window.happenings.map(happening))) : null,
  );
}

const cause = ({ at, sentence, chats, word }) => h("li", {}, h("span", { class: "muted" }, `${moment(at)} `), `${sentence} `, h("span", { class: "muted" }, `(${plural(chats, "chat")}, `, h("code", {}, word), ")"));
const happening = ({ at, sentence }) => h("li", {}, h("span", { class: "muted" }, `${moment(at)} `), sentence);

function table(minutes) {
  const head = ["Minute", "Chats", "Degraded", "Unanswered", "Refused", "Half within", "Why, in order"];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head.map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, ...minutes.map(row)),
  );
}

function row(minute) {
  const counts = [minute.chats, minute.degraded, minute.unanswered, minute.refused];
  return h(
    "tr",
    {},
    h("td", {}, moment(minute.at)),
    ...counts.map((count) => h("td", { class: "number" }, count.toLocaleString())),
    h("td", { class: "number" }, duration(minute.p50)),
    h("td", {}, minute.causes.map((one) => `${one.sentence} (${one.chats})`).join("; ")),
  );
}

function happened({ happenings, stops }) {
  const told = [
    ...happenings,
    ...stops.map((stop) => ({ at: stop.since, sentence: `nothing was written for ${duration(stop.until - stop.since)}: the gateway was not running, ${stop.was_told ? "as it was told" : "and nobody had told it to stop"} (lane ${stop.lane})` })),
  ].sort((one, other) => other.at - one.at);
  return told.length ? told.slice(0, SHOWN).map(happening) : [h("li", {}, "Nothing that is on record.")];
}

const ANCHORED = {
  there: "Yes: the records still have it where it was.",
  pruned: "It cannot be said: what was there is older than the records that are kept.",
  missing: "No: the records have something else there, or nothing. They were changed, put back or begun anew since.",
};

async function onAnchor(event) {
  event.preventDefault();
  const noted = byId("noted").value.trim();
  try {
    const { state } = await get(`anchor?${new URLSearchParams({ head: noted })}`);
    byId("anchored").textContent = ANCHORED[state];
  } catch (error) {
    if (!isSignedOut(error)) byId("anchored").textContent = error.message;
  }
}
