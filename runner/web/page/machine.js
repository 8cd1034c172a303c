// What the machine has and has given, and what is kept of artifacts and environments.

import { bar, byId, make, say, show } from "/page/dom.js";
import { bytes, plural } from "/page/words.js";

function tile(place, title) {
  const value = make("p", { class: "value" });
  const more = make("p", { class: "quiet" });
  const line = bar(title);
  const element = make("div", { class: "tile" }, make("h3", {}, title), value, line.element, more);
  place.append(element);
  return {
    set(used, all, text, further = "") {
      say(value, text);
      say(more, further);
      line.set(used, all, text);
    },
    show: (isShown) => show(element, isShown),
  };
}

export class Machine {
  constructor() {
    const place = byId("machine");
    this.tiles = ["Cores", "Memory", "Disk", "GPUs"].map((title) => tile(place, title));
  }

  set({ capacity, free, gpus }) {
    const [cores, memory, disk, cards] = this.tiles;
    const given = capacity.cores - free.cores;
    cores.set(given, capacity.cores, `${given} of ${capacity.cores}`);
    for (const [one, name] of [[memory, "memory"], [disk, "disk"]]) {
      const used = capacity[name] - free[name];
      one.set(used, capacity[name], `${bytes(used)} of ${bytes(capacity[name])}`);
    }
    const held = gpus.filter((gpu) => gpu.held_by.length).length;
    cards.show(gpus.length > 0);
    const withheld = gpus.filter((gpu) => gpu.withheld).length;
    cards.set(held, gpus.length, `${held} of ${gpus.length}`, withheld ? `${withheld} not given out` : "");
  }
}

export class Kept {
  constructor() {
    const place = byId("kept");
    this.cache = tile(place, "Artifacts");
    this.environments = tile(place, "Environments");
  }

  set({ cache, environments }) {
    this.cache.show(Boolean(cache));
    if (cache) {
      const saved = `${plural(cache.hits, "hit")}, ${plural(cache.misses, "miss", "misses")}`;
      const sent = cache.saved_bytes ? `, ${bytes(cache.saved_bytes)} not fetched again` : "";
      this.cache.set(cache.used, cache.limit, fill(cache), saved + sent);
    }
    this.environments.show(Boolean(environments));
    if (environments) {
      const { count, built, reused } = environments;
      const many = count === null ? "" : `${plural(count, "environment")}; `;
      const text = `${many}since the start ${built} built, ${reused} used again`;
      this.environments.set(environments.used, environments.limit, fill(environments), text);
    }
  }
}

const fill = ({ used, limit }) => `${bytes(used)} of ${bytes(limit)}`;
