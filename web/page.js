// What all parts of the console do: ask the gateway, tell what went wrong, fill tables. Text only, never markup.
const TOKEN = 'isthmus-token';

export const NOT_YOURS = 'not for this role, or not readable';

/** For as long as the window is open. */
export function signIn(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** The answer, or what the gateway says of why there is none. */
export async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const reply = await fetch(path, { ...options, headers: { ...headers, ...options.headers }, cache: 'no-store' });
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  throw new Error(told.message ?? `${path.split('?')[0]}: ${reply.status}`);
}

export async function get(path, options = {}) {
  const reply = await ask(path, options);
  return reply.status === 204 ? [] : reply.json();
}

/** What a person asked for and did not get. */
export async function attempt(work) {
  const message = document.querySelector('#message');
  message.textContent = '';
  try {
    await work();
  } catch (error) {
    message.textContent = error.message;
  }
}

/** `about`: which of several buttons of this label it is, for whoever does not see where it stands. */
export function button(label, about, work) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = label;
  made.setAttribute('aria-label', `${label}: ${about}`);
  made.addEventListener('click', () => attempt(work));
  return made;
}

export function row(table, cells) {
  const line = document.createElement('tr');
  for (const cell of cells) {
    const place = document.createElement('td');
    if (cell instanceof Node) place.append(cell);
    else place.textContent = cell ?? '';
    line.append(place);
  }
  table.append(line);
  return line;
}

const shown = new Map();

/** The emptied table; undefined when it shows these rows already, so that whoever is at one of its buttons stays there. */
export function fill(id, rows, nothing) {
  const content = JSON.stringify([rows, nothing]);
  if (shown.get(id) === content) return undefined;
  shown.set(id, content);
  const table = document.querySelector(`#${id}`);
  const [body] = table.tBodies;
  body.replaceChildren();
  if (rows.length === 0) row(body, [nothing]).firstChild.colSpan = table.tHead.rows[0].cells.length;
  return body;
}

/** Something was decided: what the page shows has to be asked for anew. */
export function tellChange() {
  document.dispatchEvent(new Event(CHANGE));
}

export function onChange(work) {
  document.addEventListener(CHANGE, work);
}

const CHANGE = 'isthmus-change';
