// Break it: the sandbox's faults, and what the gateway makes of them.

import { call, get, send } from "./api.js";
import { byId, h, replace } from "./dom.js";
import { isSignedOut, may, poll, start } from "./shell.js";
import { timeline } from "./timeline.js";
import { duration, faultWords, obstacleWords, problemWords } from "./words.js";

const LOOK_EVERY = 1500; // ms
const FAVOURITES = {
  frozen: "Freeze",
  hang: "Hang",
  refuse: "Refuse",
  body_drip: "Drip",
  http_status: "Fail",
  status_error: "Talk nonsense",
  reset_mid_body: "Cut off",
};
const QUESTION = "Are you there?";

let drawn = ""; // what the cards show, so that they are not drawn anew for nothing
let faults = [];

start(async ({ sandbox, routing }) => {
  byId("no-sandbox").hidden = sandbox;
  byId("panel").hidden = !sandbox;
  if (!sandbox) return;
  const panel = await get("sandbox");
  faults = panel.faults;
  byId("ask").addEventListener("click", ask);
  poll(LOOK_EVERY, () => look(routing.order));
});

async function look(order) {
  try {
    const [panel, status] = await Promise.all([get("sandbox"), get("status")]);
    const names = order.filter((name) => panel.services[name]);
    const shown = JSON.stringify([names, panel.services, status.core_services]);
    if (shown === drawn) return;
    drawn = shown;
    for (const name of names) update(name, panel.services[name], status.core_services[name]);
  } catch (error) {
    isSignedOut(error);
  }
}

function update(name, fault, service) {
  const card = byId(`stand-in-${name}`) ?? addCard(name);
  const broken = fault.fault;
  card.className = `card stand-in ${broken ? "bad" : "good"}`;
  say(card.querySelector(".state"), broken ? `Broken: ${sentence(broken)}${fault.times ? ` ${fault.times} more times.` : ""}` : "Works.");
  say(card.querySelector(".verdict"), verdict(service));
  card.querySelector(".heal").disabled = !broken;
  for (const button of card.querySelectorAll("[data-fault]"))
    button.setAttribute("aria-pressed", String(button.dataset.fault === broken));
}

/** Set a text that is not yet there: a screen reader reads what is set anew. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function verdict({ status, reason, obstacle }) {
  if (status === "down") return `The gateway thinks it is down (${reason})`;
  const known = status === "unprobed" ? "does not ask for its health" : `thinks it is ${status}`;
  return `The gateway ${known}${obstacle ? `, but passes it over: it ${obstacleWords(obstacle)}` : ""}`;
}

const sentence = (name) => plain(faults.find((fault) => fault.name === name)?.sentence ?? name);
const plain = (text) => text.replaceAll("`", "");

function addCard(name) {
  const known = new Set(faults.map((fault) => fault.name));
  const buttons = Object.entries(FAVOURITES)
    .filter(([fault]) => known.has(fault))
    .map(([fault, label]) => h("button", { type: "button", "data-fault": fault, "aria-pressed": "false", title: sentence(fault), click: () => breakWith(name, fault) }, label));
  const card = h(
    "section",
    { id: `stand-in-${name}`, "aria-labelledby": `title-${name}` },
    h("h2", { id: `title-${name}` }, name),
    h("p", { class: "state", role: "status" }),
    h("p", { class: "verdict muted" }),
    h("div", { class: "faults", role: "group", "aria-label": `Ways to break ${name}` }, ...buttons),
    others(name),
    h("button", { type: "button", class: "heal main", click: () => heal(name) }, "Heal"),
  );
  byId("stand-ins").append(card);
  return card;
}

/** Every fault of the catalogue, for those who want to see them all. */
function others(name) {
  const options = faults.map((fault) => h("option", { value: fault.name }, `${fault.name}: ${plain(fault.sentence)}`));
  const select = h("select", { id: `all-${name}` }, h("option", { value: "" }, "choose one"), ...options);
  const button = h("button", { type: "button", click: () => select.value && breakWith(name, select.value) }, "Break");
  return h("div", { class: "field" }, h("label", { for: `all-${name}` }, `All ${faults.length} ways`), h("div", { class: "choice" }, select, button));
}

async function change(task) {
  try {
    await task();
  } catch (error) {
    if (!isSignedOut(error)) byId("asked").textContent = error.message;
  }
  drawn = "";
}

const breakWith = (name, fault) =>
  change(async () => noteFault(name, await send("POST", `sandbox/${name}/fault`, { fault })));

const heal = (name) =>
  change(async () => {
    noteFault(name, await send("DELETE", `sandbox/${name}/fault`));
    byId(`all-${name}`).value = "";
  });

async function noteFault(name, fault) {
  update(name, fault, (await get("status")).core_services[name]);
}

async function ask() {
  byId("ask").disabled = true;
  byId("nothing-asked").hidden = true;
  const shown = h("li", { class: "card" }, h("p", { class: "wait" }, "Asking…"));
  byId("tries").prepend(shown);
  const began = performance.now();
  const timer = setInterval(() => replace(shown, h("p", { class: "wait" }, `Asking… ${duration((performance.now() - began) / 1000)}`)), 100);
  const outcome = await answer();
  clearInterval(timer);
  byId("ask").disabled = false;
  byId("asked").textContent = outcome.words;
  replace(shown, ...(await account(outcome, (performance.now() - began) / 1000)));
}

async function answer() {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ message: QUESTION }) };
  try {
    const response = await call("chat", options);
    const body = await response.json();
    const reason = response.headers.get("X-Gateway-Fallback-Reason");
    const words = body.degraded ? `${body.provider} answered, because the first choice ${faultWords(reason)}.` : `${body.provider} answered.`;
    return { words, kind: body.degraded ? "warn" : "good", label: body.degraded ? "degraded" : "ok", record: response.headers.get("X-Gateway-Audit-Id"), text: body.response };
  } catch (error) {
    isSignedOut(error);
    return { words: `${problemWords(error.code)}.`, kind: "bad", label: error.code, record: error.correlationId };
  }
}

/** What came of it, and the attempts as they are on record. */
async function account({ words, kind, label, record, text }, took) {
  const kept = record && may("audit") ? await get(`records/${encodeURIComponent(record)}`).catch(() => null) : null;
  return [
    h("p", { class: "facts" }, h("span", { class: `chip ${kind}` }, label), h("strong", {}, words), h("span", {}, `after ${duration(took)}`)),
    text ? h("p", { class: "muted", dir: "auto" }, text) : null,
    kept?.attempts?.length ? timeline(kept.attempts, kept.duration) : null,
    kept ? h("a", { class: "link", href: `/operator/records#record=${kept.id}` }, "Its record") : null,
  ];
}
