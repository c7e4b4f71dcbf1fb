// Markdown in answers. An upstream's words are foreign: `marked` makes markup of them,
// and DOMPurify keeps of that what is on the list here. It is the only one to whom the
// page's policy (trusted types) lets a text become markup.

import { copyButton, h } from "./dom.js";
import { Marked } from "./marked.js";
import DOMPurify from "./purify.js";

const MOST = 200_000; // characters; more is shown as it came
// `marked` takes time by the square of the marks of emphasis that stand in one block,
// and of the depth of lists and quotes (measured: minutes for 200,000 characters).
const MOST_PAIRS = 2000 ** 2;
const DEEP = /^(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]))){50}/m; // quotes and lists in one line
const INDENTED = /^[ \t]{40,}(?:[-*+]|\d{1,9}[.)])[ \t]/gm;
const MOST_INDENTED = 20;
const KEPT = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
  ALLOWED_ATTR: ["href", "start"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const MARKS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (mark) => MARKS[mark]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text, block }) => (block ? `<p>${escaped(text)}</p>` : escaped(text)),
    image: ({ raw }) => escaped(raw), // nothing is loaded from where an answer says
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6); // the page's own are h1 and h2
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

/** Show a text as its Markdown means it; HTML and pictures in it stay text. */
export function showMarkdown(element, text, { isOver }) {
  const markup = markupOf(text);
  element.classList.toggle("rich", markup !== null);
  if (markup === null) {
    element.textContent = text;
    return;
  }
  const shown = DOMPurify.sanitize(markup, KEPT);
  for (const link of shown.querySelectorAll("a[href]")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const table of shown.querySelectorAll("table")) wrap(table, "scroll");
  if (isOver) for (const code of shown.querySelectorAll("pre")) wrap(code, "code", copyButton("Copy code", () => code.textContent));
  element.replaceChildren(shown);
}

/** The markup of a text; null where making it would keep the tab busy for long. */
function markupOf(text) {
  if (text.length > MOST || text.search(DEEP) >= 0) return null;
  if ((text.match(INDENTED)?.length ?? 0) > MOST_INDENTED) return null;
  const marks = text.split(/\n[ \t]*\n/).map((block) => block.match(/[*_~]/g)?.length ?? 0);
  if (marks.reduce((sum, count) => sum + count * count, 0) > MOST_PAIRS) return null;
  try {
    return marked.parse(text);
  } catch {
    return null; // the words are shown all the same
  }
}

function wrap(element, name, ...more) {
  const box = h("div", { class: name }, ...more);
  element.replaceWith(box);
  box.prepend(element);
}
