// The gateway's API, asked with the token that was signed in with.
// The token is kept in this tab's sessionStorage and sent as a header, never in a URL.
// How other tabs come by it: see tabs.js.

const TOKEN = "gateway-token";

export class ApiError extends Error {
  constructor(status, code, detail, correlationId, retryAfter) {
    super(detail);
    Object.assign(this, { status, code, correlationId, retryAfter });
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** A random UUID. Pages that came by plain http have no crypto.randomUUID. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * Remove a token from behind the `#` of the address, and sign in with it where nobody
 * is: a link must not make whoever is signed in speak in another one's name.
 * Returns whether it was not taken, because another one is held.
 */
export function takeTokenFromAddress() {
  const shown = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!shown) return false;
  history.replaceState(null, "", location.pathname + location.search);
  const held = token.get();
  if (!held) token.set(shown);
  return held !== "" && held !== shown;
}

/** Fetch below the operator's API, or an absolute path; raise ApiError for whatever is not a success. */
export async function call(path, { headers = {}, ...options } = {}) {
  const shown = token.get();
  const credentials = shown ? { "X-VX11-Token": shown } : {};
  let response;
  try {
    response = await fetch(path.startsWith("/") ? path : `/operator/api/${path}`, {
      ...options,
      headers: { ...credentials, ...headers },
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The gateway cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get(path) {
  return (await call(path)).json();
}

export async function send(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  return (await call(path, options)).json();
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const { code, message } = body.error ?? {}; // below /v1
  return new ApiError(
    response.status,
    body.code ?? code ?? `http_${response.status}`,
    body.detail ?? message ?? "no reason was given",
    body.correlation_id ?? response.headers.get("X-Correlation-ID"),
    Number(response.headers.get("Retry-After")) || null,
  );
}

const PROVIDER = ": x-gateway-provider ";
const DONE = "[DONE]";

/** The events of a stream, as they come: {name, data}. The gateway's comment that names who has answered is one, too. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      yield* blocks.map(parse).filter(Boolean);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { name: "message", data: null };
  for (const line of block.split("\n")) {
    if (line.startsWith(PROVIDER)) return { name: "provider", data: line.slice(PROVIDER.length) };
    if (line.startsWith("data:")) event.data = line.slice(5).trim() === DONE ? DONE : JSON.parse(line.slice(5));
  }
  return event.data === null ? null : event;
}
