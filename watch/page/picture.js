// The live picture of one system, as a lecturer would draw it: clients, what is in the middle, nodes.
// Dots are messages that move; the more there are per second, the more dots. The figures say how many.

import { element, short } from "./charts.js";

const ROW = 30, TOP = 14, ABOVE_DIRECT = 56, BOX = 40, TRAVEL_SECONDS = 1.4, MOST_DOTS = 6;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** Return how many dots show *rate* messages a second: none for none, few for few. */
function dotsFor(rate) {
  return rate > 0 ? Math.min(MOST_DOTS, Math.ceil(Math.log2(1 + rate) / 1.2)) : 0;
}

function box(x, y, width, height, lines, classes = "") {
  const made = element("g", { class: `box ${classes}` });
  made.append(element("rect", { x, y, width, height, rx: 6 }));
  const middle = y + height / 2 - (lines.length - 1) * 7 + 4;
  lines.forEach((line, place) => made.append(
    element("text", { x: x + width / 2, y: middle + 14 * place, "text-anchor": "middle" }, line)));
  return made;
}

function line(from, to, rate) {
  const made = element("g", {});
  made.append(element("line", { class: "way", x1: from[0], y1: from[1], x2: to[0], y2: to[1] }));
  const dots = STILL.matches ? 0 : dotsFor(rate);
  for (let place = 0; place < dots; place += 1) {
    const dot = made.appendChild(element("circle", { class: "dot", r: 3.5 }));
    dot.append(element("animateMotion", {
      dur: `${TRAVEL_SECONDS}s`, repeatCount: "indefinite",
      begin: `${-place * TRAVEL_SECONDS / dots}s`, path: `M${from[0]} ${from[1]}L${to[0]} ${to[1]}`,
    }));
  }
  return made;
}

function perSecond(rate) {
  return `${short(rate >= 10 ? Math.round(rate) : rate)}/s`;
}

function label(x, y, text, anchor = "middle", classes = "rate") {
  return element("text", { class: classes, x, y, "text-anchor": anchor }, text);
}

export class Picture {
  /** *definition*: see `watch/web.py`; *application*: whose nodes are drawn. */
  constructor(svg, definition, application) {
    this.svg = svg;
    this.definition = definition;
    this.name = application === "worker" ? "worker" : `${application} node`;
    svg.setAttribute("role", "img");
    svg.classList.add("picture");
    new ResizeObserver(() => this.draw(this.point, this.rows)).observe(svg);
  }

  /** Draw what *point* and *rows*, the newest sample, say. */
  draw(point, rows) {
    this.point = point;
    this.rows = rows;
    const width = this.svg.clientWidth;
    if (!point || !width) return;
    const nodes = rows.filter((row) => row.name === this.name && row.state !== "spare");
    const { suffix, is_direct: isDirect } = this.definition;
    const at = (key) => point[`${key}${suffix}`];
    const top = isDirect ? ABOVE_DIRECT : TOP;
    const height = Math.max(isDirect ? 170 : 130, top + nodes.length * ROW + 8);
    if (this.svg.getAttribute("height") !== `${height}`) this.svg.setAttribute("height", height);
    const narrow = width < 480, sizes = narrow ? [58, 82, 84] : [96, 120, 150];
    const place = { width, height, sizes, top: top + (height - top - 8 - nodes.length * ROW) / 2, left: 2 };
    const parts = isDirect ? this.#direct(place, nodes, at) : this.#indirect(place, nodes, at);
    this.svg.classList.toggle("narrow", narrow);
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("aria-label", this.#inWords(nodes, at));
  }

  #client({ height, sizes, left }, at) {
    const unsent = at("unsent"), lines = [this.definition.client];
    if (unsent) lines.push(`${short(unsent)} wait`);
    return box(left, height / 2 - BOX / 2, sizes[0], BOX, lines, "client");
  }

  /** The client asks the master for a node, then talks to that node itself. */
  #direct(place, nodes, at) {
    const { width, height, sizes, left } = place;
    const x = (width - sizes[1]) / 2, from = [left + sizes[0], height / 2], nodesLeft = width - sizes[2] - 2;
    const ways = [
      element("path", { class: "ask", d: `M${left + sizes[0] / 2} ${height / 2 - BOX / 2}V28H${x}` }),
      element("path", { class: "ask", d: `M${x + sizes[1]} 28H${nodesLeft + sizes[2] / 2}V${place.top}` }),
      label((left + sizes[0] / 2 + x) / 2, 22, "which node?"),
      label((x + sizes[1] + nodesLeft + sizes[2] / 2) / 2, 22, "which nodes are alive?"),
    ];
    return [
      ...ways, ...this.#nodes(place, nodes, from), this.#client(place, at),
      box(x, 8, sizes[1], BOX, [this.definition.middle], "middle"),
      label(from[0] + 6, from[1] - 8, perSecond(at("achieved")), "start"),
      label(left, height / 2 + BOX / 2 + 16, `${short(at("queued"))} under way`, "start"),
    ];
  }

  /** The client puts messages into the queue; nodes take them from there. */
  #indirect(place, nodes, at) {
    const { width, height, sizes, left } = place, { middle, queued } = this.definition;
    const x = left + sizes[0] + (width - sizes[0] - sizes[1] - sizes[2]) * 0.4, waiting = at("queued");
    const start = [left + sizes[0], height / 2], end = [x, height / 2], rate = at("arrived") ?? at("achieved");
    const stack = Array.from({ length: Math.min(8, Math.ceil(waiting ?? 0)) }, (_, one) => element("rect", {
      class: "message", x: x + sizes[1] - 12 - one * 9, y: height / 2 + 9, width: 6, height: 10, rx: 1 }));
    return [
      line(start, end, rate), label((start[0] + end[0]) / 2, height / 2 - 8, perSecond(rate)),
      ...this.#nodes(place, nodes, [x + sizes[1], height / 2]), this.#client(place, at),
      box(x, height / 2 - 26, sizes[1], 52, [middle, `${short(waiting)} ${queued}`, ""], "middle"), ...stack,
    ];
  }

  #nodes({ width, sizes, top }, nodes, from) {
    const x = width - sizes[2] - 2;
    if (!nodes.length) return [box(x, top - 10, sizes[2], 26, ["no node"], "off")];
    return nodes.flatMap((row, place) => {
      const y = top + place * ROW, isUp = row.state === "serving" || row.state === "ready";
      const way = isUp ? line(from, [x, y + 12], row.rate) : element("line", {
        class: "way off", x1: from[0], y1: from[1], x2: x, y2: y + 12 });
      const said = !isUp ? row.state : sizes[2] > 100 ? `${this.name.split(" ").pop()} ${row.pid}` : `${row.pid}`;
      const rate = isUp ? [label(x - 6, y + 8, perSecond(row.rate), "end")] : [];
      return [way, box(x, y, sizes[2], 24, [said], isUp ? "node" : `node off ${row.state}`), ...rate];
    });
  }

  #inWords(nodes, at) {
    const { label: name, client, middle, queued } = this.definition;
    const each = nodes.map((row) => `${row.pid ?? ""} ${row.state}${row.rate ? ` ${short(row.rate)} per second` : ""}`);
    return `${name ? `${name}: ` : ""}${client}, ${short(at("offered"))} per second; ${middle}, ` +
      `${short(at("queued"))} ${queued}; ${nodes.length} ${this.name}s: ${each.join(", ") || "none"}`;
  }
}
