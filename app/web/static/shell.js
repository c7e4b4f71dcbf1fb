// What every page has: signing in and out, the state of things at the top.

import { ApiError, get, takeTokenFromAddress, token } from "./api.js";
import { byId } from "./dom.js";

const EVERY = 5000; // ms between two looks at the state of things
let begin = () => {};
let isBegun = false;

/** Show the page once somebody is signed in; `page(status)` is called once. */
export async function start(page) {
  begin = page;
  byId("sign-in").addEventListener("submit", onSignIn);
  byId("sign-out").addEventListener("click", signOut);
  addEventListener("hashchange", () => {
    if (location.hash.startsWith("#token=")) enterFromAddress();
  });
  await enterFromAddress();
}

export function signOut() {
  sessionStorage.clear();
  location.assign("/operator/");
}

/** Say what went wrong with a call; a token that no longer holds asks for another. */
export function isSignedOut(error) {
  if (error instanceof ApiError && error.status === 401) askForToken("Please sign in again.");
  return error.status === 401;
}

/** Call again and again, one call after the other, while the page can be seen. */
export function poll(every, task) {
  const turn = async () => {
    if (!document.hidden) await task().catch(() => {});
    setTimeout(turn, every);
  };
  return turn();
}

async function enterFromAddress() {
  takeTokenFromAddress();
  if (!token.get() && !("open" in document.body.dataset)) {
    askForToken("");
    return;
  }
  try {
    enter(await whoAmI());
  } catch (error) {
    askForToken(reason(error));
  }
}

async function onSignIn(event) {
  event.preventDefault();
  token.set(byId("token").value.trim());
  try {
    enter(await whoAmI());
  } catch (error) {
    askForToken(reason(error));
  }
}

/** The status; of a token that may only read records, what it may know. */
async function whoAmI() {
  try {
    return await get("status");
  } catch (error) {
    if (error.status !== 403) throw error;
    await get("windows").catch(() => {
      throw error;
    });
    return { caller: { name: "auditor", scopes: ["audit"] }, core_services: {}, policy: { order: [] } };
  }
}

function reason(error) {
  if (error.status === 401 || error.status === 403) return "That token is not valid here.";
  return error.message;
}

function askForToken(problem) {
  token.forget();
  byId("page").hidden = true;
  byId("sign-out").hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-in-problem").textContent = problem;
  byId("token").value = "";
  byId("token").focus();
}

function enter(status) {
  byId("sign-in").hidden = true;
  byId("page").hidden = false;
  byId("sign-out").hidden = !token.get();
  byId("signed-in-as").textContent = `Signed in as ${status.caller.name}`;
  if (status.sandbox) byId("to-break").hidden = false;
  showPulse(status);
  if (isBegun) return;
  isBegun = true;
  begin(status);
  if (status.caller.scopes.includes("chat")) poll(EVERY, look);
}

async function look() {
  try {
    showPulse(await get("status"));
  } catch (error) {
    if (!isSignedOut(error)) show("bad", error.status ? "The gateway is in trouble" : "No connection");
  }
}

function showPulse(status) {
  const states = status.policy.order.map((name) => status.core_services[name].status);
  const down = status.policy.order.filter((name) => status.core_services[name].status === "down");
  if (!states.length) return;
  if (!down.length) show("good", "All well");
  else if (down.length < states.length) show("warn", `${down.join(", ")} down`);
  else show("bad", "All upstreams down");
}

function show(kind, words) {
  const pulse = byId("pulse");
  pulse.hidden = false;
  if (pulse.textContent === words) return;
  pulse.className = `pulse ${kind}`;
  pulse.textContent = words;
}
