// Numbers as people read them.

const whole = new Intl.NumberFormat('en');

/** A count: 1,234; from a hundred thousand on 123 k, 4.5 M. */
export function count(n) {
  if (n < 100_000) return whole.format(Math.round(n));
  return n < 1e6 ? `${Math.round(n / 1e3)} k` : `${three(n / 1e6)} M`;
}

/** Three digits, and no more: 0.12, 1.23, 12.3, 123. */
export function three(n) {
  if (n === 0) return '0';
  if (n >= 100) return whole.format(Math.round(n));
  return n.toFixed(n >= 10 ? 1 : 2);
}

/** Bytes: 1.50 GiB. */
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let size = n;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${whole.format(size)} B` : `${three(size)} ${units[unit]}`;
}

/** A time: 0.42 ms, 12.3 s, 4 min 5 s, 3 h 20 min, 2 d 4 h. */
export function seconds(s) {
  if (s < 1) return `${three(s * 1000)} ms`;
  if (s < 60) return `${three(s)} s`;
  const [day, hour, minute] = [86_400, 3600, 60];
  if (s < hour) return `${Math.floor(s / minute)} min ${Math.floor(s % minute)} s`;
  if (s < day) return `${Math.floor(s / hour)} h ${Math.floor((s % hour) / minute)} min`;
  return `${Math.floor(s / day)} d ${Math.floor((s % day) / hour)} h`;
}

/** A share between 0 and 1: 12.3%. */
export function percent(share) {
  const p = share * 100;
  return p === 0 || p >= 99.95 ? `${Math.round(p)}%` : `${p.toFixed(p < 10 ? 1 : 0)}%`;
}

/** "1 block", "2 blocks". */
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;
