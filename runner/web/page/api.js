// Talks to the daemon. The token lives in this tab alone.

const KEPT = "studio-runner-token";
// Of what is told; another one wants another page.
const VERSION = 1;
const PATIENCE = 12_000;

/** An answer that is none: `status` as HTTP has it, 0 where nobody answered. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let token = stored((storage) => storage.getItem(KEPT)) ?? "";

/** Use the tab's storage; where a browser keeps none, the token lives as long as the page. */
function stored(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null;
  }
}

export function keepToken(given) {
  token = given;
  stored((storage) => (given ? storage.setItem(KEPT, given) : storage.removeItem(KEPT)));
}

export const hasToken = () => token !== "";

// A header holds bytes, each written as a character.
const written = (text) => String.fromCharCode(...new TextEncoder().encode(text));

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${written(token)}`;
  let [answer, text] = [null, ""];
  try {
    answer = await fetch(path, {
      ...options,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
    text = await answer.text();
  } catch {
    throw new Refused(0, "the daemon does not answer");
  }
  if (!answer.ok) throw new Refused(answer.status, text.trim());
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(0, "what came is no answer of the daemon");
  }
}

export async function look() {
  const status = await ask("/status.json?recent=100");
  if (status.version === VERSION) return status;
  throw new Refused(0, "the daemon is of another version than this page; reload it");
}

export const readOutput = (run, stream, from) =>
  ask(`/output.json?${new URLSearchParams({ run, stream, from: String(from) })}`);

/** Have something done: `/cancel`, `/suspend`, `/resume`, `/drain`. */
export const act = (path, fields = {}) =>
  ask(path, {
    method: "POST",
    body: JSON.stringify(fields),
    headers: { "Content-Type": "application/json", "X-Studio-Runner": "page" },
  });
