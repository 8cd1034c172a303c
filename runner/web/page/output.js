// The live output of one run, followed while it is open and the tab is seen.

import { Refused, readOutput } from "/page/api.js";
import { make, mark, say, show } from "/page/dom.js";

const KEPT = 200_000;
const EVERY = 1000;
const SLOW = 4000;
// As many as the daemon keeps at hand; the one opened first makes room.
const MOST = 8;
const OPEN = new Set();
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
    this.isDue = true;
  }

  toggle() {
    const isOpen = this.element.hidden;
    show(this.element, isOpen);
    mark(this.button, "aria-expanded", isOpen ? "true" : "false");
    clearTimeout(this.timer);
    OPEN.delete(this);
    if (!isOpen) return;
    OPEN.add(this);
    if (OPEN.size > MOST) [...OPEN][0].toggle();
    this.plan(0);
  }

  close() {
    clearTimeout(this.timer);
    OPEN.delete(this);
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
      const goesOn = piece.stream === this.stream;
      this.take(piece);
      if (goesOn && piece.text.length > 30_000) after = 0;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say(this.note, error.message);
      after = SLOW;
    } finally {
      this.isReading = false;
      this.plan(after);
    }
  }

  take(piece) {
    if (piece.stream !== this.stream) this.begin(piece.stream);
    if (piece.start > this.position) this.isCut = true;
    this.position = piece.end;
    if (piece.text) this.add(piece.text);
    const isHeld = this.isMarked();
    if (this.isDue && !isHeld) this.draw();
    this.isOver = piece.is_over && !isHeld;
    const words = [this.isCut && "Earlier lines are left out.", this.isOver && "It has ended."];
    words.push(!this.isOver && !this.raw && "Nothing was printed so far.");
    words.push(isHeld && "It waits while text of it is selected.");
    say(this.note, words.filter(Boolean).join(" "));
  }

  /** Somebody is about to copy from it: what is written anew cannot be selected. */
  isMarked() {
    const marked = document.getSelection();
    return !marked.isCollapsed && this.text.contains(marked.anchorNode);
  }

  add(text) {
    this.isDue = true;
    this.raw += text;
    if (this.raw.length > KEPT) {
      this.raw = this.raw.slice(-KEPT);
      this.raw = this.raw.slice(this.raw.indexOf("\n") + 1);
      this.isCut = true;
    }
  }

  draw() {
    this.isDue = false;
    const { text: box } = this;
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
    say(box, plain(this.raw));
    if (atEnd) box.scrollTop = box.scrollHeight;
  }
}
