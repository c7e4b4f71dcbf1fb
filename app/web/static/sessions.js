// The sessions of this tab: the talk that is on the page, and those of before.

import { byId, h, replace } from "./dom.js";
import { clock, plural } from "./words.js";

const TALK = "gateway-talk"; // in sessionStorage: the session's id, its turns, who is asked
const OTHERS = "gateway-talks"; // the talks of before, newest first
const KEPT = 50; // turns of a talk that a tab remembers
const MOST = 20; // talks of before
const WIDE = 1120; // pixels from which on there is room for a list at the side

export class Sessions {
  /** `chosen()` is told that another talk is to be on the page. */
  constructor(chosen) {
    this.chosen = chosen;
    this.talk = { session: null, turns: [], model: "", ...read(TALK, {}) };
    this.others = read(OTHERS, []);
    byId("sessions").open = innerWidth >= WIDE;
  }

  /** Whether somebody has signed out meanwhile, so that nothing is to be kept. */
  get isForgotten() {
    return sessionStorage.getItem(TALK) === null;
  }

  /** Keep all talks as they are now; the oldest go where the browser has no room. */
  keep() {
    this.talk.turns = this.talk.turns.slice(-KEPT);
    while (!this.isStored()) {
      if (this.others.length) this.others.pop();
      else if (this.talk.turns.length > 1) this.talk.turns.shift();
      else return;
    }
  }

  isStored() {
    try {
      sessionStorage.setItem(OTHERS, JSON.stringify(this.others));
      sessionStorage.setItem(TALK, JSON.stringify(this.talk));
      return true;
    } catch {
      return false;
    }
  }

  /** Begin a talk, and put the one before into the list. */
  begin() {
    this.putAway();
    this.talk = { session: null, turns: [], model: this.talk.model };
    this.keep();
    this.chosen();
  }

  putAway() {
    if (this.talk.turns.length) this.others.unshift(this.talk);
    this.others = this.others.slice(0, MOST);
  }

  choose(talk) {
    this.others = this.others.filter((other) => other !== talk);
    this.putAway();
    this.talk = talk;
    this.keep();
    this.chosen();
  }

  forget(talk) {
    this.others = this.others.filter((other) => other !== talk);
    this.keep();
    this.show({ isBusy: false });
    byId("message").focus();
  }

  /** Draw the list; while an answer comes in, no other talk can be chosen. */
  show({ isBusy }) {
    byId("sessions").hidden = !this.others.length;
    const here = this.talk.turns.length ? [h("li", { "aria-current": "true" }, h("span", {}, title(this.talk)), h("span", { class: "muted" }, about(this.talk)))] : [];
    replace(byId("sessions-list"), ...here, ...this.others.map((talk) => this.row(talk, isBusy)));
  }

  row(talk, isBusy) {
    const name = title(talk);
    return h(
      "li",
      {},
      h("button", { type: "button", class: "quiet", disabled: isBusy, click: () => this.choose(talk) }, name),
      h("span", { class: "muted" }, about(talk)),
      h("button", { type: "button", class: "link", disabled: isBusy, "aria-label": `Forget ${name}`, click: () => this.forget(talk) }, "Forget"),
    );
  }
}

const title = ({ turns }) => turns[0].message.slice(0, 80);
const about = ({ turns }) => `${clock(turns[0].began / 1000)}, ${plural(turns.length, "question")}`;

function read(key, other) {
  try {
    return JSON.parse(sessionStorage.getItem(key)) ?? other;
  } catch {
    return other;
  }
}
