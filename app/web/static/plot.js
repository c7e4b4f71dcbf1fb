// Pictures of the recent past, drawn as SVG from points in time.

import { redraw, svg } from "./dom.js";
import { recordHref } from "./links.js";
import { clock, duration } from "./words.js";

const HEIGHT = 180;
const LEFT = 48;
const RIGHT = 8;
export const TOP = 10;
const BOTTOM = 24;
export const FLOOR = HEIGHT - BOTTOM;
const DECADES = [0.001, 0.01, 0.1, 1, 10, 100]; // seconds
const USUAL = [0.01, 10]; // seconds that are on show in any case
const DOTS = {
  good: (x, y) => svg("circle", { class: "dot-good", cx: x, cy: y, r: 3 }),
  warn: (x, y) => svg("path", { class: "dot-warn", d: `M${x} ${y - 4} ${x + 4} ${y} ${x} ${y + 4} ${x - 4} ${y}Z` }),
  bad: (x, y) => svg("path", { class: "dot-bad", d: `m${x - 3} ${y - 3} 6 6m0 -6 -6 6` }),
};

/** A dot for each chat: when it began, how long it took (logarithmic). It leads to its record. */
export function drawLatency(box, chats, { since, now, summary }) {
  const over = chats.filter((chat) => chat.duration !== null);
  const { frame, x } = prepare(box, since, now, summary);
  const shown = decades(over.map((chat) => chat.duration));
  const [low, high] = [shown.at(0), shown.at(-1)];
  const y = (seconds) => {
    const share = Math.log(Math.max(seconds, low) / low) / Math.log(high / low);
    return round(FLOOR - Math.min(share, 1) * (FLOOR - TOP));
  };
  const grid = shown.flatMap((second) => line(box, y(second), duration(second)));
  const dots = over.map((chat) => dot(chat, x(chat.opened_at), y(chat.duration)));
  draw(box, svg("svg", { ...frame, role: "group" }, ...grid, ...hours(x, since, now), ...dots));
}

function dot(chat, x, y) {
  const words = `${clock(chat.opened_at)}, ${duration(chat.duration)}, ${chat.provider ?? chat.code ?? chat.outcome}`;
  return link(recordHref(chat.id), words, "Record of", svg("circle", { class: "hit", cx: x, cy: y, r: 7 }), DOTS[chat.kind](x, y));
}

const link = (href, words, what, ...shapes) =>
  svg("a", { href, tabindex: -1, "data-key": href, "aria-label": `${what} ${words}` }, svg("title", {}, words), ...shapes);

const STEPS = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  Home: () => 0,
  End: () => Infinity,
};

/** Put a picture into its box. Its links are one stop of the Tab key; arrows go from one to the next. */
function draw(box, picture) {
  const links = Array.from(picture.querySelectorAll("a")).sort((one, other) => left(one) - left(other));
  links.at(-1)?.setAttribute("tabindex", 0);
  picture.addEventListener("keydown", (event) => {
    const at = links.indexOf(document.activeElement);
    if (at < 0 || !(event.key in STEPS)) return;
    event.preventDefault();
    const to = Math.max(0, Math.min(links.length - 1, STEPS[event.key](at)));
    links[at].setAttribute("tabindex", -1);
    links[to].setAttribute("tabindex", 0);
    links[to].focus();
  });
  redraw(box, picture);
}

/** Where a link's shapes begin. */
function left(one) {
  const shape = one.querySelector("circle, rect");
  return Number(shape.getAttribute("cx") ?? shape.getAttribute("x"));
}

/** The powers of ten between which all durations lie, as far as they are drawn. */
function decades(durations) {
  const least = Math.min(USUAL[0], ...durations);
  const most = Math.max(USUAL[1], ...durations);
  const high = DECADES.find((second) => second >= most) ?? DECADES.at(-1);
  const low = DECADES.findLast((second) => second <= least) ?? DECADES.at(0);
  return DECADES.filter((second) => low <= second && second <= high);
}

/** A bar for each step of time: how its chats ended, one kind upon the other. */
export function drawOutcomes(box, chats, { since, now, summary, href, step = 30 }) {
  const first = Math.floor(since / step) * step; // so that bars stay what they are as time goes on
  const bins = sorted(chats, first, now, step);
  drawBars(box, bins, { since: first, now: first + bins.length * step, summary, step, href });
}

/** A bar for each bin, {good, warn, bad}; `href(began, ended)` is where it leads. */
export function drawBars(box, bins, { since, now, summary, step, href, tell = clock }) {
  const { frame, x } = prepare(box, since, now, summary);
  const top = nice(Math.max(4, ...bins.map((bin) => bin.good + bin.warn + bin.bad)));
  const y = (count) => round(FLOOR - (count / top) * (FLOOR - TOP));
  const grid = [0, top / 2, top].flatMap((count) => line(box, y(count), count.toLocaleString()));
  const width = Math.max(1.5, x(since + step) - x(since) - 1.5);
  const bars = bins.flatMap((bin, index) => {
    const began = since + index * step;
    const shapes = stack(bin, x(began), width, y);
    if (!shapes.length) return [];
    const words = `${tell(began)}: ${bin.good} by the first choice, ${bin.warn} degraded, ${bin.bad} without an answer`;
    return [link(href(began, began + step), words, "Records of", ...shapes)];
  });
  draw(box, svg("svg", { ...frame, role: "group" }, ...grid, ...hours(x, since, now, tell), ...bars));
}

function sorted(chats, since, now, step) {
  const bins = Array.from({ length: Math.ceil((now - since) / step) }, () => ({ good: 0, warn: 0, bad: 0 }));
  for (const chat of chats) {
    const bin = bins[Math.floor((chat.opened_at - since) / step)];
    if (bin && chat.kind) bin[chat.kind] += 1;
  }
  return bins;
}

function stack(bin, left, width, y) {
  let below = 0;
  return ["good", "warn", "bad"].flatMap((kind) => {
    if (!bin[kind]) return [];
    const [low, high] = [y(below), y((below += bin[kind]))];
    return [svg("rect", { class: `bar-${kind}`, x: left, y: high, width, height: Math.max(low - high - 0.5, 1.5) })];
  });
}

export function prepare(box, since, now, summary) {
  const width = Math.max(box.clientWidth, 240);
  const frame = { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": summary };
  const x = (at) => round(LEFT + ((at - since) / (now - since)) * (width - LEFT - RIGHT));
  return { frame, x };
}

export function line(box, y, words) {
  const right = Math.max(box.clientWidth, 240) - RIGHT;
  return [
    svg("line", { class: "grid", x1: LEFT, x2: right, y1: y, y2: y }),
    svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, words),
  ];
}

function hours(x, since, now, tell = clock) {
  const ends = [[since, "start"], [(since + now) / 2, "middle"], [now, "end"]];
  return ends.map(([at, anchor]) =>
    svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": anchor }, tell(at)),
  );
}

/** The next even number that reads well at the top of an axis. */
export function nice(count) {
  const size = 10 ** Math.floor(Math.log10(count));
  return [1, 2, 4, 6, 8, 10].map((n) => n * size).find((n) => n >= count);
}

export const round = (number) => Math.round(number * 10) / 10;
