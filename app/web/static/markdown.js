// Markdown in answers. An upstream's words are foreign: `marked` makes markup of them,
// and DOMPurify keeps of that what is on the list here. It is the only one to whom the
// page's policy (trusted types) lets a text become markup.

import { copyButton, h } from "./dom.js";
import { Marked } from "./marked.js";
import DOMPurify from "./purify.js";

const MOST = 200_000; // characters; more is shown as it came
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
  const isRich = text.length <= MOST;
  element.classList.toggle("rich", isRich);
  if (!isRich) {
    element.textContent = text;
    return;
  }
  const shown = DOMPurify.sanitize(marked.parse(text), KEPT);
  for (const link of shown.querySelectorAll("a[href]")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  for (const table of shown.querySelectorAll("table")) wrap(table, "scroll");
  if (isOver) for (const code of shown.querySelectorAll("pre")) wrap(code, "code", copyButton("Copy code", () => code.textContent));
  element.replaceChildren(shown);
}

function wrap(element, name, ...more) {
  const box = h("div", { class: name }, ...more);
  element.replaceWith(box);
  box.prepend(element);
}
