// The page: follows the stream of events, shows what comes, and sends what buttons say.

import { Chart, short } from "./charts.js";
import { Picture } from "./picture.js";

const SILENCE_MS = 5000, AGAIN_MS = 1000, KEPT_POINTS = 180, KEPT_LINES = 200;
const BUTTONS = { // the label, the looks, and the place: a button that takes another's place has its own
  remove_node: ["Remove", "plain", 0], freeze_node: ["Freeze", "plain", 1], thaw_node: ["Thaw", "plain", 1],
  kill_node: ["Kill", "bad", 2], kill_broker: ["Kill", "bad", 2], start_broker: ["Start", "plain", 2],
};
const COLUMNS = {
  system: ["system", ""], name: ["process", ""], pid: ["pid", "pid"], state: ["state", ""],
  rate: ["requests/s", "number"], served: ["requests", "number served"], cpu: ["CPU %", "number cpu"],
  up: ["up", "number up"],
};
const GONE_MS = 3000;

const $ = (id) => document.getElementById(id);
let charts = [], pictures = [], tiles = new Map(), points = [], faults = [], columns = [], rows = new Map();
let source, silence, held = null, shown = {}, rateBefore = 20;

function make(name, text = "", classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

// ---- the stream

function connect() {
  source = new EventSource("/events");
  source.addEventListener("hello", (event) => begin(JSON.parse(event.data)));
  source.addEventListener("news", (event) => show(JSON.parse(event.data)));
  source.addEventListener("refused", (event) => lost(JSON.parse(event.data).message));
  source.addEventListener("end", () => lost("the lab has ended"));
  source.onerror = () => lost("the connection is lost");
  listen();
}

function listen() {
  clearTimeout(silence);
  silence = setTimeout(() => lost("nothing was heard for a while"), SILENCE_MS);
}

function lost(why) {
  source.close();
  clearTimeout(silence);
  setConnection("lost", `${why}; trying again`);
  silence = setTimeout(connect, AGAIN_MS);
}

function setConnection(state, text) {
  document.body.dataset.connection = state;
  if ($("connection").textContent === text) return; // it is read aloud at each change
  $("connection").dataset.state = state;
  $("connection").textContent = text;
}

/** Lay the page out anew: at the start, and after a lost connection, when all that is kept comes again. */
function begin(layout) {
  document.title = `${layout.title} – lab watch`;
  $("title").textContent = layout.title;
  points = [];
  faults = [];
  hold(false);
  for (const list of ["events", "ticks"]) $(list).replaceChildren();
  laySystems(layout);
  $("charts").replaceChildren();
  $("charts").dataset.count = layout.charts.length;
  charts = layout.charts.map((chart) => new Chart($("charts"), chart));
  layButtons(layout);
  layTable(layout);
}

/** For each system: its name, the live picture, the figures of now. */
function laySystems({ systems, tiles: definitions, nodes }) {
  tiles = new Map();
  pictures = [];
  $("systems").dataset.count = systems.length;
  $("systems").replaceChildren(...systems.map((system) => {
    const part = make("article", "", "panel"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    if (systems.length > 1) part.append(make("h2", system.label));
    const list = make("dl", "", "tiles");
    list.append(...definitions.map((definition) => layTile(definition, system.suffix)));
    part.append(svg, list);
    pictures.push([new Picture(svg, system, nodes), systems.length > 1 ? system.label : ""]);
    return part;
  }));
}

function layTile({ key, label, unit }, suffix) {
  const tile = make("div"), value = make("dd"), figure = make("span", "–");
  value.append(figure, " ", make("small", unit));
  tile.append(make("dt", label), value);
  tiles.set(`${key}${suffix}`, figure);
  return tile;
}

function layButtons({ actions, applications, load, work, policies }) {
  for (const form of document.querySelectorAll("form[data-action]")) {
    form.hidden = !actions.includes(form.dataset.action);
  }
  for (const panel of document.querySelectorAll("[data-needs]")) {
    panel.hidden = !actions.includes(panel.dataset.needs);
  }
  $("rate").max = $("rate-number").max = load.most;
  $("rate-label").textContent = `${load.label}, 0–${load.most}`;
  $("work-number").max = work.most;
  $("work-label").textContent = `${work.label}, 0–${work.most}`;
  $("policies").replaceChildren(...(policies ?? []).map((name) => make("option", name)));
  $("policy-names").textContent = (policies ?? []).join(", ");
  shown = {};
  if (!$("scales").children.length) $("scales").replaceChildren(...applications.map(scaleLine));
}

function scaleLine(application) {
  const line = make("form", "", "line"), count = make("input"), add = make("button", "Add one", "plain");
  count.type = "number";
  count.min = 0;
  count.required = true;
  count.id = `count-${application}`;
  count.setAttribute("aria-label", `Number of ${application} nodes`);
  line.dataset.application = application;
  add.type = "button";
  add.setAttribute("aria-label", `Add one ${application} node`);
  line.noValidate = true; // the lab says what is wrong with a number
  const set = make("button", "Set");
  set.setAttribute("aria-label", `Set the number of ${application} nodes`);
  line.append(make("span", application), count, set, add);
  count.addEventListener("input", () => { count.dataset.touched = "yes"; });
  line.addEventListener("submit", (event) => {
    event.preventDefault();
    delete count.dataset.touched;
    const wanted = count.value.trim() ? Number(count.value) : null;
    press(set, "scale", { application, count: wanted });
  });
  add.addEventListener("click", () => {
    delete count.dataset.touched;
    press(add, "scale", { application, count: nodesOf(application) + 1 });
  });
  return line;
}

function nodesOf(application) {
  const serving = [...rows.values()].filter(({ row }) => row.name === `${application} node`
    && row.state !== "leaving" && row.state !== "gone" && row.system === pictures[0][1]);
  return serving.length;
}

function layTable({ columns: given, rows: title }) {
  $("rows-title").textContent = title;
  columns = given;
  const heads = columns.map((key) => {
    const head = make("th", COLUMNS[key][0], COLUMNS[key][1]);
    head.scope = "col";
    return head;
  });
  const last = make("th", "", "buttons");
  last.setAttribute("aria-label", "buttons");
  $("row-heads").replaceChildren(...heads, last);
  rows = new Map();
  $("rows").replaceChildren();
}

// ---- what comes

function show(news) {
  listen();
  setConnection("live", "live");
  if (held) {
    held.push(news);
    return;
  }
  points = [...points, ...news.points].slice(-KEPT_POINTS);
  const latest = points[points.length - 1] ?? {};
  for (const [key, figure] of tiles) figure.textContent = short(latest[key]);
  for (const line of news.lines) showLine(line);
  faults = [...faults, ...news.lines.filter(({ kind }) => kind === "fault").map(({ t }) => t)].slice(-KEPT_LINES);
  for (const chart of charts) chart.draw(points, faults);
  for (const [picture, name] of pictures) picture.draw(latest, news.rows.filter(({ system }) => (system ?? "") === name));
  showRows(news.rows);
  showFacts(news.facts);
}

/** Hold the page as it is, to talk about it; what comes meanwhile is shown afterwards. */
function hold(isHeld) {
  const missed = held ?? [];
  held = isHeld ? missed : null;
  $("hold").setAttribute("aria-pressed", String(isHeld));
  $("hold").textContent = isHeld ? "Go on" : "Hold the picture";
  document.body.dataset.held = String(isHeld);
  for (const [{ svg }] of pictures) isHeld ? svg.pauseAnimations() : svg.unpauseAnimations();
  if (!isHeld) missed.slice(-KEPT_POINTS).forEach(show);
}

function showLine({ at, kind, text }) {
  const list = kind === "tick" ? $("ticks") : $("events");
  const item = make("li", "", kind), time = make("time", new Date(at * 1000).toTimeString().slice(0, 8));
  item.append(time, make("span", text));
  list.prepend(item);
  while (list.children.length > KEPT_LINES) list.lastChild.remove();
  $(kind === "tick" ? "no-ticks" : "no-events").hidden = true;
}

/** Change the table's rows in place: none moves while the pointer or the focus is in the table. */
function showRows(given) {
  const present = new Set(given.map(({ key }) => key)), table = $("rows");
  const isInUse = table.contains(document.activeElement) || (matchMedia("(hover: hover)").matches && table.matches(":hover"));
  for (const [key, kept] of rows) {
    if (present.has(key)) continue;
    if (kept.row.state !== "gone") showRow(kept, { ...kept.row, state: "gone", rate: null, cpu: null, buttons: [] });
    kept.goneAt ??= Date.now();
    if (!isInUse && Date.now() - kept.goneAt > GONE_MS) {
      kept.line.remove();
      rows.delete(key);
    }
  }
  for (const row of given) {
    if (!rows.has(row.key)) rows.set(row.key, { line: table.appendChild(rowLine()), row });
    const kept = rows.get(row.key);
    delete kept.goneAt;
    showRow(kept, row);
  }
  $("no-rows").hidden = given.length > 0;
  for (const line of $("scales").children) {
    const count = line.querySelector("input");
    if (!count.dataset.touched && document.activeElement !== count) count.value = nodesOf(line.dataset.application);
  }
}

function showRow(kept, row) {
  kept.row = row;
  kept.line.dataset.state = row.state;
  columns.forEach((key, place) => setText(kept.line.cells[place], inRow(key, row[key])));
  showButtons(kept.line.lastElementChild, row);
}

function rowLine() {
  const line = make("tr");
  for (const key of columns) line.append(make("td", "", COLUMNS[key][1]));
  line.append(make("td", "", "buttons"));
  return line;
}

/** Show the buttons of a row. One that is of no use now is greyed: it stays where it is, and keeps the focus. */
function showButtons(cell, row) {
  const wanted = new Map(row.buttons.map((action) => [String(BUTTONS[action][2]), action]));
  for (const place of wanted.keys()) {
    if (!cell.querySelector(`[data-place="${place}"]`)) addButton(cell, place);
  }
  for (const button of cell.children) {
    const action = wanted.get(button.dataset.place);
    button.classList.toggle("off", !action);
    if (!action) {
      button.setAttribute("aria-disabled", "true");
      continue;
    }
    if (!button.dataset.busy) button.removeAttribute("aria-disabled");
    const [label, looks] = BUTTONS[action];
    Object.assign(button.dataset, { action, fields: JSON.stringify(row.kind ? { kind: row.kind } : { pid: row.pid }) });
    button.classList.remove("plain", "bad");
    button.classList.add(looks);
    setText(button, label);
    button.setAttribute("aria-label", row.pid ? `${label} ${row.name}, process ${row.pid}` : `${label} ${row.name}`);
  }
}

function addButton(cell, place) {
  const button = make("button"), after = [...cell.children].find((one) => one.dataset.place > place);
  button.type = "button";
  button.dataset.place = place;
  button.addEventListener("click", () => press(button, button.dataset.action, JSON.parse(button.dataset.fields)));
  cell.insertBefore(button, after ?? null);
}

function inRow(key, value) {
  if (value === null || value === undefined) return "–";
  if (key === "up") return value < 100 ? `${value.toFixed(0)} s` : `${(value / 60).toFixed(0)} min`;
  if (key === "rate") return short(value);
  return key === "cpu" ? value.toFixed(0) : String(value);
}

function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function showFacts(facts) {
  for (const name of ["rate", "work", "policy"]) { // another page may have set it
    if (facts[name] === undefined || facts[name] === shown[name]) continue;
    shown[name] = facts[name];
    if (!$(name).form.contains(document.activeElement)) setField(name, facts[name]);
  }
  if (facts.rate) rateBefore = facts.rate;
  setText($("pause"), facts.rate === 0 ? "Resume" : "Pause");
  setText($("insults"), facts.insults === null || facts.insults === "mixed" ? "An unknown number" : `${facts.insults} insults`);
  setText($("broadcast"), facts.broadcast === "mixed" ? "is on in one system" : facts.broadcast === null ? "unknown" : facts.broadcast ? "is on" : "is off");
  $("broadcast").dataset.on = String(facts.broadcast);
  $("reason").hidden = facts.reason === undefined;
  if (facts.reason) setText($("reason").lastElementChild, facts.reason);
}

// ---- buttons

async function press(button, action, fields) {
  if (button.getAttribute("aria-disabled") === "true") return null;
  button.setAttribute("aria-disabled", "true");
  button.dataset.busy = "yes";
  tell("One moment …");
  try {
    const reply = await fetch(`/api/${action}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields),
    });
    const isJson = (reply.headers.get("Content-Type") ?? "").startsWith("application/json");
    const answer = isJson ? await reply.json() : { code: `HTTP ${reply.status}`, message: await reply.text() };
    tell(reply.ok ? answer.said : `${answer.code}: ${answer.message}`, !reply.ok);
    return reply.ok ? answer : null;
  } catch {
    tell("UNAVAILABLE: the lab does not answer; was it ended?", true);
    return null;
  } finally {
    delete button.dataset.busy;
    if (!button.classList.contains("off")) button.removeAttribute("aria-disabled");
  }
}

let forget;
function tell(text, isBad = false) {
  clearTimeout(forget);
  $("result").textContent = text;
  $("result").classList.toggle("bad", isBad);
  forget = setTimeout(() => { $("result").textContent = ""; }, isBad ? 12000 : 5000);
}

function setField(name, value) {
  $(name).value = value;
  if ($(`${name}-number`)) $(`${name}-number`).value = value;
}

/** Return what sends the newest of the values that come while one is under way: none is lost, few are sent. */
function steady(send) {
  let isBusy = false, next;
  return async (...given) => {
    next = given;
    if (isBusy) return;
    isBusy = true;
    while (next) {
      const now = next;
      next = undefined;
      await send(...now);
    }
    isBusy = false;
  };
}

/** Let a slider and its number send one field of a form's action. */
function slide(name, action, field) {
  const slider = $(name), number = $(`${name}-number`), button = slider.form.querySelector("button");
  const send = steady((value) => press(button, action, { [field]: value }));
  slider.addEventListener("input", () => { number.value = slider.value; });
  slider.addEventListener("change", () => send(Number(slider.value)));
  slider.form.addEventListener("submit", () => {
    const value = number.value.trim() ? Number(number.value) : null;
    if (value !== null) slider.value = value; // not after the answer: it may have been moved on
    send(value);
  });
  return send;
}

async function submit(form) {
  const button = form.querySelector("button"), action = form.dataset.action;
  const answer = await press(button, action, Object.fromEntries(new FormData(form)));
  if (!answer) return;
  if (action === "add_insult") form.reset();
  if (action === "send_text") {
    $("censored").hidden = false;
    $("censored").textContent = answer.text;
  }
}

for (const form of document.querySelectorAll("form[data-action]")) {
  form.noValidate = true; // the lab says what is wrong, with its code
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!["load", "work"].includes(form.dataset.action)) submit(form);
  });
}
for (const button of document.querySelectorAll("[data-press]")) {
  button.addEventListener("click", () => press(button, button.dataset.press, {}));
}
const sendRate = slide("rate", "load", "rate");
slide("work", "work", "milliseconds");
$("pause").addEventListener("click", () => {
  const rate = shown.rate === 0 ? rateBefore : 0;
  setField("rate", rate);
  sendRate(rate);
});
$("hold").addEventListener("click", () => hold(!held));

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", "/"); // it is a cookie now
connect();
