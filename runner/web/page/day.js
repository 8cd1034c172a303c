// The chart of the day: what ended in each hour, as a drawing and as a table.

import { byId, draw, make, say } from "/page/dom.js";
import { Table } from "/page/tables.js";
import { clock, plural } from "/page/words.js";

const [WIDTH, HEIGHT, BASE, LEFT, TOP] = [720, 150, 124, 30, 10];
const KINDS = [["completed", "completed"], ["failed", "failed"], ["other", "stopped or given back"]];

export class Day {
  constructor() {
    this.place = byId("day");
    this.summary = make("p", { class: "summary" });
    this.drawing = make("div", { class: "drawing" });
    const legend = make("ul", { class: "legend", "aria-hidden": "true" });
    for (const [kind, words] of KINDS) legend.append(make("li", { class: kind }, words));
    const inner = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What ended, by hour" });
    const details = make("details", {}, make("summary", {}, "As a table"), inner);
    this.table = new Table(inner, "What ended, by hour", columns(), (hour) => hour.start);
    this.place.append(this.summary, this.drawing, legend, details);
  }

  set(hours) {
    const drawn = JSON.stringify(hours);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const sum = (kind) => hours.reduce((all, hour) => all + hour[kind], 0);
    const text = KINDS.map(([kind, words]) => `${sum(kind)} ${words}`).join(", ");
    say(this.summary, `${text}.`);
    this.drawing.replaceChildren(drawingOf(hours, text));
    this.table.set(hours.filter(total).reverse());
  }
}

const total = (hour) => hour.completed + hour.failed + hour.other;

const columns = () => [
  { title: "Hour", text: (hour) => clock(hour.start), head: true },
  { title: "Completed", text: (hour) => hour.completed, class: "number" },
  { title: "Failed", text: (hour) => hour.failed, class: "number" },
  { title: "Stopped or given back", text: (hour) => hour.other, class: "number" },
];

/** A round number that no hour exceeds. */
function ceiling(hours) {
  const most = Math.max(...hours.map(total), 1);
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 5, 10].map((one) => one * step).find((one) => one >= most);
}

function drawingOf(hours, text) {
  const top = ceiling(hours);
  const chart = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Chart of the last 24 hours: ${text}` });
  for (const value of top === 1 ? [0, 1] : [0, top / 2, top]) {
    const y = BASE - ((BASE - TOP) * value) / top;
    chart.append(
      draw("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y, y2: y }),
      draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, String(value)),
    );
  }
  const width = (WIDTH - LEFT) / hours.length;
  hours.forEach((hour, number) => chart.append(...columnOf(hour, number, width, top)));
  return chart;
}

function columnOf(hour, number, width, top) {
  const x = LEFT + number * width;
  const parts = [];
  let y = BASE;
  for (const [kind] of KINDS) {
    const height = ((BASE - TOP) * hour[kind]) / top;
    y -= height;
    if (height) parts.push(draw("rect", { class: kind, x: x + 2, y, width: width - 4, height, rx: 1.5 }));
  }
  const said = `${clock(hour.start)}: ${plural(total(hour), "ending")}`;
  const group = draw("g", {}, draw("title", {}, said), draw("rect", { class: "space", x, y: TOP, width, height: BASE - TOP }), ...parts);
  const isLabelled = number % 4 === 3;
  return isLabelled
    ? [group, draw("text", { x: x + width, y: BASE + 20, "text-anchor": "end" }, clock(hour.start))]
    : [group];
}
