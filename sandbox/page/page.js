// Break it: the faults of all stand-ins, switched on and off.

const LOOK_EVERY = 1500; // ms
const OUTAGE = 30_000; // ms
const FAVOURITES = {
  frozen: "Freeze",
  hang: "Hang",
  refuse: "Refuse",
  body_drip: "Drip",
  http_status: "Fail",
  status_error: "Talk nonsense",
  reset_mid_body: "Cut off",
};

let faults = [];
const byId = (id) => document.getElementById(id);
const plain = (text) => text.replaceAll("`", "");
const sentence = (name) => plain(faults.find((fault) => fault.name === name)?.sentence ?? name);

/** Make an element; a function among the attributes is a listener. */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

async function call(path, method = "GET", body = undefined) {
  const response = await fetch(path, { method, body });
  const value = await response.json();
  if (!response.ok) throw new Error(value.detail);
  return value;
}

async function look() {
  try {
    const { stand_ins: standIns } = await call("all");
    if (!byId("at-once")) addRow(Object.keys(standIns));
    for (const [name, fault] of Object.entries(standIns)) update(name, fault);
    byId("problem").textContent = "";
  } catch (error) {
    byId("problem").textContent = `The sandbox does not answer: ${error.message}`;
  }
}

function update(name, { fault, times }) {
  const card = byId(`stand-in-${name}`) ?? addCard(name);
  const words = fault ? `Broken: ${sentence(fault)}${times ? ` ${times} more times.` : ""}` : "Works.";
  const state = card.querySelector(".state");
  if (state.textContent !== words) state.textContent = words; // it is read out each time
  card.classList.toggle("broken", Boolean(fault));
  card.querySelector(".heal").disabled = !fault;
  for (const button of card.querySelectorAll("[data-fault]"))
    button.setAttribute("aria-pressed", String(button.dataset.fault === fault));
}

function addCard(name) {
  const favourites = Object.entries(FAVOURITES).map(([fault, label]) =>
    h("button", { type: "button", "data-fault": fault, title: sentence(fault), click: () => breakWith(name, fault) }, label));
  const card = h("section", { id: `stand-in-${name}`, "aria-labelledby": `title-${name}` },
    h("h2", { id: `title-${name}` }, name),
    h("p", { class: "state", role: "status" }),
    h("div", { class: "faults", role: "group", "aria-label": `Ways to break ${name}` }, ...favourites),
    ...others(name),
    h("button", { type: "button", class: "heal", click: () => change(name, "DELETE") }, "Heal"));
  byId("stand-ins").append(card);
  return card;
}

/** Every fault of the catalogue, for those who want to see them all. */
function others(name) {
  const options = faults.map((fault) => h("option", { value: fault.name }, `${fault.name}: ${plain(fault.sentence)}`));
  const select = h("select", { id: `all-${name}` }, h("option", { value: "" }, "choose one"), ...options);
  const button = h("button", { type: "button", click: () => select.value && breakWith(name, select.value) }, "Break");
  return [h("label", { for: `all-${name}` }, `All ${faults.length} ways`), select, button];
}

/** What is done to all stand-ins at once; an outage may end by itself. */
function addRow(names) {
  const all = (method, body) => Promise.all(names.map((name) => change(name, method, body)));
  const breakAll = (fault) => all("POST", JSON.stringify({ fault }));
  const outage = async () => {
    await breakAll("refuse");
    setTimeout(() => all("DELETE"), OUTAGE);
  };
  const button = (words, click) => h("button", { type: "button", click }, words);
  const row = h("div", { id: "at-once", class: "faults", role: "group", "aria-label": "All at once" },
    button("Freeze all", () => breakAll("frozen")),
    button("Fail all", () => breakAll("http_status")),
    button("Outage of 30 s", outage),
    button("Heal all", () => all("DELETE")));
  byId("stand-ins").before(row);
}

const breakWith = (name, fault) => change(name, "POST", JSON.stringify({ fault }));

async function change(name, method, body) {
  try {
    update(name, await call(`all/${encodeURIComponent(name)}`, method, body));
  } catch (error) {
    byId("problem").textContent = error.message;
  }
}

({ faults } = await call("faults"));
await look();
setInterval(look, LOOK_EVERY);
