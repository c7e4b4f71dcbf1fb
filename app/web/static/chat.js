// The chat: a talk with whoever answers, kept in this tab until a new session is begun.

import { get, newId } from "./api.js";
import { complete, fail } from "./completion.js";
import { byId, h, replace } from "./dom.js";
import { Sessions } from "./sessions.js";
import { isSignedOut, start } from "./shell.js";
import { Drawing, spoken } from "./turn.js";

const NEAR = 80; // pixels from the end of the page that count as the end

let sessions = null; // the talks of this tab
let isLeft = false; // then what breaks is no news of the answer
let running = null; // the AbortController of the answer that is coming in
let follows = true; // whether the reader is at the end, so that the page goes along
let lastY = 0;

start((status) => {
  sessions = new Sessions(showTalk);
  introduce(status);
  offerModels();
  addEventListener("pagehide", leave);
  addEventListener("pageshow", () => (isLeft = false));
  addEventListener("scroll", onScroll, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
  byId("composer").addEventListener("submit", onSubmit);
  byId("message").addEventListener("keydown", onKey);
  byId("message").addEventListener("input", grow);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("newest").addEventListener("click", toEnd);
  byId("new-session").addEventListener("click", begin);
  byId("model").addEventListener("change", () => (sessions.talk.model = byId("model").value));
  showTalk();
});

/** Draw the talk that was chosen; whatever of it is not over was left. */
function showTalk() {
  replace(byId("talk"));
  for (const turn of sessions.talk.turns) {
    if (turn.state === "waiting" || turn.state === "streaming") turn.state = "left";
    drawn(turn).finish();
  }
  chooseModel();
  noteSession();
  byId("message").focus();
  toEnd();
}

/** Say on the empty page who will answer, and what to try in the sandbox. */
function introduce({ routing, sandbox }) {
  const [first, ...others] = routing.order;
  const rest = others.length ? `; if it cannot, ${others.join(", then ")}` : "";
  byId("who").textContent = first ? `${first} will answer${rest}.` : "";
  const page = byId("to-break");
  if (!sandbox || !page) return;
  byId("try").hidden = false;
  replace(byId("try"), "This is the sandbox. Ask something, freeze switch on the page ", h("a", { href: page.href }, "Break it"), ", and ask again.");
}

/** Offer the upstreams and routes by name; without the list it stays as configured. */
async function offerModels() {
  const list = await get("/v1/models").catch((error) => void isSignedOut(error));
  const names = (list?.data ?? []).map((model) => model.id).filter((name) => !name.includes("*"));
  byId("model").append(...names.map((name) => h("option", { value: name }, name)));
  byId("choice").hidden = !names.length;
  chooseModel();
}

function chooseModel() {
  const { model } = sessions.talk;
  const isOffered = Array.from(byId("model").options).some((option) => option.value === model);
  byId("model").value = isOffered ? model : "";
}

function onScroll() {
  const end = document.documentElement.scrollHeight - innerHeight - NEAR;
  if (scrollY >= end) follows = true;
  else if (scrollY < lastY) follows = false;
  lastY = scrollY;
  byId("newest").hidden = follows;
}

function toEnd() {
  follows = true;
  byId("newest").hidden = true;
  scrollTo(0, document.documentElement.scrollHeight);
}

/** There is more to see: go along, unless the reader reads further up. */
function grown() {
  if (follows) toEnd();
}

function onKey(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
}

function grow() {
  const field = byId("message");
  field.rows = 1;
  while (field.rows < 8 && field.scrollHeight > field.clientHeight + 2) field.rows += 1;
}

function onSubmit(event) {
  event.preventDefault();
  const message = byId("message").value.trim();
  if (!message || running) return;
  byId("message").value = "";
  grow();
  ask(message);
}

/** A turn's place on the page. */
function drawn(turn) {
  const drawing = new Drawing(turn, { turns: () => sessions.talk.turns, again, grown });
  byId("talk").append(drawing.element);
  return drawing;
}

/** Ask, and draw the answer while it comes in. */
async function ask(message) {
  const { talk } = sessions;
  talk.session ??= newId();
  const turn = { message, text: "", state: "waiting", began: Date.now(), session: talk.session, correlation: newId(), model: talk.model };
  talk.turns.push(turn);
  sessions.keep();
  noteSession();
  const drawing = drawn(turn);
  toEnd();
  setRunning(new AbortController());
  try {
    await complete(turn, talk.turns, { signal: running.signal, changed: () => drawing.update() });
  } catch (error) {
    isSignedOut(error);
    fail(turn, error);
  }
  turn.took = (Date.now() - turn.began) / 1000;
  setRunning(null);
  drawing.finish();
  keepOn();
  putBack(turn);
  byId("said").textContent = spoken(turn);
}

/** The same once more, unless another answer is coming in. */
function again(turn) {
  if (running) return;
  if (byId("message").value === turn.message) byId("message").value = "";
  byId("message").focus();
  ask(turn.message);
}

/** A question that nobody has answered is there to be sent or changed; typing replaces it. */
function putBack({ state, message }) {
  const field = byId("message");
  if (state !== "failed" || field.value) return;
  field.value = message;
  grow();
  if (document.activeElement === field) field.select();
}

function setRunning(controller) {
  running = controller;
  byId("send").hidden = Boolean(controller);
  byId("stop").hidden = !controller;
  noteSession();
  if (!controller && document.activeElement === document.body) byId("message").focus();
}

function noteSession() {
  const { session } = sessions.talk;
  byId("session-note").textContent = session ? `Session ${session}` : "";
  sessions.show({ isBusy: Boolean(running) });
}

/** Keep what has come by now, unless it was forgotten meanwhile. */
function keepOn() {
  if (!isLeft && !sessions.isForgotten) sessions.keep();
}

function leave() {
  keepOn();
  isLeft = true;
}

function begin() {
  running?.abort();
  sessions.begin();
}
