// What every page has: signing in and out, the state of things at the top.

import { ApiError, get, takeTokenFromAddress, token } from "./api.js";
import { byId, h, replace } from "./dom.js";
import { askOthers, join, leaveAll, offer, tellOthers } from "./tabs.js";
import { zone } from "./words.js";

const EVERY = 5000; // ms between two looks at the state of things
// The scopes that a page needs: all of one of these sets.
const NEEDS = {
  chat: [["chat"]],
  health: [["chat"], ["audit"]],
  records: [["audit"]],
  usage: [["audit"]],
  tokens: [["admin"]],
  outages: [["audit"]],
};
const UNKNOWN = { core_services: {}, routing: { order: [] } };
let begin = () => {};
let isBegun = false;
let isIn = false;
let isAsking = false; // the other tabs, for their token
let scopes = []; // of the token that was signed in with

/** Whether the token holds a scope. */
export const may = (scope) => scopes.includes(scope);

/** Show the page once somebody is signed in; `page(status)` is called once. */
export async function start(page) {
  begin = page;
  byId("sign-in").addEventListener("submit", onSignIn);
  byId("sign-out").addEventListener("click", signOut);
  byId("show-token").addEventListener("change", () => (byId("token").type = byId("show-token").checked ? "text" : "password"));
  join({ held: () => (isIn ? token.get() : ""), offered: takeOffered, left: forgetAll });
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#token=")) enterFromAddress();
  });
  await enterFromAddress();
}

export function signOut() {
  leaveAll();
  forgetAll();
}

function forgetAll() {
  sessionStorage.clear();
  location.assign("/operator/");
}

/** Another tab is signed in: so is this one, unless it is already, or somebody is typing. */
async function takeOffered(offered) {
  if (isIn || isAsking || token.get() || byId("token").value) return;
  await signIn(offered);
}

/** Say what went wrong with a call; a token that no longer holds asks for another. */
export function isSignedOut(error) {
  if (isIn && error instanceof ApiError && error.status === 401) askForToken("Please sign in again.");
  return error.status === 401;
}

/** Call again and again, one call after the other, while the page can be seen. */
export function poll(every, task) {
  const turn = async () => {
    if (isIn && !document.hidden) await task().catch(() => {});
    setTimeout(turn, every);
  };
  return turn();
}

async function enterFromAddress() {
  const isClosed = !("open" in document.body.dataset);
  if (isClosed && !token.get()) await takeFromOtherTab();
  const isOther = takeTokenFromAddress();
  if (isClosed && !token.get()) {
    askForToken("");
    return;
  }
  await signIn(token.get());
  if (isIn && isOther) byId("signed-in-as").textContent += " (the link's token was not taken; sign out to use it)";
}

async function takeFromOtherTab() {
  isAsking = true;
  const held = await askOthers();
  isAsking = false;
  if (held) token.set(held);
}

async function onSignIn(event) {
  event.preventDefault();
  await signIn(byId("token").value.trim());
  if (isIn) offer(token.get());
}

async function signIn(shown) {
  if (shown) token.set(shown);
  try {
    enter(await whoAmI());
  } catch (error) {
    turnAway(error);
  }
}

/** Whose token it is, with as much of the status as it may know. */
async function whoAmI() {
  const caller = await get("whoami");
  const known = caller.scopes.includes("chat") ? await get("status") : UNKNOWN;
  return { ...known, caller };
}

/** A gateway that is in trouble says nothing about the token, which is then kept. */
function turnAway(error) {
  const shown = token.get();
  const isWrong = error.status === 401 || error.status === 403;
  askForToken(isWrong ? "That token is not valid here." : error.message);
  if (!isWrong) token.set(shown);
}

function askForToken(problem) {
  isIn = false;
  tellOthers(isIn);
  token.forget();
  byId("page").hidden = true;
  byId("closed").hidden = true;
  byId("sign-out").hidden = true;
  byId("pages").hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-in-problem").textContent = problem;
  byId("token").value = "";
  byId("token").focus();
}

function enter(status) {
  isIn = true;
  tellOthers(Boolean(token.get()));
  scopes = status.caller.scopes;
  byId("sign-in").hidden = true;
  byId("pages").hidden = false;
  byId("sign-out").hidden = !token.get();
  byId("signed-in-as").textContent = `Signed in as ${status.caller.name}`;
  byId("zone").textContent = `Times are in ${zone()}`;
  const isOpen = showPages();
  showPulse(status);
  if (!isOpen || isBegun) return;
  isBegun = true;
  begin(status);
  poll(EVERY, look);
}

/** Show the page, and the way to the others, as far as the token opens them. */
function showPages() {
  const { page: here } = document.body.dataset;
  const isOpen = (page) => NEEDS[page].some((needed) => needed.every(may));
  const links = Object.keys(NEEDS).map((page) => byId(`to-${page}`));
  for (const link of links) {
    const page = link.id.slice("to-".length);
    link.hidden = page !== here && !isOpen(page);
  }
  byId("page").hidden = !isOpen(here);
  byId("closed").hidden = isOpen(here);
  if (!isOpen(here)) replace(byId("closed"), ...refusal(here, links));
  return isOpen(here);
}

function refusal(here, links) {
  const needed = NEEDS[here].map((all) => all.join(" and ")).join(" or ");
  const others = links.filter((link) => !link.hidden && link.id !== `to-${here}`);
  const ways = others.flatMap((link) => [" ", h("a", { href: link.getAttribute("href") }, link.textContent)]);
  return [
    `This page needs a token with the scope ${needed}, and yours lacks it. `,
    ...(ways.length ? ["What it opens:", ...ways] : ["It opens no page of the console."]),
  ];
}

async function look() {
  try {
    showPulse({ ...UNKNOWN, ...(await get(may("chat") ? "status" : "whoami")) });
  } catch (error) {
    if (error.status === 403) askForToken("That token is not valid here any more.");
    else if (!isSignedOut(error)) show("bad", error.status ? "The gateway is in trouble" : "No connection");
  }
}

const KINDS = { well: "good", degraded: "warn", refusing: "bad" };
const FIRST_WORDS = { well: "All well", degraded: "Degraded", refusing: "Refusing chats" };

/** What the gateway says of itself, which is the same everywhere. */
function showPulse({ gateway }) {
  byId("pulse").hidden = !gateway;
  if (!gateway) return;
  const reasons = gateway.reasons.map((reason) => reason.detail).join("; ");
  show(KINDS[gateway.state], [FIRST_WORDS[gateway.state], reasons].filter(Boolean).join(": "));
}

function show(kind, words) {
  const pulse = byId("pulse");
  pulse.hidden = false;
  if (pulse.textContent === words) return;
  pulse.className = `pulse ${kind}`;
  pulse.textContent = words;
}
