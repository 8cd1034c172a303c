// The experiments under way, a card each.

import { bar, byId, keep, make, mark, say, show } from "/page/dom.js";
import { Output } from "/page/output.js";
import { bytes, cores, duration, percent, plural } from "/page/words.js";

const GONE_STAGES = new Set(["stop", "upload", "settle"]);

export class Running {
  constructor(cancel) {
    this.cancel = cancel;
    this.cards = new Map();
  }

  set(status, gpus) {
    const now = status.daemon.now;
    const runs = [...status.running].sort((a, b) => a.since - b.since);
    const known = new Map(gpus.map((gpu) => [gpu.uuid, gpu]));
    const change = (card, run) => card.set(run, now, known);
    const hadFocus = document.activeElement;
    keep(byId("runs"), this.cards, runs, (run) => run.run, (run) => this.card(run), change);
    say(byId("running-count"), runs.length || "");
    show(byId("no-runs"), !runs.length);
    if (!hadFocus?.isConnected) byId("running").focus({ preventScroll: true });
  }

  card(first) {
    const id = `run-${first.run}`;
    const title = make("h3", { id });
    const phase = make("span", { class: "badge" });
    const about = make("p", { class: "quiet about" });
    const image = make("p", { class: "quiet" });
    const figures = make("dl", { class: "figures" });
    const lines = new Map();
    const output = new Output(first.run);
    const stop = make("button", { type: "button", class: "grave" }, "Cancel");
    stop.addEventListener("click", () => this.cancel(card.run, stop));
    const acts = make("div", { class: "acts" }, output.button, stop);
    const head = make("div", { class: "head" }, title, phase);
    const element = make(
      "li",
      { class: "run", "aria-labelledby": id },
      head, about, image, figures, acts, output.element,
    );
    const card = {
      element,
      run: first,
      gone: () => output.close(),
      set(run, now, gpus) {
        card.run = run;
        say(title, run.key || "a message being read");
        say(phase, run.phase);
        mark(phase, "data-tone", tone(run));
        say(about, aboutRun(run, now));
        say(image, run.image ? `in the image ${run.image}` : "");
        show(image, Boolean(run.image));
        keep(figures, lines, figuresOf(run, now, gpus), (one) => one.name, line, (one, item) => one.set(item));
        mark(output.button, "aria-label", `Live output of ${run.key}`);
        mark(stop, "aria-label", `Cancel ${run.key}`);
        const isGone = GONE_STAGES.has(run.stage);
        if (isGone && stop === document.activeElement) output.button.focus();
        stop.disabled = isGone;
      },
    };
    return card;
  }
}

function tone(run) {
  if (run.idle_since || run.stage === "stop") return "warn";
  return run.stage === "run" ? "good" : "quiet";
}

function aboutRun(run, now) {
  const parts = [run.project && `project ${run.project}`, `queue ${run.queue}`];
  if (!run.account.startsWith("local:")) parts.push(run.account);
  if (run.attempt > 1) parts.push(`attempt ${run.attempt}`);
  parts.push(`claimed ${duration(now - run.since)} ago`);
  return parts.filter(Boolean).join(" · ");
}

/** One name, a bar and a text. */
function line(item) {
  const meter = bar(item.name);
  const value = make("span", { class: "value" });
  const element = make("div", {}, make("dt", {}, item.name), make("dd", {}, meter.element, value));
  return {
    element,
    set({ used, all, text, tone: kind }) {
      say(value, text);
      show(meter.element, used !== null && all !== null);
      meter.set(used ?? 0, all ?? 1, text, kind);
    },
  };
}

function figuresOf(run, now, gpus) {
  const found = [timeOf(run, now)];
  const { used } = run;
  // Who waits for room has none yet.
  if (!run.cores) return found;
  found.push(figure("CPU", used.cores, run.cores, cores, plural(run.cores, "core")));
  found.push(figure("Memory", used.memory, run.memory || null, bytes, bytes(run.memory)));
  found.push(figure("Disk", used.disk, run.disk || null, bytes, bytes(run.disk)));
  run.gpus.forEach((uuid, number) => found.push(cardOf(uuid, number, gpus.get(uuid))));
  return found;
}

function figure(name, used, all, words, share) {
  const of = all === null ? "none asked for" : share;
  if (used === null) return { name, used, all, text: of };
  return { name, used, all, text: `${words(used)}${all === null ? ", " : " of "}${of}` };
}

function timeOf(run, now) {
  const gone = run.started ? now - run.started : null;
  if (gone === null) return { name: "Time", used: null, all: null, text: "not started yet" };
  const of = run.limit === null ? "" : ` of ${duration(run.limit)}`;
  return { name: "Time", used: gone, all: run.limit, text: `${duration(gone)}${of}` };
}

function cardOf(uuid, number, gpu) {
  const name = `GPU ${number}`;
  if (!gpu) return { name, used: null, all: null, text: uuid };
  const memory = gpu.used === null ? "" : `, ${bytes(gpu.used)} of ${bytes(gpu.memory)}`;
  const busy = gpu.utilization === null ? "" : `, ${percent(gpu.utilization)} busy`;
  return { name, used: gpu.utilization, all: gpu.utilization === null ? null : 1, text: `${gpu.name}${busy}${memory}` };
}
