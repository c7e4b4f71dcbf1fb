// Why a chat went as it did, in the gateway's own sentences.

import { get } from "./api.js";
import { h, replace, unmasked } from "./dom.js";

/** A section that fills itself; it goes away if nothing can be told. */
export function why(record) {
  const list = h("ol", { class: "events" }, h("li", { class: "muted" }, "Reading …"));
  const section = h("section", {}, h("h2", {}, "Why"), list);
  get(`records/${encodeURIComponent(record.id)}/explanation`)
    .then(({ sentences }) => (sentences.length ? replace(list, ...sentences.map((sentence) => h("li", {}, unmasked(sentence)))) : section.remove()))
    .catch(() => section.remove());
  return section;
}

const EVENTS = {
  circuit_open: "failed too often and is left alone for a while",
  circuit_half_open: "is given one chat to show that it is back",
  circuit_closed: "is asked again as usual",
  upstream_down: "is found to be down",
  upstream_up: "is up again",
  gateway_started: "has started",
  gateway_stopped: "was told to stop",
  config_loaded: "has read its settings",
  audit_gap: "could not write records for a time",
  clock_jumped: "saw that the clock was set",
  token_made: "made a token",
  token_revoked: "revoked a token",
  token_unchanged: "did not change a token",
};

/** What an event was, in a few words. */
export const eventWords = ({ route, caller, provider, code }) => `${route === "tokens" ? caller : (provider ?? "The gateway")} ${EVENTS[code] ?? code}`;
