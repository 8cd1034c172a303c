// Talks to the daemon. The token lives in this tab alone.

const KEPT = "studio-runner-token";
const PATIENCE = 12_000;

/** An answer that is none: `status` as HTTP has it, 0 where nobody answered. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export function keepToken(token) {
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

export const hasToken = () => sessionStorage.getItem(KEPT) !== null;

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, {
      ...options,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
  } catch {
    throw new Refused(0, "the daemon does not answer");
  }
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).trim());
  return answer.json();
}

export const look = () => ask("/status.json?recent=100");

export const readOutput = (run, stream, from) =>
  ask(`/output.json?${new URLSearchParams({ run, stream, from: String(from) })}`);

/** Have something done: `/cancel`, `/suspend`, `/resume`, `/drain`. */
export const act = (path, fields = {}) =>
  ask(path, {
    method: "POST",
    body: JSON.stringify(fields),
    headers: { "Content-Type": "application/json", "X-Studio-Runner": "page" },
  });
