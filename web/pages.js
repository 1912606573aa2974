// Long lists, a page at a time: which rows are asked for, and the way to the others.
import { ask, tellChange } from './page.js';

const ROWS = 100;

/** Where each list stands: the first row that is shown, counted from 0. */
const starts = new Map();

/** As parameters of a question. */
export function stretch(id) {
  return `limit=${ROWS}&offset=${starts.get(id) ?? 0}`;
}

export function fromTheStart(id) {
  starts.delete(id);
}

/** Rows and how many there are in all, which searches of DICOMweb tell by what is left. */
export async function askPage(id, path) {
  const start = starts.get(id) ?? 0;
  const reply = await ask(path);
  const rows = reply.status === 204 ? [] : await reply.json();
  const left = /There are (\d+) additional/.exec(reply.headers.get('Warning') ?? '')?.[1] ?? 0;
  const total = reply.headers.get('X-Total-Count') ?? start + rows.length + Number(left);
  return { rows, total: Number(total), start };
}

const NOTHING = { rows: [], total: 0, start: 0 };

/** `change`: what shows the page that is turned to. */
export function showPager(id, page, change = tellChange) {
  const place = document.querySelector(`#${id}-pages`);
  const { rows, total, start } = page ?? NOTHING;
  // What was on this page has gone meanwhile.
  if (rows.length === 0 && start > 0) {
    starts.set(id, Math.max(0, Math.floor((total - 1) / ROWS) * ROWS));
    change();
    return;
  }
  place.hidden = total <= ROWS && start === 0;
  if (place.hidden) return;
  if (place.childElementCount === 0)
    place.append(turn('Previous', -ROWS), document.createElement('span'), turn('Next', ROWS));
  const [previous, told, next] = place.children;
  const text = `${start + 1} to ${start + rows.length} of ${total}`;
  if (told.textContent !== text) told.textContent = text;
  previous.disabled = start === 0;
  next.disabled = start + rows.length >= total;

  function turn(label, by) {
    const made = document.createElement('button');
    made.type = 'button';
    made.textContent = label;
    made.setAttribute('aria-label', `${label} page of ${place.dataset.what}`);
    made.addEventListener('click', () => {
      starts.set(id, Math.max(0, (starts.get(id) ?? 0) + by));
      change();
    });
    return made;
  }
}
