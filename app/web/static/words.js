// How the gateway's codes, times and durations are put for people.

const FAULTS = {
  // not asked
  unhealthy: "is known to be down",
  resting: "asked for a rest",
  circuit_open: "is left alone for a while",
  no_slot: "has all its places taken",
  // not reached
  dns: "has a name that nobody knows",
  connect_refused: "refused the connection",
  connect_timeout: "could not be connected to in time",
  tls_verify: "could not prove who it is",
  tls_expired: "shows a certificate that has expired",
  tls_timeout: "did not finish its TLS handshake in time",
  no_socket: "could not be asked: no socket was free",
  // no answer
  read_timeout: "did not answer in time",
  write_timeout: "did not take the request in time",
  first_token: "did not begin to answer in time",
  silent: "fell silent, and so did its health check",
  late_beginning: "began too late",
  stream_idle: "paused too long in the middle",
  over: "went on after its end",
  deadline: "did not finish in time",
  reset: "broke the connection",
  truncated: "broke off in the middle",
  // no
  http_5xx: "answered with an error",
  rate_limited: "is asked too often",
  upstream_auth: "rejects our credentials",
  quota: "says that our quota is used up",
  upstream_rejected: "rejects the request",
  content_filter: "forbids it by a content policy",
  context_length: "cannot read a conversation that long",
  unsupported: "cannot do what was asked",
  unknown_model: "does not know that model",
  upstream_error: "said itself that it failed",
  redirect: "wanted to send us elsewhere",
  bad_status: "answered with an odd status",
  // no answer that is one
  bad_json: "sent no proper JSON",
  bad_content_type: "sent something else than JSON",
  bad_tool_call: "asked for a tool with half of a call",
  bad_encoding: "sent an encoding that was not asked for",
  empty: "answered without a word",
  empty_body: "sent nothing",
  schema: "sent an answer of the wrong shape",
  protocol: "did not speak HTTP",
  too_large: "sent too much",
  internal: "sent what we could not handle",
  diverged: "went on differently than it had begun",
  unfinished: "has only begun what was asked",
  needs_confirmation: "asks to be told that it may go on",
  // ended by something else
  client_gone: "was not waited for: the caller left",
  shutting_down: "was not waited for: the gateway was shutting down",
  stream_limit: "spoke for longer than a stream may last",
  internal_error: "was not understood: the gateway made a mistake",
};

const PROBLEMS = {
  upstream_unavailable: "Nobody could answer",
  ability_unavailable: "Nobody who can do what was asked could answer",
  upstream_rejected: "The request was rejected",
  context_length_exceeded: "The conversation is too long for the model",
  model_not_found: "Nobody serves that model",
  not_cached: "No kept answer is there, and no other was wanted",
  answer_not_kept: "The first answer to that Idempotency-Key was not kept",
  idempotency_in_flight: "The first chat with that Idempotency-Key is still under way",
  idempotency_key_malformed: "The Idempotency-Key is not well-formed",
  idempotency_key_reused: "That Idempotency-Key belongs to another question",
  reply_interrupted: "The answer broke off",
  audit_unavailable: "The record could not be written, so nothing was answered",
  overloaded: "Too many are asking at once",
  rate_limited: "This token asks too often",
  too_many_failed_auth: "Too many wrong tokens came from here",
  auth_required: "A token is needed",
  forbidden: "This token may not do that",
  client_gone: "The caller left before the end",
  request_entity_too_large: "The message is too long",
  internal_error: "The gateway made a mistake",
  search_took_too_long: "The search took too long",
  unreachable: "The gateway cannot be reached",
  gateway_unreachable: "The gateway cannot be reached: the front door gets no answer from it",
  invalid_request: "The request is not valid",
  shutting_down: "The gateway is shutting down",
  stream_limit: "The answer took longer than a stream may last",
  content_filter: "A content policy forbids it",
  unsupported: "No upstream can do what was asked",
};

export const faultWords = (fault) => FAULTS[fault] ?? `failed (${fault})`;
export const isProblem = (code) => code in PROBLEMS;
export const problemWords = (code) => PROBLEMS[code] ?? "No answer";

/** Why an upstream is passed over now, and for how long if that is known. */
export const obstacleWords = ({ reason, for_s: wait, for_one_caller: isForOne }) =>
  faultWords(reason) + (isForOne ? " by one caller, whose chats failed" : "") + (wait ? `, for another ${duration(wait)}` : "");

/** 0.0421 → "42 ms"; 5.03 → "5.03 s"; 240 → "4 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.9995) return `${digits(seconds * 1000, 2)} ms`;
  if (seconds < 120) return `${digits(seconds, 3)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${digits(minutes / 60, 3)} h`;
}

/** At least so many significant digits, all of those before the point, no idle zeros. */
const digits = (number, significant) =>
  number >= 10 ** significant ? String(Math.round(number)) : String(Number(number.toPrecision(significant)));

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], CLOCK);

/** The zone in which all times of the console are told. */
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

export function moment(unix) {
  const at = new Date(unix * 1000);
  const isToday = at.toDateString() === new Date().toDateString();
  const day = { day: "numeric", month: "short" };
  return isToday ? clock(unix) : `${at.toLocaleDateString([], day)}, ${clock(unix)}`;
}

/** Day and time of a moment that may be far from today. */
export const fullMoment = (unix) => new Date(unix * 1000).toLocaleString([], { day: "numeric", month: "short", year: "numeric", ...CLOCK });

export const percent = (part, whole) =>
  whole ? `${digits((100 * part) / whole, 2)} %` : "–";

export const plural = (count, one, many = `${one}s`) =>
  `${count.toLocaleString()} ${count === 1 ? one : many}`;

/** Of which kind the end of a record is: good, warn or bad; "" for all others. */
export function kindOfRecord({ outcome, degraded_by: reason }) {
  if (outcome === "completed") return reason ? "warn" : "good";
  return ["failed", "interrupted", "refused"].includes(outcome) ? "bad" : "";
}

export function verdict({ outcome, degraded_by: reason }) {
  if (outcome === "completed" && reason) return "degraded";
  return outcome ?? "under way";
}
