// One question and its answer on the page: who says it, and how sure one may be of it.

import { request } from "./completion.js";
import { copyButton, h, replace } from "./dom.js";
import { recordHref } from "./links.js";
import { showMarkdown } from "./markdown.js";
import { may } from "./shell.js";
import { duration, faultWords, isProblem, problemWords } from "./words.js";

const TOKEN_VARIABLE = "VX11_TENTACULO_LINK_TOKEN";
const isOpen = "open" in document.body.dataset; // nobody is asked for a token
const UNRECORDED = ["audit_unavailable", "unreachable", "gateway_unreachable"]; // nothing was written down
const DRAWN_EVERY = 100; // ms between two drawings of an answer that comes in
const SHARE = 10; // and this many times as long as the last drawing took

/** What a screen reader is told once the answer is over. */
export function spoken(turn) {
  if (turn.state === "done") return `${turn.facts.provider} answered: ${turn.text}`;
  return headline(turn);
}

function headline(turn) {
  if (turn.state === "stopped") return "Stopped by you. This is not a complete answer.";
  if (turn.state === "left") return `Not finished here: the page was left before the end.${may("audit") ? " Its record tells what became of it." : ""}`;
  if (turn.state === "cut") return `Cut off${isProblem(turn.problem?.code) ? ` (${lower(problemWords(turn.problem.code))})` : ""}. What came is not a complete answer.`;
  return `${problemWords(turn.problem.code)}.`;
}

const lower = (words) => `${words[0].toLowerCase()}${words.slice(1)}`;

/** One question and its answer on the page. */
export class Drawing {
  /** `again(turn)` asks the same once more; `turns` are all of the talk; `grown()` is told that there is more to see. */
  constructor(turn, { turns, again, grown }) {
    Object.assign(this, { turn, turns, again, grown });
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
    this.timer = setInterval(() => this.tick(), DRAWN_EVERY);
    this.nextAt = 0;
    this.isStale = false;
  }

  tick() {
    if (this.isStale) this.update();
    const seconds = (Date.now() - this.turn.began) / 1000;
    if (this.turn.state === "waiting" && seconds > 1) this.wait.textContent = `Asking… ${seconds.toFixed(1)} s`;
  }

  /** Draw what has come; a long answer is drawn the more rarely the longer it takes. */
  update() {
    this.isStale = performance.now() < this.nextAt;
    if (this.isStale) return;
    const began = performance.now();
    this.draw({ isOver: false });
    this.nextAt = performance.now() + Math.max(DRAWN_EVERY, SHARE * (performance.now() - began));
    this.grown();
  }

  draw({ isOver }) {
    const { facts, text } = this.turn;
    if (facts?.provider) this.wait.textContent = `${[facts.provider, facts.model].filter(Boolean).join(" · ")}:`;
    showMarkdown(this.text, text, { isOver });
    this.answer.classList.toggle("degraded", Boolean(facts?.degraded));
  }

  finish() {
    clearInterval(this.timer);
    this.draw({ isOver: true });
    this.wait.hidden = true;
    this.answer.removeAttribute("aria-busy");
    this.answer.classList.add(this.turn.state);
    const isDone = this.turn.state === "done";
    replace(this.foot, isDone ? null : trouble(this.turn), isDone ? provenance(this.turn, this.turns()) : null, this.actions());
    newestRecord(this.foot.querySelector(".record"));
    this.grown();
  }

  actions() {
    const { turn } = this;
    const record = UNRECORDED.includes(turn.problem?.code) ? null : (turn.facts?.audit_id ?? correlationOf(turn));
    const hint = h("p", { class: "hint", hidden: true }, "In the shell ", h("code", {}, `$${TOKEN_VARIABLE}`), " must hold the token.");
    const tell = () => (hint.hidden = isOpen);
    return h(
      "div",
      { class: "actions" },
      turn.state === "done" ? null : h("button", { type: "button", class: "link again", click: () => this.again(turn) }, "Ask again"),
      may("audit") && record ? h("a", { class: "link record", href: recordHref(record) }, "Its record") : null,
      turn.problem ? h("a", { class: "link", href: "/operator/health" }, "How the gateway is") : null,
      turn.text ? copyButton("Copy text", () => turn.text) : null,
      copyButton("Copy as curl", () => curl(turn, this.turns()), tell),
      identities(turn),
      hint,
    );
  }
}

function trouble(turn) {
  const { code, detail, retry_after: wait } = turn.problem ?? {};
  const words = [known(code) ? null : detail && `${detail[0].toUpperCase()}${detail.slice(1)}.`, wait && `Try again in ${wait} s.`];
  return h(
    "div",
    { class: `notice ${["stopped", "left"].includes(turn.state) ? "" : "bad"}` },
    h("strong", {}, headline(turn)),
    code ? h("p", {}, ...words.filter(Boolean).map((one) => `${one} `), h("code", {}, code)) : null,
  );
}

/** Whether the headline says it all, so that the gateway's own sentence would say it twice. */
const known = (code) => code !== "invalid_request" && isProblem(code);

/** The access key `r` opens the newest record of the page. */
function newestRecord(link) {
  if (!link) return;
  for (const older of document.querySelectorAll(".record[accesskey]")) older.removeAttribute("accesskey");
  link.setAttribute("accesskey", "r");
}

/** Who answered and why them. */
function provenance(turn, turns) {
  const facts = turn.facts;
  const reason = facts.fallback_reason;
  const before = turns[turns.indexOf(turn) - 1]?.facts;
  const isOld = before?.degraded && before.fallback_reason === reason; // a box for each would fill the page
  return h(
    "div",
    {},
    facts.degraded
      ? h("p", { class: isOld ? "muted" : "notice warn" }, h("strong", {}, isOld ? "Degraded as before. " : "Degraded. "), `The first choice ${reason ? faultWords(reason) : "did not answer"}, so ${facts.provider} answered. `, reason ? h("code", {}, reason) : null)
      : null,
    h(
      "p",
      { class: "facts" },
      h("span", { class: `chip ${facts.degraded ? "warn" : "good"}` }, facts.provider),
      h("span", {}, facts.model),
      h("span", { title: "in all, as this page measured it" }, duration(turn.took)),
      isGradual(turn) ? h("span", {}, `first words after ${duration(turn.firstWords)}`) : null,
    ),
  );
}

/** Whether the first words came notably before the last ones. */
const isGradual = ({ firstWords, took }) => firstWords !== undefined && firstWords < took * 0.8;

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

/** The same question for a shell, with what was said before. The token is left to a variable, not to a clipboard. */
function curl(turn, turns) {
  const quoted = JSON.stringify(request(turn, turns)).replaceAll("'", String.raw`'\''`);
  return [
    `curl -N ${location.origin}/v1/chat/completions \\`,
    ...(isOpen ? [] : [`  -H "X-VX11-Token: $${TOKEN_VARIABLE}" \\`]),
    `  -H 'Content-Type: application/json' -H 'X-Session-Id: ${turn.session}' \\`,
    `  -d '${quoted}'`,
  ].join("\n");
}
