// Numbers as people read them.

// Between a number and its unit: no line ends there.
const S = "\u00a0";
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  let [value, unit] = [count, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${Number(value.toFixed(digits))}${S}${UNITS[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}${S}s`;
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const minutes = Math.floor(whole / 60) % 60;
  if (days) return hours ? `${days}${S}d ${hours}${S}h` : `${days}${S}d`;
  if (hours) return minutes ? `${hours}${S}h ${minutes}${S}min` : `${hours}${S}h`;
  const rest = whole % 60;
  return whole < 600 && rest ? `${minutes}${S}min ${rest}${S}s` : `${minutes}${S}min`;
}

export const percent = (share) =>
  share === null || share === undefined ? "unknown" : `${Math.round(share * 100)}${S}%`;

export const cores = (count) =>
  count === null || count === undefined ? "unknown" : String(Number(count.toFixed(count < 1 ? 2 : count < 10 ? 1 : 0)));

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** The time of an ending: the hour of today, else the day too. */
export function moment(seconds, now) {
  const then = new Date(seconds * 1000);
  const isToday = then.toDateString() === new Date(now * 1000).toDateString();
  const day = isToday ? "" : `${then.toLocaleDateString([], { month: "short", day: "numeric" })}, `;
  return day + clock(seconds);
}

export const exact = (seconds) => new Date(seconds * 1000).toISOString();
