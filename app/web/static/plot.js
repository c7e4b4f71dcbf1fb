// Pictures of the recent past, drawn as SVG from points in time.

import { replace, svg } from "./dom.js";
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
  replace(box, svg("svg", { ...frame, role: "group" }, ...grid, ...hours(x, since, now), ...dots));
}

/** Not one stop of the Tab key each: the link below the picture leads to all of them. */
function dot(chat, x, y) {
  const words = `${clock(chat.opened_at)}, ${duration(chat.duration)}, ${chat.provider ?? chat.code ?? chat.outcome}`;
  return svg(
    "a",
    { href: `/operator/records#record=${encodeURIComponent(chat.id)}`, tabindex: -1, "aria-label": `Record of ${words}` },
    svg("title", {}, words),
    svg("circle", { class: "hit", cx: x, cy: y, r: 7 }),
    DOTS[chat.kind](x, y),
  );
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
export function drawOutcomes(box, chats, { since, now, summary, step = 30 }) {
  const { frame, x } = prepare(box, since, now, summary);
  const bins = sorted(chats, since, now, step);
  const top = nice(Math.max(4, ...bins.map((bin) => bin.good + bin.warn + bin.bad)));
  const y = (count) => round(FLOOR - (count / top) * (FLOOR - TOP));
  const grid = [0, top / 2, top].flatMap((count) => line(box, y(count), String(count)));
  const width = Math.max(1.5, x(since + step) - x(since) - 1.5);
  const bars = bins.flatMap((bin, index) => stack(bin, x(since + index * step), width, y));
  replace(box, svg("svg", frame, ...grid, ...hours(x, since, now), ...bars));
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

function hours(x, since, now) {
  const ends = [[since, "start"], [(since + now) / 2, "middle"], [now, "end"]];
  return ends.map(([at, anchor]) =>
    svg("text", { x: x(at), y: HEIGHT - 6, "text-anchor": anchor }, clock(at)),
  );
}

/** The next even number that reads well at the top of an axis. */
export function nice(count) {
  const size = 10 ** Math.floor(Math.log10(count));
  return [1, 2, 4, 6, 8, 10].map((n) => n * size).find((n) => n >= count);
}

export const round = (number) => Math.round(number * 10) / 10;
