// Making elements. Text goes in as text only: there is no way to markup from here,
// and the page's policy (trusted types) would refuse it.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: h("a", {href: "/"}, "text", child). A function is a listener. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Let the reader keep a text as a file. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Rows of values as CSV (RFC 4180). A text that a spreadsheet would take for a formula is quoted for it. */
export const csv = (rows) => rows.map((row) => row.map(cell).join(",")).join("\r\n").concat("\r\n");

function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.filter(Boolean));
}

/** Replace what a box shows; what had the focus has it again, found by its `data-key`. */
export function redraw(box, ...children) {
  const fresh = box.cloneNode(false);
  fresh.append(...children.filter(Boolean));
  if (box.isEqualNode(fresh) || box.querySelector(":active")) return; // a click under way would be lost
  const { activeElement: focused } = document;
  const key = box.contains(focused) ? focused.dataset.key : null;
  box.replaceChildren(...fresh.childNodes);
  if (key) box.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

// Format and control characters, halves of pairs, and all that is drawn as nothing:
// what could make a text look other than it is.
const UNSEEN = /(?![\n\t])[\p{Cf}\p{Cc}\p{Cs}\p{Default_Ignorable_Code_Point}\u2028\u2029]/gu;

/** A text whose invisible characters are shown by their numbers. */
export function unmasked(text) {
  const shown = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    const number = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    shown.append(text.slice(end, found.index));
    shown.append(h("span", { class: "unseen", title: "a character that is not seen" }, `U+${number}`));
    end = found.index + found[0].length;
  }
  shown.append(text.slice(end));
  return shown;
}

/** A button that copies a text and says so; `told()` is called once it was clicked. */
export function copyButton(label, text, told = () => {}) {
  const button = h("button", { type: "button", class: "link" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "Copied" : "Could not copy";
    byId("told").textContent = button.textContent;
    told();
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text); // pages from plain http have no clipboard object
  }
}

function copyByCommand(text) {
  const field = h("textarea", { class: "sr-only", "aria-label": "Text to copy" });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}
