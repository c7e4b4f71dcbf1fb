// One question to the gateway's chat completions, with what was said before it.

import { ApiError, call, events } from "./api.js";

const MOST_EARLIER = 200_000; // characters of earlier turns that are sent along

/** What is asked, as OpenAI has it: the whole turns before it, then the question. */
export function request(turn, turns) {
  const messages = [{ role: "user", content: turn.message }];
  let room = MOST_EARLIER;
  for (const one of before(turn, turns).reverse()) {
    room -= one.message.length + one.text.length;
    if (room < 0) break;
    messages.unshift({ role: "user", content: one.message }, { role: "assistant", content: one.text });
  }
  return { ...(turn.model ? { model: turn.model } : {}), messages, stream: true };
}

/** The turns of the same session that were answered in full before this one. */
const before = (turn, turns) =>
  turns.slice(0, turns.indexOf(turn)).filter((one) => one.session === turn.session && one.state === "done");

/** Ask, and write into the turn what comes; `changed()` is called at each piece. */
export async function complete(turn, turns, { signal, changed }) {
  const response = await call("/v1/chat/completions", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Correlation-ID": turn.correlation,
      "X-Session-Id": turn.session,
    },
    body: JSON.stringify(request(turn, turns)),
    signal,
  });
  turn.facts = facts(response.headers);
  turn.state = "streaming";
  changed();
  for await (const event of events(response)) {
    take(turn, event);
    changed();
    if (turn.state !== "streaming") return;
  }
  turn.state = "cut";
}

/** Who answers and why them; known before the first word. */
function facts(headers) {
  return {
    provider: headers.get("X-Gateway-Provider"),
    degraded: headers.get("X-Gateway-Degraded") === "true",
    fallback_reason: headers.get("X-Gateway-Fallback-Reason"),
    audit_id: headers.get("X-Gateway-Audit-Id"),
    correlation_id: headers.get("X-Correlation-ID"),
  };
}

function take(turn, { name, data }) {
  if (name === "provider") takeProvider(turn.facts, data);
  else if (data === "[DONE]") turn.state = "done";
  else if (data.error) {
    turn.state = "cut";
    turn.problem = { code: data.error.code, detail: data.error.message };
  } else takeWords(turn, data);
}

function takeWords(turn, { model, choices }) {
  turn.facts.model = model ?? turn.facts.model;
  const words = choices[0]?.delta?.content;
  if (!words) return;
  turn.firstWords ??= (Date.now() - turn.began) / 1000;
  turn.text += words;
}

/** Who has answered in the end, where another one went on in the middle. */
function takeProvider(known, name) {
  if (known.provider && known.provider !== name) known.degraded = true;
  known.provider = name;
}

/** Write into the turn why there is no whole answer. */
export function fail(turn, error) {
  if (error.name === "AbortError") {
    turn.state = "stopped";
    return;
  }
  const { code, correlationId, retryAfter } = error instanceof ApiError ? error : { code: "unreachable" };
  turn.state = turn.state === "streaming" ? "cut" : "failed";
  turn.problem = { code, detail: error.message, correlation_id: correlationId, retry_after: retryAfter };
}
