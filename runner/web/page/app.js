// The page: looks at the daemon every two seconds while it is seen, and shows what it says.

import { Refused, act, hasToken, keepToken, look } from "/page/api.js";
import { Day } from "/page/day.js";
import { askToken, confirmed } from "/page/dialogs.js";
import { byId, mark, say, show } from "/page/dom.js";
import { Gpus, Queues, Results } from "/page/lists.js";
import { Kept, Machine } from "/page/machine.js";
import { Running } from "/page/running.js";
import { duration, plural } from "/page/words.js";

const EVERY = 2000;
const SLOWEST = 15_000;
const READ = 15_000;
// Whose wish that nothing is claimed `resume` ends, or has looked at again.
const RESUMABLE = new Set(["the operator", "the host fuse"]);

class App {
  constructor() {
    [this.machine, this.kept, this.day] = [new Machine(), new Kept(), new Day()];
    [this.queues, this.gpus, this.results] = [new Queues(), new Gpus(), new Results()];
    this.running = new Running((run, button) => this.cancel(run, button));
    this.misses = 0;
    this.known = null;
    this.complaintUntil = 0;
    byId("suspend").addEventListener("click", (event) => this.suspend(event.currentTarget));
    byId("resume").addEventListener("click", (event) => this.resume(event.currentTarget));
    byId("drain").addEventListener("click", (event) => this.drain(event.currentTarget));
    document.addEventListener("visibilitychange", () => this.plan(0));
    this.plan(0);
  }

  plan(after) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), after);
  }

  async look() {
    if (this.isLooking) {
      this.isWanted = true;
      return;
    }
    [this.isLooking, this.isWanted] = [true, false];
    let after = EVERY;
    try {
      this.set(await look());
      this.misses = 0;
    } catch (error) {
      this.misses += 1;
      after = Math.min(SLOWEST, EVERY * 2 ** (this.misses - 1));
      if (error.status === 401) after = await this.enter();
      else this.lost(error);
    } finally {
      this.isLooking = false;
      this.plan(this.isWanted ? 0 : after);
    }
  }

  async enter() {
    const wrong = hasToken() ? "That is not the token of this daemon." : "";
    keepToken("");
    await askToken(wrong);
    return 0;
  }

  lost(error) {
    if (!(error instanceof Refused)) console.error(error);
    const why = error instanceof Refused ? error.message : "this page cannot show the answer; reload it";
    const hasEnded = error.status === 0 && this.status?.daemon.draining;
    this.state(hasEnded ? "ended" : "no answer", hasEnded ? "quiet" : "bad", "");
    const last = hasEnded ? "The daemon was draining, and has probably ended." : `No news: ${why}.`;
    this.alarm(last);
  }

  set(status) {
    this.status = status;
    const { daemon } = status;
    this.alarm(Date.now() < this.complaintUntil ? this.complaint : troubleOf(daemon));
    say(byId("host"), daemon.host);
    document.title = `${daemon.host}: ${plural(status.running.length, "experiment")}`;
    say(byId("about"), `studio-runner ${daemon.version} · up ${duration(daemon.now - daemon.started)}`);
    say(byId("foot"), `Messages are believed: ${daemon.messages}. Process ${daemon.pid}.`);
    this.stateOf(status);
    this.machine.set(daemon);
    this.running.set(status, daemon.gpus);
    this.day.set(daemon.hours);
    this.queues.set(daemon);
    this.gpus.set(daemon);
    this.kept.set(daemon);
    this.results.set(status);
    this.tell(status);
  }

  stateOf({ daemon, running }) {
    const isSuspended = daemon.suspended_by.length > 0;
    if (daemon.draining) this.state("draining", "warn", `It ends when ${plural(running.length, "experiment")} under way ${running.length === 1 ? "has" : "have"}.`);
    else if (isSuspended) this.state("suspended", "warn", daemon.waits);
    else if (daemon.waits) this.state("waiting", "warn", daemon.waits);
    else this.state("claiming", "good", "");
    const hadFocus = document.activeElement;
    const mayResume = daemon.suspended_by.some((who) => RESUMABLE.has(who));
    for (const id of ["suspend", "resume", "drain"]) byId(id).disabled = daemon.draining;
    show(byId("suspend"), !mayResume);
    show(byId("resume"), mayResume);
    if (hadFocus?.disabled) byId("running").focus({ preventScroll: true });
    else if (hadFocus?.hidden) byId(mayResume ? "resume" : "suspend").focus();
  }

  state(word, tone, why) {
    say(byId("state"), word);
    mark(byId("state"), "data-tone", tone);
    say(byId("why"), why);
  }

  alarm(text) {
    say(byId("alarm"), text);
    show(byId("alarm"), Boolean(text));
  }

  /** Say why something was not done, for long enough to be read. */
  complain(text) {
    [this.complaint, this.complaintUntil] = [text, Date.now() + READ];
    this.alarm(text);
  }

  /** Say aloud what has begun and what has ended. */
  tell(status) {
    const runs = new Map(status.running.map((run) => [run.run, run.key]));
    if (this.known) {
      const begun = [...runs].filter(([run]) => !this.known.has(run)).map(([, key]) => key);
      const ended = [...this.known].filter(([run]) => !runs.has(run)).map(([, key]) => key);
      const causes = new Map(status.recent.map((one) => [one.key, one.cause]));
      const news = begun.slice(0, 3).map((key) => `${key || "a message"} was claimed.`);
      news.push(...ended.slice(0, 3).map((key) => `${key} ended: ${causes.get(key) ?? "unknown"}.`));
      if (news.length) say(byId("news"), news.join(" "));
    }
    this.known = runs;
  }

  async cancel(run, button) {
    const text = `${run.key} is ended now, and its message does not come back. What it has made so far is stored.`;
    if (await confirmed("Cancel this experiment?", text, "Cancel it")) await this.act(button, "/cancel", { run: run.run });
  }

  async drain(button) {
    const count = this.status.running.length;
    const text = `Nothing more is claimed, and the daemon ends once ${plural(count, "experiment")} under way ${count === 1 ? "has" : "have"} ended. A service manager may start it again.`;
    if (await confirmed("Drain this daemon?", text, "Drain it")) await this.act(button, "/drain");
  }

  suspend(button) {
    return this.act(button, "/suspend");
  }

  async resume(button) {
    const { suspended_by: others = [] } = await this.act(button, "/resume");
    if (others.length) this.complain(`It is still suspended by ${others.join(" and by ")}.`);
  }

  /** Have it done once; the button is not disabled meanwhile, for that would take the focus. */
  async act(button, path, fields) {
    let answer = {};
    if (button.hasAttribute("aria-busy")) return answer;
    mark(button, "aria-busy", "true");
    try {
      answer = await act(path, fields);
      if (answer.reason) this.complain(answer.reason);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.complain(error.message);
    } finally {
      mark(button, "aria-busy", null);
      this.plan(0);
    }
    return answer;
  }
}

function troubleOf({ fuse, not_reloaded: kept }) {
  const parts = [fuse && `The host fuse has blown: ${fuse}.`];
  parts.push(kept && `Not reloaded, the options of before count: ${kept}.`);
  return parts.filter(Boolean).join(" ");
}

new App();
