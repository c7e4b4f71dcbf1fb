// A chat's attempts, one under the other, each as long as it took. Who was passed over
// without being asked has neither a bar nor a time.

import { h, svg } from "./dom.js";
import { duration, faultWords } from "./words.js";

const NOT_ASKED = new Set(["unhealthy", "resting", "circuit_open", "no_slot"]);

/** `total` is how long the chat took in all, in seconds. */
export function timeline(attempts, total) {
  const asked = attempts.reduce((sum, attempt) => sum + attempt.duration, 0);
  const whole = Math.max(total ?? 0, asked);
  const share = (seconds) => (whole ? seconds / whole : 0);
  let begun = 0;
  const rows = attempts.map((attempt) => {
    const row = step(attempt, share(begun), share(attempt.duration));
    begun += attempt.duration;
    return row;
  });
  const rest = total - asked; // both were measured
  if (total && rest > 0) rows.push(remainder(rest, share(asked), share(rest)));
  return h("ol", { class: "timeline", "aria-label": "Attempts, in their order" }, ...rows);
}

function step(attempt, start, share) {
  const words = attempt.fault ? faultWords(attempt.fault) : "answered";
  const kind = attempt.fault ? "bad" : "good";
  const isAsked = !NOT_ASKED.has(attempt.fault);
  return h(
    "li",
    {},
    h("span", { class: "who" }, attempt.upstream),
    isAsked ? bar(kind, start, share) : h("span", { class: "span muted" }, "not asked"),
    h("span", { class: "took" }, isAsked ? duration(attempt.duration) : "–"),
    h("span", { class: "how" }, words, ...details(attempt)),
  );
}

function details(attempt) {
  return [
    attempt.fault ? h("code", {}, attempt.fault) : null,
    attempt.status ? h("span", {}, `status ${attempt.status}`) : null,
    attempt.received ? h("span", {}, `${attempt.received.toLocaleString()} bytes`) : null,
  ];
}

function remainder(seconds, start, share) {
  return h(
    "li",
    {},
    h("span", { class: "who" }, "gateway"),
    bar("rest", start, share),
    h("span", { class: "took" }, duration(seconds)),
    h("span", { class: "how" }, "around the attempts: waiting for a place, routing"),
  );
}

function bar(kind, start, share) {
  const width = Math.max(share * 100, 0.6);
  return svg(
    "svg",
    { class: "span", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 4.5, width: 100, height: 1 }),
    svg("rect", { class: `bar-${kind}`, x: Math.min(start * 100, 100 - width), y: 1, width, height: 8, rx: 0.5 }),
  );
}
