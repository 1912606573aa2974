/** Dates, times and date-times as they are matched (PS3.4 C.2.2.2.5, PS3.5 6.2): what a value of less precision covers, and time zones. */

/** The first and the last moment that a time of this precision can mean (PS3.5 6.2); undefined for what is no time. */
export function timeBounds(text: string): [string, string] | undefined {
  const parts = /^(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?$/.exec(text.trim());
  if (parts === null) return undefined;
  const [, hours = '', minutes, seconds, fraction] = parts;
  if (hours > '23' || (minutes ?? '00') > '59' || (seconds ?? '00') > '60') return undefined;
  const first = `${hours}${minutes ?? '00'}${seconds ?? '00'}.${(fraction ?? '').padEnd(6, '0')}`;
  const last = `${hours}${minutes ?? '59'}${seconds ?? '59'}.${(fraction ?? '').padEnd(6, '9')}`;
  return [first, last];
}

export function isDay(text: string): boolean {
  if (!/^\d{8}$/.test(text)) return false;
  const [year, month, day] = [Number(text.slice(0, 4)), Number(text.slice(4, 6)), Number(text.slice(6))];
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

/** `YYYYMMDD` so many days later, or earlier. */
export function dayAfter(day: string, days: number): string {
  const date = new Date(Date.UTC(2000, 0, 1));
  date.setUTCFullYear(Number(day.slice(0, 4)), Number(day.slice(4, 6)) - 1, Number(day.slice(6)) + days);
  return dayOf(date);
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 10).replaceAll('-', '');
}

/**
 * `YYYYMMDDHHMMSS.FFFFFF`, first and last moment of a DT of any precision; with an offset it is brought to UTC, without one it stays
 * as it is written. Undefined for what is no DT.
 */
export function dateTimeBounds(text: string): [string, string] | undefined {
  const parts = /^(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?$/.exec(text.trim());
  if (parts === null) return undefined;
  const [, year = '', month, day, time, offset] = parts;
  if (time !== undefined && day === undefined) return undefined;
  const firstDay = `${year}${month ?? '01'}${day ?? '01'}`;
  if (!isDay(firstDay)) return undefined;
  const lastDay = day === undefined ? lastDayOf(year, month ?? '12') : firstDay;
  const [first, last] = time === undefined ? ['000000.000000', '235959.999999'] : (timeBounds(time) ?? []);
  if (first === undefined || last === undefined) return undefined;
  const minutes = offset === undefined ? 0 : offsetMinutes(offset);
  if (minutes === undefined) return undefined;
  return [shifted(firstDay, first, -minutes), shifted(lastDay, last, -minutes)];
}

function lastDayOf(year: string, month: string): string {
  const date = new Date(Date.UTC(2000, 0, 1));
  date.setUTCFullYear(Number(year), Number(month), 0);
  return dayOf(date);
}

function shifted(day: string, time: string, minutes: number): string {
  if (minutes === 0) return day + time;
  const total = Number(time.slice(0, 2)) * 60 + Number(time.slice(2, 4)) + minutes;
  const days = Math.floor(total / 1440);
  const inDay = total - days * 1440;
  const two = (number: number): string => String(number).padStart(2, '0');
  return `${dayAfter(day, days)}${two(Math.floor(inDay / 60))}${two(inDay % 60)}${time.slice(4)}`;
}

/** `+0100` as minutes; a plus that a query string turned into a blank is one (PS3.3 C.12.1.1.8). Undefined for what is no offset. */
export function offsetMinutes(text: string): number | undefined {
  const parts = /^([ +-])(\d{2})(\d{2})$/.exec(text);
  if (parts === null) return undefined;
  const [, sign, hours, minutes] = parts;
  const total = Number(hours) * 60 + Number(minutes);
  if (Number(minutes) > 59 || total > (sign === '-' ? 12 * 60 : 14 * 60)) return undefined;
  return sign === '-' ? -total : total;
}

/** Date and time columns as they read at another place: SQL expressions, and how far the day can move. */
export function shiftedColumns(date: string, time: string, minutes: number): { date: string; time: string } {
  if (minutes === 0) return { date, time };
  const part = (column: string, at: number, length: number): string => `substr(${column}, ${at}, ${length})`;
  const iso =
    `${part(date, 1, 4)} || '-' || ${part(date, 5, 2)} || '-' || ${part(date, 7, 2)} || ' ' || ` +
    `${part(time, 1, 2)} || ':' || ${part(time, 3, 2)} || ':' || ${part(time, 5, 2)}`;
  const by = `'${minutes > 0 ? '+' : ''}${minutes} minutes'`;
  // Without a time (or a date) there is nothing to move.
  return {
    date: `coalesce(strftime('%Y%m%d', ${iso}, ${by}), ${date})`,
    time: `coalesce(strftime('%H%M%S', ${iso}, ${by}) || ${part(time, 7, 7)}, ${time})`,
  };
}
