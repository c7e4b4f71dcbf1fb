// Tokens: who may come in. A token itself is shown once, when it is made, and kept nowhere.

import { get, send } from "./api.js";
import { byId, copyButton, h, redraw, replace } from "./dom.js";
import { isSignedOut, poll, start } from "./shell.js";
import { fullMoment, moment } from "./words.js";

const EVERY = 10_000; // ms
const KINDS = { active: "good", expired: "bad", "not yet": "warn" };

let me = ""; // the name that is signed in

start((status) => {
  me = status.caller.name;
  byId("new").addEventListener("submit", onNew);
  poll(EVERY, load);
});

async function load() {
  await attempt(async () => show(await get("tokens")));
}

/** Do it, and say what goes wrong; returns whether it went well. */
async function attempt(task) {
  try {
    await task();
    byId("tokens-problem").hidden = true;
    return true;
  } catch (error) {
    if (isSignedOut(error)) return false;
    byId("tokens-problem").hidden = false;
    byId("tokens-problem").textContent = `${error.message} (${error.code})`;
    return false;
  }
}

function show({ may_change: mayChange, tokens }) {
  byId("no-file").hidden = mayChange;
  byId("new-section").hidden = !mayChange;
  redraw(byId("tokens"), table(tokens));
}

function table(tokens) {
  const head = ["Name", "Id", "State", "May", "Class", "Limits", "Last used", "Ends"];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...head.map((words) => h("th", { scope: "col" }, words)), h("td", {}))),
    h("tbody", {}, ...tokens.map(row)),
  );
}

function row(token) {
  const isOurs = token.source === "file";
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, token.name),
    h("td", {}, h("code", {}, token.id)),
    h("td", {}, h("span", { class: `chip ${KINDS[token.state] ?? ""}` }, token.state)),
    h("td", {}, token.scopes.join(", ")),
    h("td", {}, token.class),
    h("td", {}, limits(token)),
    h("td", {}, token.last_used ? moment(Date.parse(token.last_used) / 1000) : "–"),
    h("td", {}, token.expires ? fullMoment(Date.parse(token.expires) / 1000) : "never"),
    h("td", {}, isOurs ? actions(token) : h("span", { class: "muted" }, "of the environment")),
  );
}

function limits({ rate, volume, names_people: namesPeople }) {
  const shown = [
    rate && `${rate.toLocaleString()} a minute`,
    volume && `${volume.toLocaleString()} bytes a minute`,
    namesPeople && "names people",
  ].filter(Boolean);
  return shown.join(", ") || "–";
}

function actions(token) {
  const button = (words, click) =>
    h("button", { type: "button", class: "link", "data-key": `${words} ${token.id}`, "aria-label": `${words} ${token.name} ${token.id}`, click }, words);
  return h("div", { class: "actions" }, button("Rotate", () => rotate(token)), button("Revoke", () => revoke(token)));
}

async function onNew(event) {
  event.preventDefault();
  const wanted = { name: byId("name").value.trim(), class: byId("class").value, scopes: chosenScopes(), names_people: byId("names-people").checked };
  if (byId("rate").value) wanted.rate = Number(byId("rate").value);
  if (byId("expires").value) wanted.expires = new Date(byId("expires").value).toISOString();
  if (await make(wanted, () => "Give it to its caller by a way that nobody else can read.")) byId("new").reset();
}

const chosenScopes = () => Array.from(document.querySelectorAll("[name=scope]:checked"), (box) => box.value);

async function rotate(token) {
  const words = `One more token is made of ${token.name}, with the same scopes, class and limits. The old one stays valid until you revoke it.`;
  if (!(await isSure("Rotate", `Rotate ${token.name}?`, words))) return;
  const wanted = { name: token.name, rotate: true, ...(token.expires ? { expires: token.expires } : {}) };
  await make(wanted, () => `Give it to its caller. Once ${token.id} is not used any more, revoke that one.`);
}

function make(wanted, more) {
  return attempt(async () => {
    const made = await send("POST", "tokens", wanted);
    showSecret(made, more());
    byId("changed").textContent = `Made ${made.id} for ${made.name}.`;
    await load();
  });
}

async function revoke(token) {
  const used = token.last_used ? `It was last used at ${moment(Date.parse(token.last_used) / 1000)}.` : "It is not known to have been used.";
  const own = token.name === me ? " You are signed in by this name." : "";
  const words = `${used}${own} Whoever shows it is refused within 5 seconds. This cannot be taken back.`;
  if (!(await isSure("Revoke", `Revoke ${token.id} of ${token.name}?`, words))) return;
  await attempt(async () => {
    await send("DELETE", `tokens/${encodeURIComponent(token.id)}`);
    byId("changed").textContent = `Revoked ${token.id} of ${token.name}.`;
    await load();
  });
}

function showSecret({ name, id, token }, more) {
  byId("secret").hidden = false;
  byId("secret-title").textContent = `The token ${id} of ${name}`;
  byId("secret-text").textContent = token;
  byId("secret-more").textContent = more;
  const done = h("button", { type: "button", class: "link", click: hideSecret }, "I have kept it");
  replace(byId("secret-actions"), copyButton("Copy it", () => token), done);
  byId("secret-title").focus();
}

function hideSecret() {
  byId("secret").hidden = true;
  byId("secret-text").textContent = "";
  replace(byId("secret-actions"));
  byId("name").focus();
}

/** Ask whether it is meant; Escape is a no. */
function isSure(verb, title, words) {
  const dialog = byId("sure");
  byId("sure-title").textContent = title;
  byId("sure-words").textContent = words;
  byId("sure-yes").textContent = verb;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}
