// The chat: what is said, what comes back, and how sure one may be of it.

import { ApiError, call, events, newId } from "./api.js";
import { byId, copyButton, h, replace } from "./dom.js";
import { isSignedOut, may, start } from "./shell.js";
import { duration, faultWords, problemWords } from "./words.js";

const TALK = "gateway-talk"; // in sessionStorage: the session's id and its turns
const KEPT = 50; // turns that a tab remembers
const TOKEN_VARIABLE = "VX11_TENTACULO_LINK_TOKEN";
const isOpen = "open" in document.body.dataset; // nobody is asked for a token

let talk = { session: null, turns: [] };
let isLeft = false; // then what breaks is no news of the answer
let running = null; // the AbortController of the answer that is coming in

start(() => {
  talk = JSON.parse(sessionStorage.getItem(TALK) ?? "null") ?? talk;
  for (const turn of talk.turns) {
    if (turn.state === "waiting" || turn.state === "streaming") turn.state = "left";
    byId("talk").append(draw(turn));
  }
  noteSession();
  addEventListener("pagehide", leave);
  addEventListener("pageshow", () => (isLeft = false));
  byId("composer").addEventListener("submit", onSubmit);
  byId("message").addEventListener("keydown", onKey);
  byId("message").addEventListener("input", grow);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("new-session").addEventListener("click", forget);
  byId("message").focus();
  scrollTo(0, document.body.scrollHeight);
});

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

/** Ask, and draw the answer while it comes in. */
async function ask(message) {
  talk.session ??= newId();
  const turn = { message, text: "", state: "waiting", began: Date.now(), session: talk.session, correlation: newId() };
  talk.turns.push(turn);
  keep();
  noteSession();
  const drawn = new Drawing(turn);
  byId("talk").append(drawn.element);
  setRunning(new AbortController());
  try {
    await receive(turn, drawn, running.signal);
  } catch (error) {
    fail(turn, error);
  }
  turn.took = (Date.now() - turn.began) / 1000;
  setRunning(null);
  drawn.finish();
  keepOn();
  byId("said").textContent = spoken(turn);
}

async function receive(turn, drawn, signal) {
  const response = await call("chat", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "text/event-stream, application/json;q=0.5",
      "X-Correlation-ID": turn.correlation,
    },
    body: JSON.stringify({ message: turn.message, session_id: turn.session }),
    signal,
  });
  turn.facts = { audit_id: response.headers.get("X-Gateway-Audit-Id") };
  if (response.headers.get("Content-Type").startsWith("application/json")) {
    takeWhole(turn, await response.json(), response.headers);
    return;
  }
  for await (const event of events(response)) {
    take(turn, event);
    drawn.update();
  }
  if (turn.state === "streaming") turn.state = "cut";
}

function take(turn, { name, data }) {
  if (name === "meta") {
    Object.assign(turn.facts, data);
    turn.state = "streaming";
  } else if (name === "delta") {
    turn.text += data.text;
  } else if (name === "done") {
    Object.assign(turn.facts, data, { model: data.model_used });
    turn.state = "done";
  } else if (name === "error") {
    turn.state = "cut";
    turn.problem = data;
  }
}

function takeWhole(turn, answer, headers) {
  turn.text = answer.response;
  Object.assign(turn.facts, answer, {
    model: answer.model_used,
    fallback_reason: headers.get("X-Gateway-Fallback-Reason"),
  });
  turn.state = "done";
}

function fail(turn, error) {
  if (error.name === "AbortError") {
    turn.state = "stopped";
    return;
  }
  if (error instanceof ApiError) isSignedOut(error);
  const { code = "unreachable", correlationId, retryAfter } = error;
  const hasBegun = turn.state === "streaming";
  turn.state = hasBegun ? "cut" : "failed";
  turn.problem = { code, detail: error.message, correlation_id: correlationId, retry_after: retryAfter };
}

function setRunning(controller) {
  running = controller;
  byId("send").hidden = Boolean(controller);
  byId("stop").hidden = !controller;
  if (!controller && document.activeElement === document.body) byId("message").focus();
}

function noteSession() {
  byId("session-note").textContent = talk.session ? `Session ${talk.session}` : "";
}

/** Kept from the question on, so that an answer that nobody waits for is not forgotten. */
function keep() {
  talk.turns = talk.turns.slice(-KEPT);
  while (!isStored() && talk.turns.length > 1) talk.turns.shift();
}

/** Keep what has come by now, unless it was forgotten meanwhile. */
function keepOn() {
  if (!isLeft && sessionStorage.getItem(TALK)) keep();
}

function leave() {
  keepOn();
  isLeft = true;
}

/** Whether the browser had room for it. */
function isStored() {
  try {
    sessionStorage.setItem(TALK, JSON.stringify(talk));
    return true;
  } catch {
    return false;
  }
}

function forget() {
  running?.abort();
  talk = { session: null, turns: [] };
  sessionStorage.removeItem(TALK);
  replace(byId("talk"));
  noteSession();
  byId("message").focus();
}

/** What a screen reader is told once the answer is over. */
function spoken(turn) {
  if (turn.state === "done") return `${turn.facts.provider} answered: ${turn.text}`;
  return headline(turn);
}

function headline(turn) {
  if (turn.state === "stopped") return "Stopped by you. This is not a complete answer.";
  if (turn.state === "left") return `Not finished here: the page was left before the end.${may("audit") ? " Its record tells what became of it." : ""}`;
  if (turn.state === "cut") return "Cut off. What came is not a complete answer.";
  return `${problemWords(turn.problem.code)}.`;
}

function draw(turn) {
  const drawn = new Drawing(turn);
  drawn.finish();
  return drawn.element;
}

/** One question and its answer on the page. */
class Drawing {
  constructor(turn) {
    this.turn = turn;
    this.text = h("div", { class: "text", dir: "auto" });
    this.wait = h("p", { class: "wait" }, "Asking…");
    this.foot = h("div", { class: "foot" });
    this.answer = h("div", { class: "answer", "aria-busy": "true" }, this.wait, this.text, this.foot);
    this.element = h(
      "li",
      {},
      h("div", { class: "question", dir: "auto" }, h("span", { class: "sr-only" }, "You: "), turn.message),
      this.answer,
    );
    this.timer = setInterval(() => this.tick(), 100);
    this.element.scrollIntoView({ block: "end" });
  }

  tick() {
    const seconds = (Date.now() - this.turn.began) / 1000;
    if (seconds > 1) this.wait.textContent = `Asking… ${seconds.toFixed(1)} s`;
  }

  update() {
    if (this.turn.text) this.wait.hidden = true;
    this.text.textContent = this.turn.text;
    this.answer.classList.toggle("degraded", Boolean(this.turn.facts?.degraded));
    this.element.scrollIntoView({ block: "end" });
  }

  finish() {
    clearInterval(this.timer);
    this.wait.hidden = true;
    this.update();
    this.answer.removeAttribute("aria-busy");
    this.answer.classList.add(this.turn.state);
    const isDone = this.turn.state === "done";
    replace(this.foot, isDone ? null : trouble(this.turn), isDone ? provenance(this.turn) : null, actions(this.turn));
    this.element.scrollIntoView({ block: "end" });
  }
}

function trouble(turn) {
  const { code, detail, retry_after: wait } = turn.problem ?? {};
  const words = [detail && `${detail[0].toUpperCase()}${detail.slice(1)}.`, wait && `Try again in ${wait} s.`];
  return h(
    "div",
    { class: `notice ${["stopped", "left"].includes(turn.state) ? "" : "bad"}` },
    h("strong", {}, headline(turn)),
    code ? h("p", {}, `${words.filter(Boolean).join(" ")} `, h("code", {}, code)) : null,
  );
}

/** Who answered and why them. */
function provenance(turn) {
  const facts = turn.facts;
  const reason = facts.fallback_reason;
  return h(
    "div",
    {},
    facts.degraded
      ? h("p", { class: "notice warn" }, h("strong", {}, "Degraded. "), `The first choice ${reason ? faultWords(reason) : "did not answer"}, so ${facts.provider} did. `, reason ? h("code", {}, reason) : null)
      : null,
    h(
      "p",
      { class: "facts" },
      h("span", { class: `chip ${facts.degraded ? "warn" : "good"}` }, facts.provider),
      h("span", {}, facts.model),
      h("span", { title: "in all, as the gateway measured it" }, duration(facts.latency_ms / 1000)),
      isGradual(facts) ? h("span", {}, `first words after ${duration(facts.timings.first_delta_ms / 1000)}`) : null,
    ),
  );
}

/** Whether the first words came notably before the last ones. */
const isGradual = ({ timings, latency_ms: whole }) => timings && timings.first_delta_ms < whole * 0.8;

function actions(turn) {
  const record = turn.facts?.audit_id ?? correlationOf(turn);
  const hint = h("p", { class: "hint", hidden: true }, "In the shell ", h("code", {}, `$${TOKEN_VARIABLE}`), " must hold the token.");
  const tell = () => (hint.hidden = isOpen);
  return h(
    "div",
    { class: "actions" },
    may("audit") ? h("a", { class: "link", href: `/operator/records#record=${encodeURIComponent(record)}` }, "Its record") : null,
    turn.text ? copyButton("Copy text", () => turn.text) : null,
    copyButton("Copy as curl", () => curl(turn), tell),
    identities(turn),
    hint,
  );
}

/** The gateway's word for it, which is ours unless a door in between changed it. */
const correlationOf = (turn) => turn.facts?.correlation_id ?? turn.problem?.correlation_id ?? turn.correlation;

function identities(turn) {
  const shown = [
    ["Correlation", correlationOf(turn)],
    ["Session", turn.session],
    ["Record", turn.facts?.audit_id],
  ].filter(([, id]) => id);
  return h(
    "details",
    { class: "ids" },
    h("summary", {}, "Ids"),
    h("dl", {}, ...shown.flatMap(([name, id]) => [h("dt", {}, name), h("dd", {}, h("code", {}, id))])),
  );
}

/** The same question for a shell. The token is left to a variable, not to a clipboard. */
function curl(turn) {
  const body = { message: turn.message, session_id: turn.session };
  const quoted = JSON.stringify(body).replaceAll("'", String.raw`'\''`);
  return [
    `curl -N ${location.origin}/operator/api/chat \\`,
    ...(isOpen ? [] : [`  -H "X-VX11-Token: $${TOKEN_VARIABLE}" \\`]),
    "  -H 'Content-Type: application/json' -H 'Accept: text/event-stream' \\",
    `  -d '${quoted}'`,
  ].join("\n");
}
