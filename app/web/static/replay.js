// A record's answer said again as it came, and its question asked again, with both
// answers side by side. What is played is what the record holds: nobody is asked.

import { send } from "./api.js";
import { h, replace, unmasked } from "./dom.js";
import { isSignedOut, may } from "./shell.js";
import { duration } from "./words.js";

const CHATS = ["completed", "failed", "cancelled", "interrupted"];
const SPEEDS = [1, 4, 16];

/** The part of a record's page that plays and asks again; null where there is nothing to. `upstreams` are names. */
export function replayPart(record, upstreams) {
  if (!CHATS.includes(record.outcome) || record.corrects) return null;
  const parts = [player(record), may("replay") ? again(record, upstreams) : null].filter(Boolean);
  return parts.length ? h("section", { class: "replay" }, h("h2", {}, "Replay"), ...parts) : null;
}

/** The pieces of an answer and the milliseconds before each; lengths are of the text that came, which redaction may have changed. */
function steps({ text, timeline }) {
  const letters = Array.from(text);
  const [waits, lengths] = timeline;
  const whole = lengths.reduce((sum, length) => sum + length, 0);
  let end = 0;
  let from = 0;
  return waits.map((wait, place) => {
    end += lengths[place];
    const to = whole ? Math.floor((end * letters.length) / whole) : 0;
    const piece = letters.slice(from, to).join("");
    from = to;
    return { wait, piece };
  });
}

function player(record) {
  const { text, timeline, redacted } = record.reply ?? {};
  if (!text || !timeline) return null;
  const shown = h("blockquote", { dir: "auto" });
  const frame = h("figure", { class: "quote", hidden: true }, h("figcaption", {}, "As it came"), shown);
  const note = redacted ? h("p", { class: "muted" }, "Something in it was redacted, so the pieces are not quite those that came.") : null;
  let timer = 0;
  const play = (speed) => {
    clearTimeout(timer);
    frame.hidden = false;
    replace(shown);
    const left = steps(record.reply);
    let due = performance.now();
    const next = () => {
      const step = left.shift();
      if (!step || !shown.isConnected) return;
      due += step.wait / speed;
      timer = setTimeout(() => {
        shown.append(unmasked(step.piece));
        next();
      }, due - performance.now());
    };
    next();
  };
  const buttons = SPEEDS.map((speed) =>
    h("button", { type: "button", class: "quiet", "data-speed": speed, click: () => play(speed) }, speed === 1 ? "Play" : `${speed} times as fast`),
  );
  return h("div", {}, h("div", { class: "actions" }, ...buttons), note, frame);
}

function again(record, upstreams) {
  const field = (name, label, control) => h("div", { class: "field" }, h("label", { for: name }, label), control);
  const names = upstreams.map((name) => h("option", { value: name }, name));
  const form = h(
    "form",
    { class: "again-form", id: "ask-again" },
    field("replay-upstream", "Ask", h("select", { id: "replay-upstream" }, h("option", { value: "" }, "who answered then"), ...names)),
    field("replay-model", "Model", h("input", { id: "replay-model", placeholder: "the same", maxlength: 200, autocomplete: "off", spellcheck: "false" })),
    field("replay-temperature", "Temperature", h("input", { id: "replay-temperature", type: "number", min: 0, max: 2, step: "any", placeholder: "the same" })),
    h("div", { class: "actions" }, h("button", { type: "submit", id: "replay-ask" }, "Ask again")),
  );
  const result = h("div", { class: "compared", role: "status" });
  const ask = async (allowed) => {
    const button = form.querySelector("button");
    const body = { record: record.id, ...wanted(form), ...allowed };
    button.disabled = true;
    replace(result, h("p", { class: "muted" }, "Asking…"));
    try {
      replace(result, ...compared(await send("POST", "replays", body)));
    } catch (error) {
      if (!isSignedOut(error)) replace(result, ...refusal(error, record, (more) => ask({ ...allowed, ...more })));
    } finally {
      button.disabled = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask({});
  });
  return h("div", {}, form, result);
}

function wanted(form) {
  const value = (name) => form.querySelector(`#replay-${name}`).value.trim();
  const temperature = value("temperature");
  return {
    ...(value("upstream") && { upstream: value("upstream") }),
    ...(value("model") && { model: value("model") }),
    ...(temperature && { temperature: Number(temperature) }),
  };
}

/** Why it was not asked again, and a way to ask all the same where a person may choose that. */
function refusal(error, record, retry) {
  const notice = h("p", { class: "notice bad", role: "alert" }, `Not asked again: ${error.message}.`);
  const choice = (words, allowed) => h("button", { type: "button", class: "all-the-same", click: () => retry(allowed) }, words);
  if (error.code === "may_act") return [notice, choice("Ask all the same: it may act again", { may_act: true })];
  if (error.code === "not_replayable" && record.request?.redacted)
    return [notice, choice("Ask with the placeholders", { redacted: true })];
  return [notice];
}

function compared(found) {
  const { before, after, same, likeness, pieces } = found;
  const rows = [
    ["Outcome", outcome(before), outcome(after), same.outcome],
    ["Finish reason", before.finish_reason, after.finish_reason, same.finish_reason],
    ["Answered by", by(before), by(after), true],
    ["Took", duration(before.duration), duration(after.duration), true],
    ["Tokens in, out", tokens(before), tokens(after), true],
    ["Tools", tools(before), tools(after), same.tools],
  ];
  const side = (title, answer, kinds) =>
    h("figure", { class: "quote" }, h("figcaption", {}, title), h("blockquote", { dir: "auto" }, ...words(answer, likeness, pieces, kinds)));
  return [
    found.is_redacted ? h("p", { class: "notice warn" }, "It was asked with placeholders, so this is not the same question.") : null,
    h("p", { class: "lead" }, verdict(found), " ", h("a", { class: "link", href: `#record=${after.record}` }, "Its record")),
    table(rows),
    h("div", { class: "sides" }, side("Then", before, ["same", "gone"]), side("Now", after, ["same", "new"])),
  ];
}

function verdict({ likeness, same, after }) {
  if (after.outcome !== "completed") return `Nobody answered (${after.code ?? after.outcome}).`;
  if (likeness === null) return "The words of one of them are not kept.";
  if (likeness === 1 && same.tools && same.finish_reason) return "The same answer.";
  return likeness === 1 ? "The same words, but not the same answer." : `Another answer: ${Math.floor(likeness * 100)} % of the words are the same.`;
}

const outcome = ({ outcome: ended, code }) => [ended, code].filter(Boolean).join(", ");
const by = ({ provider, model }) => [provider, model].filter(Boolean).join(" · ");
const tokens = ({ input_tokens: read, output_tokens: written }) => (read === null && written === null ? null : `${read ?? "–"}, ${written ?? "–"}`);
const tools = (answer) => answer.tools.map(({ name, arguments: given }) => `${name} ${JSON.stringify(given)}`).join("; ");

function table(rows) {
  const cell = (value) => h("td", {}, unmasked(value || "–"));
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "facts-table" },
      h("thead", {}, h("tr", {}, ...["", "Then", "Now", ""].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, ...rows.map(([name, was, now, isSame]) => h("tr", {}, h("th", { scope: "row" }, name), cell(was), cell(now), h("td", {}, isSame ? "" : "differs")))),
    ),
  );
}

/** One side's text, with what the other one lacks marked. */
function words({ text }, likeness, pieces, kinds) {
  if (text === null) return [h("span", { class: "muted" }, "Not kept.")];
  if (likeness === null) return [unmasked(text)];
  const tags = { same: "span", gone: "del", new: "ins" };
  return pieces.filter(({ kind }) => kinds.includes(kind)).map(({ kind, text: piece }) => h(tags[kind], {}, unmasked(piece)));
}
