// The upstreams' cards: where each is, how it is, how the calls to it went.

import { call, get } from "./api.js";
import { byId, h, redraw } from "./dom.js";
import { recordHref } from "./links.js";
import { may } from "./shell.js";
import { duration, faultWords, moment, obstacleWords, percent } from "./words.js";

const STATES = { up: ["good", "Up"], down: ["bad", "Down"], unknown: ["", "Not known yet"], unprobed: ["", "Not probed"] };
const FAILING = 3; // failed calls in a row that are no accident any more
const BREAKER = { closed: "lets all calls through", open: "holds all calls back", "half-open": "lets one call through, to see" };

let figures = new Map(); // what the records tell of each upstream, by its name
let drawn = null; // the upstreams that were drawn last
const told = new Map(); // what each said when it was asked by hand

/** Draw the upstreams as the status tells them, in their order. */
export function showCards(order, services) {
  drawn = [order, services];
  redraw(byId("upstreams"), ...order.map((name) => card(name, services[name])));
}

/** Take up what the records tell of the upstreams. */
export async function loadFigures() {
  const { upstreams } = await get("upstreams");
  figures = new Map(upstreams.map((one) => [one.name, one]));
  if (drawn) showCards(...drawn);
}

/** One that is down says so by its status; what else keeps chats from it does not. */
function stateOf({ status, obstacle, recent }) {
  const [kind, words] = STATES[status];
  if (status === "down") return [kind, words];
  if (obstacle) return ["warn", `${words}, but passed over`];
  return recent?.failures >= FAILING ? ["warn", `${words}, but its calls fail`] : [kind, words];
}

function card(name, service) {
  const [kind, words] = stateOf(service);
  const { address, kind: wire } = figures.get(name) ?? {};
  return h(
    "li",
    { class: `card upstream ${kind}` },
    h("h3", {}, name),
    address ? h("p", { class: "muted" }, h("code", {}, address), ` · ${wire}`) : null,
    h("p", { class: `state ${kind}` }, words),
    service.status === "down" ? why(faultWords(service.reason), service.reason) : null,
    service.obstacle && kind === "warn" ? why(obstacleWords(service.obstacle), service.obstacle.reason) : null,
    !service.obstacle && kind === "warn" ? why(faultWords(service.recent.fault), service.recent.fault) : null,
    h("dl", { class: "pairs" }, ...particulars(name, service)),
    may("audit") && service.status !== "unprobed" ? asking(name) : null,
  );
}

const why = (words, code) => h("p", {}, `It ${words}. `, h("code", {}, code));

/** Whatever else is known of an upstream. */
function particulars(name, { breaker, recent, calls }) {
  return [
    ...lately(recent, figures.get(name)),
    ...(breaker ? pair("circuit breaker", BREAKER[breaker]) : []),
    ...(calls ? pair("calls under way", `${calls.running} of ${calls.limit}`) : []),
  ];
}

/** How the newest calls to it ended: what all workers know, and what is on record. */
function lately(recent, known) {
  const at = (time) => moment(Date.parse(time) / 1000);
  const failure = known?.last_failure;
  return [
    ...(recent?.succeeded_at ? pair("last success", at(recent.succeeded_at)) : []),
    ...(failure ? pair("last failure", h("a", { class: "link", href: recordHref(failure.record), "data-key": `failure of ${known.name}` }, moment(failure.at)), ": ", h("code", {}, failure.fault)) : []),
    ...(!failure && recent?.failed_at ? pair("last failure", `${at(recent.failed_at)}: `, h("code", {}, recent.fault)) : []),
    ...(recent?.failures ? pair("failures in a row", String(recent.failures)) : []),
    ...(known?.calls ? speed(known) : []),
  ];
}

function speed({ calls, failures, p50, p95 }) {
  return [
    ...pair("calls lately", `${calls.toLocaleString()}, ${percent(failures, calls)} failed`),
    ...(p50 === null ? [] : pair("answers lately", `half within ${duration(p50)}, 95 % within ${duration(p95)}`)),
  ];
}

const pair = (name, ...values) => [h("div", {}, h("dt", {}, name), h("dd", {}, ...values))];

function asking(name) {
  return h(
    "div",
    { class: "actions" },
    h("button", { type: "button", class: "link", "data-key": `ask ${name}`, "aria-label": `Ask ${name} for its health now`, click: () => ask(name) }, "Ask it now"),
    told.has(name) ? h("span", { class: "muted" }, told.get(name)) : null,
  );
}

async function ask(name) {
  tell(name, "Asking…");
  try {
    const answer = await (await call(`upstreams/${encodeURIComponent(name)}/health`, { method: "POST" })).json();
    tell(name, `${moment(Date.now() / 1000)}: ${SAID[answer.status](answer)}`);
  } catch (error) {
    tell(name, error.message);
  }
}

const SAID = {
  up: ({ took }) => `up, after ${duration(took)}`,
  down: ({ reason, took }) => `it ${faultWords(reason)}, after ${duration(took)}`,
  unknown: () => "there was no time to ask it",
  unprobed: () => "it is never asked for its health",
};

function tell(name, words) {
  told.set(name, words);
  byId("told").textContent = `${name}: ${words}`; // is read out, and not drawn anew
  if (drawn) showCards(...drawn);
}
