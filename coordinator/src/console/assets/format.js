// Numbers, times and ids as people read them.

const NUMBER = new Intl.NumberFormat('en');
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'm'],
  [1000, 's'],
];

export const number = (n) => NUMBER.format(n);

/** `1 step`, `2,000 steps`. */
export function count(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

/** `2h 5m`, `3.2s`, `40ms`. */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)}s`;
  const at = UNITS.findIndex(([unit]) => ms >= unit);
  const [unit, name] = UNITS[at];
  const below = UNITS[at + 1];
  const rest = below ? Math.floor((ms % unit) / below[0]) : 0;
  return `${Math.floor(ms / unit)}${name}${rest ? ` ${rest}${below[1]}` : ''}`;
}

/** Time between two times, or until now. */
export function between(from, to) {
  return duration((to ? Date.parse(to) : Date.now()) - Date.parse(from));
}

/** `3m ago`, `in 2h`. */
export function relative(time) {
  const ms = Date.parse(time) - Date.now();
  if (Math.abs(ms) < 1500) return 'now';
  const unit = UNITS.find(([size]) => Math.abs(ms) >= size) ?? UNITS.at(-1);
  const text = `${Math.floor(Math.abs(ms) / unit[0])}${unit[1]}`;
  return ms < 0 ? `${text} ago` : `in ${text}`;
}

export const absolute = (time) => WHOLE.format(new Date(time));

/** Ids begin with their time; their ends tell them apart. The API takes either end. */
export const shortId = (id) => `…${id.slice(-8)}`;

/** `1.2 MB`. */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  return n < 1_000_000 ? `${(n / 1000).toFixed(1)} kB` : `${(n / 1_000_000).toFixed(1)} MB`;
}
