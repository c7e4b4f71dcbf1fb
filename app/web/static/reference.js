// The API's page: look for a route, open it, copy its example with this gateway's address.

import { byId, copyButton } from "./dom.js";

const ADDRESS = "http://localhost:8011"; // as the page is made

for (const example of document.querySelectorAll("pre")) {
  example.firstElementChild.textContent = example.textContent.replace(ADDRESS, location.origin);
  example.after(copyButton("Copy", () => example.textContent));
}
byId("look").hidden = false;
byId("look-for").addEventListener("input", filter);
addEventListener("hashchange", open);
open();

/** Open what the address names, and what it is in. */
function open() {
  const shown = document.getElementById(location.hash.slice(1));
  for (let part = shown; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  shown?.scrollIntoView();
}

/** Show the routes and values in which all of the words are found. */
function filter() {
  const words = byId("look-for").value.toLowerCase().split(/\s+/);
  const parts = Array.from(document.querySelectorAll(".page-api details"));
  for (const part of parts) part.hidden = !words.every((word) => part.textContent.toLowerCase().includes(word));
  const left = parts.filter((part) => !part.hidden).length;
  byId("look-found").textContent = byId("look-for").value ? `${left} of ${parts.length}` : "";
}
