// One sign-in for all tabs of a browser. A tab that has no token asks the others for
// theirs over a channel of this origin; nothing is stored, and nothing is sent by the
// browser on its own, so there is nothing that a foreign page could make it send.

const NAME = "gateway-sign-in";
const WAIT_KNOWN = 3000; // ms that a new tab waits for another one that is signed in
const WAIT = 300; // and where it cannot be known whether there is one
const channel = new BroadcastChannel(NAME);
const { locks } = navigator; // a page that came by plain http from elsewhere has none
let letGo = null; // of the lock by which others know that this tab is signed in

/**
 * Take part: `held()` is the token that this tab is signed in with, or "";
 * `offered(token)` and `left()` are told what other tabs have done.
 */
export function join({ held, offered, left }) {
  channel.addEventListener("message", ({ data }) => {
    if (data.kind === "ask" && held()) offer(held());
    if (data.kind === "token") offered(data.token);
    if (data.kind === "out") left();
  });
}

/** Let others know whether somebody is signed in at this tab. */
export function tellOthers(isIn) {
  if (isIn && !letGo) locks?.request(NAME, { mode: "shared" }, () => new Promise((done) => (letGo = done)));
  if (!isIn) letGo = letGo?.() ?? null;
}

/** Let the tabs in that nobody is signed in at. */
export const offer = (token) => channel.postMessage({ kind: "token", token });

/** Sign out all other tabs. */
export const leaveAll = () => channel.postMessage({ kind: "out" });

/** The token of another tab, or "" if there is none, or none answers in time. */
export async function askOthers() {
  const known = await locks?.query();
  if (known && !known.held.some((lock) => lock.name === NAME)) return "";
  return answerWithin(known ? WAIT_KNOWN : WAIT);
}

function answerWithin(limit) {
  return new Promise((done) => {
    const answer = ({ data }) => data.kind === "token" && end(data.token);
    const timer = setTimeout(() => end(""), limit);
    function end(token) {
      clearTimeout(timer);
      channel.removeEventListener("message", answer);
      done(token);
    }
    channel.addEventListener("message", answer);
    channel.postMessage({ kind: "ask" });
  });
}
