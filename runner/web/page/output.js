// The live output of one run, followed while it is open and the tab is seen.

import { readOutput } from "/page/api.js";
import { make, mark, say, show } from "/page/dom.js";

const KEPT = 200_000;
const EVERY = 1000;
const SLOW = 4000;
// Colours and cursor movements of terminals, and what draws nothing.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g;

/** What a terminal would show: of a line that was written over, what is left. */
export function plain(text) {
  const lines = text.replace(ESCAPES, "").replaceAll("\r\n", "\n").split("\n");
  const last = (line) => {
    const parts = line.split("\r").filter(Boolean);
    return parts.length ? parts[parts.length - 1] : "";
  };
  return lines.map(last).join("\n").replace(UNPRINTABLE, "");
}

export class Output {
  constructor(run) {
    this.run = run;
    const id = `output-${run}`;
    this.button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": id }, "Live output");
    this.text = make("pre", { tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output" });
    this.note = make("p", { class: "quiet" });
    this.element = make("div", { id, class: "output", hidden: true }, this.text, this.note);
    this.button.addEventListener("click", () => this.toggle());
    document.addEventListener("visibilitychange", (this.seen = () => this.plan(0)));
    this.begin("");
  }

  begin(stream) {
    [this.stream, this.position, this.raw, this.isOver, this.isCut] = [stream, 0, "", false, false];
  }

  toggle() {
    const isOpen = this.element.hidden;
    show(this.element, isOpen);
    mark(this.button, "aria-expanded", isOpen ? "true" : "false");
    if (isOpen) this.plan(0);
    else clearTimeout(this.timer);
  }

  close() {
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
    this.isClosed = true;
  }

  plan(after) {
    clearTimeout(this.timer);
    if (this.isClosed || this.isOver || this.element.hidden || document.hidden) return;
    this.timer = setTimeout(() => this.follow(), after);
  }

  async follow() {
    if (this.isReading) return;
    this.isReading = true;
    let after = EVERY;
    try {
      const piece = await readOutput(this.run, this.stream, this.position);
      this.take(piece);
      if (piece.text.length > 30_000) after = 0;
    } catch (error) {
      say(this.note, error.message);
      if (error.status === 404) this.isOver = true;
      after = SLOW;
    }
    this.isReading = false;
    this.plan(after);
  }

  take(piece) {
    if (piece.stream !== this.stream) this.begin(piece.stream);
    if (piece.start > this.position) this.isCut = true;
    this.position = piece.end;
    this.isOver = piece.is_over;
    if (piece.text) this.add(piece.text);
    const first = this.isCut ? "Earlier lines are left out. " : "";
    const state = this.isOver ? "It has ended." : this.raw ? "" : "Nothing was printed so far.";
    say(this.note, first + state);
  }

  add(text) {
    this.raw += text;
    if (this.raw.length > KEPT) {
      this.raw = this.raw.slice(-KEPT);
      this.raw = this.raw.slice(this.raw.indexOf("\n") + 1);
      this.isCut = true;
    }
    const { text: box } = this;
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
    say(box, plain(this.raw));
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}
