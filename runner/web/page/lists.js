// The tables of the page: queues, what is left alone, GPUs, results.

import { byId, keep, make, mark, say, show } from "/page/dom.js";
import { Table } from "/page/tables.js";
import { bytes, duration, exact, moment, percent, plural } from "/page/words.js";

const SETTLED = { acked: "", released: "given back", buried: "buried" };

export class Queues {
  constructor() {
    this.table = new Table(byId("queues"), "Queues that experiments are claimed from", [
      { title: "Queue", text: (one) => one.name, more: (one) => placeOf(one), head: true },
      { title: "Waiting", text: (one) => one.waiting ?? "unknown", class: "number" },
      { title: "Running", text: (one) => one.running, class: "number" },
      {
        title: "Claiming",
        text: (one) => (one.claimed ? "yes" : one.why),
        tone: (one) => (one.claimed ? "good" : "warn"),
      },
    ], (one) => `${one.broker} ${one.account} ${one.name}`);
    this.left = new Table(byId("passed-over"), "Queues that are left alone", [
      { title: "Queue", text: (one) => one.name, head: true },
      { title: "Broker", text: (one) => one.broker },
      { title: "Why", text: (one) => one.why },
    ], (one) => `${one.broker} ${one.name}`);
    this.sources = new Map();
  }

  set({ queues, passed_over: left, sources }) {
    show(this.table.element, queues.length > 0);
    this.table.set(queues);
    show(byId("passed"), left.length > 0);
    say(byId("passed-count"), `${plural(left.length, "queue")} left alone`);
    this.left.set(left);
    const troubled = sources.filter((one) => one.state !== "open" || one.trouble);
    const rows = queues.length || troubled.length ? troubled : [null];
    keep(byId("sources"), this.sources, rows, (one) => one?.origin ?? "", paragraph, (made, one) => {
      say(made.element, one ? sourceOf(one) : "No queue is taken from: no credential or directory gives one.");
      mark(made.element, "class", one?.trouble ? "trouble" : "empty");
    });
  }
}

const paragraph = () => ({ element: make("p") });
const placeOf = (one) => [one.broker, one.account].filter(Boolean).join(", ");
const sourceOf = (one) => `${one.broker} of ${one.origin}: ${one.state}${one.trouble ? `: ${one.trouble}` : ""}`;

export class Gpus {
  constructor() {
    this.table = new Table(byId("gpus"), "GPUs of this machine and who has them", [
      { title: "GPU", text: (one) => one.name, more: (one) => one.uuid, head: true },
      { title: "Busy", text: (one) => percent(one.utilization), class: "number" },
      { title: "Memory", text: (one) => (one.used === null ? bytes(one.memory) : `${bytes(one.used)} of ${bytes(one.memory)}`), class: "number" },
      { title: "Heat", text: (one) => (one.temperature === null ? "unknown" : `${Math.round(one.temperature)}\u00a0°C`), more: (one) => (one.power === null ? "" : `${Math.round(one.power)}\u00a0W`), class: "number" },
      { title: "Held by", text: heldBy, more: aboutGpu, tone: (one) => (one.withheld ? "warn" : null) },
    ], (one) => one.uuid);
  }

  set({ gpus, why_no_gpus: why }) {
    show(byId("gpus"), gpus.length > 0);
    show(byId("no-gpus"), !gpus.length);
    say(byId("no-gpus"), why || "There are none.");
    this.table.set(gpus);
  }
}

function heldBy(gpu) {
  const holders = gpu.held_by.map((one) => one.key || "a message being read");
  if (holders.length) return holders.join(", ");
  if (gpu.withheld) return "not given out";
  return gpu.free_slots ? "free" : "taken";
}

function aboutGpu(gpu) {
  const isShared = gpu.held_by.length > 0 && gpu.free_slots > 0;
  return gpu.withheld || (isShared ? `${gpu.free_slots} of ${gpu.slots} slots are free` : "");
}

export class Results {
  constructor() {
    this.now = 0;
    this.table = new Table(byId("results"), "The last hundred results, latest first", [
      { title: "Ended", text: (one) => moment(one.ended, this.now), title_of: (one) => exact(one.ended), class: "when" },
      { title: "Experiment", text: (one) => one.key, more: (one) => [one.project, one.queue].filter(Boolean).join(" · "), head: true },
      { title: "Cause", text: (one) => one.cause, more: settled, tone: toneOf },
      { title: "Took", text: (one) => duration(one.seconds), more: (one) => (one.attempt > 1 ? `attempt ${one.attempt}` : ""), class: "number" },
      { title: "Detail", text: detail, more: (one) => (toneOf(one) === "good" ? "" : one.advice), class: "wide" },
    ], (one) => `${one.key} ${one.attempt} ${one.ended}`);
    for (const id of ["find", "failed"]) byId(id).addEventListener("input", () => this.filter());
  }

  set(status) {
    this.now = status.daemon.now;
    this.all = [...status.recent].reverse();
    this.filter();
  }

  filter() {
    const [words, isFailed] = [byId("find").value.trim().toLowerCase(), byId("failed").checked];
    const has = (one) => `${one.key} ${one.project} ${one.queue} ${one.cause} ${one.detail}`.toLowerCase().includes(words);
    const all = this.all ?? [];
    const found = all.filter((one) => has(one) && !(isFailed && toneOf(one) !== "bad"));
    this.table.set(found);
    show(byId("results"), found.length > 0);
    show(byId("no-results"), !found.length);
    say(byId("no-results"), all.length ? "No result is like that." : "Nothing has ended here yet.");
  }
}

const toneOf = (one) =>
  one.cause === "completed" ? "good" : one.settled === "released" || one.cause === "cancelled" ? "warn" : "bad";
const settled = (one) => SETTLED[one.settled] ?? one.settled;
const detail = (one) => one.detail || (one.exit_code ? `exit code ${one.exit_code}` : "");
