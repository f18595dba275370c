// The page: follows the stream of events, shows what comes, and sends what buttons say.

import { Chart, short } from "./charts.js";

const SILENCE_MS = 5000, AGAIN_MS = 1000, KEPT_POINTS = 180, KEPT_LINES = 200;
const BUTTONS = { remove_node: ["Remove", "plain"], kill_node: ["Kill", "bad"], kill_worker: ["Kill", "bad"] };
const COLUMNS = {
  name: ["process", ""], pid: ["pid", ""], state: ["state", ""], cpu: ["CPU %", "number cpu"],
  up: ["up", "number up"], finished: ["finished", "number"],
};

const $ = (id) => document.getElementById(id);
let charts = [], tiles = new Map(), points = [], faults = [], columns = [], rows = new Map();
let source, silence, shownRate;

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
  for (const list of ["events", "ticks"]) $(list).replaceChildren();
  layTiles(layout.tiles);
  $("charts").replaceChildren();
  $("charts").dataset.count = layout.charts.length;
  charts = layout.charts.map((chart) => new Chart($("charts"), chart));
  layButtons(layout);
  layTable(layout);
}

function layTiles(definitions) {
  tiles = new Map();
  $("tiles").replaceChildren(...definitions.map(({ key, label, unit }) => {
    const tile = make("div"), value = make("dd"), figure = make("span", "–");
    value.append(figure, " ", make("small", unit));
    tile.append(make("dt", label), value);
    tiles.set(key, figure);
    return tile;
  }));
}

function layButtons({ actions, applications, load }) {
  for (const form of document.querySelectorAll("form[data-action]")) {
    form.hidden = !actions.includes(form.dataset.action);
  }
  for (const panel of document.querySelectorAll("[data-needs]")) {
    panel.hidden = !actions.includes(panel.dataset.needs);
  }
  $("rate").max = $("rate-number").max = load.most;
  $("rate-label").textContent = `${load.label}, 0–${load.most}`;
  shownRate = undefined;
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
  const serving = [...rows.values()].filter(({ row }) =>
    row.name === `${application} node` && row.state !== "leaving");
  return serving.length;
}

function layTable({ actions, rows: title }) {
  $("rows-title").textContent = title;
  columns = actions.includes("kill_worker")
    ? ["name", "pid", "state", "finished"] : ["name", "pid", "state", "cpu", "up"];
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
  points = [...points, ...news.points].slice(-KEPT_POINTS);
  const latest = points[points.length - 1] ?? {};
  for (const [key, figure] of tiles) figure.textContent = short(latest[key]);
  for (const line of news.lines) showLine(line);
  faults = [...faults, ...news.lines.filter(({ kind }) => kind === "fault").map(({ t }) => t)].slice(-KEPT_LINES);
  for (const chart of charts) chart.draw(points, faults);
  showRows(news.rows);
  showFacts(news.facts);
}

function showLine({ at, kind, text }) {
  const list = kind === "tick" ? $("ticks") : $("events");
  const item = make("li", "", kind), time = make("time", new Date(at * 1000).toTimeString().slice(0, 8));
  item.append(time, make("span", text));
  list.prepend(item);
  while (list.children.length > KEPT_LINES) list.lastChild.remove();
  $(kind === "tick" ? "no-ticks" : "no-events").hidden = true;
}

/** Change the table's rows in place, so that a button that has the focus keeps it. */
function showRows(given) {
  const present = new Set(given.map(({ key }) => key));
  for (const [key, { line }] of rows) {
    if (!present.has(key)) {
      if (line.contains(document.activeElement)) $("rows-title").focus();
      line.remove();
      rows.delete(key);
    }
  }
  for (const row of given) {
    if (!rows.has(row.key)) rows.set(row.key, { line: $("rows").appendChild(rowLine()), row });
    const kept = rows.get(row.key);
    kept.row = row;
    kept.line.dataset.state = row.state;
    columns.forEach((key, place) => setText(kept.line.cells[place], inRow(key, row[key])));
    showButtons(kept.line, row);
  }
  $("no-rows").hidden = given.length > 0;
  for (const line of $("scales").children) {
    const count = line.querySelector("input");
    if (!count.dataset.touched && document.activeElement !== count) count.value = nodesOf(line.dataset.application);
  }
}

function rowLine() {
  const line = make("tr");
  for (const key of columns) line.append(make("td", "", COLUMNS[key][1]));
  line.append(make("td", "", "buttons"));
  return line;
}

function showButtons(line, row) {
  const cell = line.lastElementChild;
  for (const action of row.buttons) {
    if (cell.querySelector(`[data-action="${action}"]`)) continue;
    const [label, looks] = BUTTONS[action], button = make("button", label, looks);
    button.type = "button";
    button.dataset.action = action;
    button.setAttribute("aria-label", `${label} ${row.name}, process ${row.pid}`);
    button.addEventListener("click", () => press(button, action, { pid: row.pid }));
    cell.append(button);
  }
  for (const button of cell.children) button.hidden = !row.buttons.includes(button.dataset.action);
}

function inRow(key, value) {
  if (value === null || value === undefined) return "–";
  if (key === "up") return value < 100 ? `${value.toFixed(0)} s` : `${(value / 60).toFixed(0)} min`;
  return key === "cpu" ? value.toFixed(0) : String(value);
}

function setText(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function showFacts(facts) {
  if (facts.rate !== undefined && facts.rate !== shownRate) { // another page may have set it
    shownRate = facts.rate;
    if (!$("rate").form.contains(document.activeElement)) setRate(facts.rate);
  }
  setText($("insults"), facts.insults === null ? "An unknown number" : `${facts.insults} insults`);
  setText($("broadcast"), facts.broadcast === null ? "unknown" : facts.broadcast ? "is on" : "is off");
  $("broadcast").dataset.on = String(facts.broadcast);
  $("reason").hidden = facts.reason === undefined;
  if (facts.reason) setText($("reason").lastElementChild, facts.reason);
}

// ---- buttons

async function press(button, action, fields) {
  if (button.getAttribute("aria-disabled") === "true") return null;
  button.setAttribute("aria-disabled", "true");
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
    button.removeAttribute("aria-disabled");
  }
}

let forget;
function tell(text, isBad = false) {
  clearTimeout(forget);
  $("result").textContent = text;
  $("result").classList.toggle("bad", isBad);
  forget = setTimeout(() => { $("result").textContent = ""; }, isBad ? 12000 : 5000);
}

function setRate(rate) {
  $("rate").value = $("rate-number").value = rate;
}

async function submit(form) {
  const button = form.querySelector("button"), action = form.dataset.action;
  if (action === "load") {
    const rate = $("rate-number").value.trim() ? Number($("rate-number").value) : null;
    if (await press(button, action, { rate })) $("rate").value = rate;
    return;
  }
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
    submit(form);
  });
}
for (const button of document.querySelectorAll("[data-press]")) {
  button.addEventListener("click", () => press(button, button.dataset.press, {}));
}
$("rate").addEventListener("input", () => { $("rate-number").value = $("rate").value; });
$("rate").addEventListener("change", () => submit($("rate").form));

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", "/"); // it is a cookie now
connect();
