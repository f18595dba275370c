// Lines over the last two minutes, drawn as SVG at the size that the page gives.

const SHOWN_SECONDS = 120;
const LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 20;
const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Write a figure short: 3 digits, no more than are needed. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 9999.5) return `${(value / 1000).toFixed(value < 99950 ? 1 : 0).replace(".0", "")}k`;
  if (value >= 99.95 || Number.isInteger(value)) return value.toFixed(0);
  return value.toFixed(value < 9.995 ? 2 : 1).replace(/\.?0+$/, "");
}

/** The next round number that is not below *value*. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  constructor(parent, { title, unit, series }) {
    this.title = title;
    this.unit = unit;
    this.series = series;
    this.points = [];
    this.faults = [];
    const figure = parent.appendChild(document.createElement("figure"));
    const caption = figure.appendChild(document.createElement("figcaption"));
    caption.appendChild(document.createElement("strong")).textContent = unit ? `${title} (${unit})` : title;
    if (series.length > 1) {
      const keys = caption.appendChild(document.createElement("span"));
      keys.className = "keys";
      series.forEach(({ label }, place) => {
        const key = keys.appendChild(document.createElement("span"));
        key.className = `key s${place}`;
        key.textContent = label;
      });
    }
    this.svg = figure.appendChild(element("svg", { role: "img" }));
    new ResizeObserver(() => this.draw(this.points, this.faults)).observe(this.svg);
  }

  /** Draw *points*, and a mark at each time of *faults*. */
  draw(points, faults) {
    this.points = points;
    this.faults = faults;
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width) return;
    const now = points.length ? points[points.length - 1].t : 0;
    const shown = points.filter(({ t }) => now - t <= SHOWN_SECONDS);
    const values = shown.flatMap((point) => this.series.map(({ key }) => point[key] ?? 0));
    const top = roundUp(Math.max(1, ...values));
    const x = (t) => LEFT + (1 - Math.max(0, now - t) / SHOWN_SECONDS) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
    const marks = faults.filter((t) => now - t <= SHOWN_SECONDS).map((t) =>
      element("line", { class: "fault", x1: x(t), x2: x(t), y1: TOP, y2: height - BOTTOM }));
    this.svg.replaceChildren(...this.#axes(width, height, top, y), ...marks, ...this.#lines(shown, x, y));
    this.svg.setAttribute("aria-label", this.#inWords(shown, top));
  }

  #axes(width, height, top, y) {
    const marks = [0, top / 2, top].flatMap((value) => [
      element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      element("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
    ]);
    return [
      ...marks,
      element("text", { x: LEFT, y: height - 4 }, "2 min ago"),
      element("text", { x: width - RIGHT, y: height - 4, "text-anchor": "end" }, "now"),
    ];
  }

  #lines(points, x, y) {
    return this.series.map(({ key }, place) => {
      let path = "", isOpen = false;
      for (const point of points) {
        const value = point[key];
        if (value === null || value === undefined) {
          isOpen = false; // a gap: nothing is known
        } else {
          path += `${isOpen ? "L" : "M"}${x(point.t).toFixed(1)} ${y(value).toFixed(1)}`;
          isOpen = true;
        }
      }
      return element("path", { class: `s${place}`, d: path });
    }).reverse();
  }

  #inWords(points, top) {
    const last = points[points.length - 1] ?? {};
    const said = this.series.map(({ key, label }) => `${label} ${short(last[key])}`).join(", ");
    return `${this.title} ${this.unit}, two minutes, axis up to ${short(top)}; now ${said}`;
  }
}
