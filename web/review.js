// Quarantine as a person reviews it, and verification reports. What is shown of a sealed object leaves the page when its dialog closes.
import { ask, attempt, button, fill, get, NOT_YOURS, row, tellChange } from './page.js';
import { fromTheStart, stretch } from './pages.js';

const group = document.querySelector('#group');
const review = document.querySelector('#review');
const form = review.querySelector('form');
const picture = document.querySelector('#review-picture');
const outcome = document.querySelector('#review-outcome');
const attributes = document.querySelector('#review-attributes');
let reviewed;
let changes = [];

function groupAsked() {
  const { value } = group.elements.group;
  return value === '' ? undefined : JSON.parse(value);
}

export function heldQuery() {
  const { reason, sentence } = groupAsked() ?? {};
  const group = reason === undefined ? '' : `&${new URLSearchParams({ reason, sentence })}`;
  return `${stretch('held')}${group}`;
}

/** Choices stay as they are while somebody has one of them open. */
function choose(select, choices) {
  const content = JSON.stringify(choices);
  if (select.dataset.shown === content) return;
  select.dataset.shown = content;
  const { value } = select;
  select.replaceChildren(...choices.map(([text, key]) => new Option(text, key)));
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

export function showChoices(status) {
  if (status === undefined) return;
  // What the rules say first stands first.
  const usual = status.admission.map(({ profile }) => profile);
  const profiles = [...new Set([...usual, ...status.profiles])].map((name) => [name, name]);
  for (const select of document.querySelectorAll('select[name=profile]')) choose(select, profiles);
  const projects = [...new Set(status.admission.map(({ project }) => project))];
  document.querySelector('#projects').replaceChildren(...projects.map((name) => new Option(name, name)));
  for (const input of document.querySelectorAll('input[name=project]'))
    if (input.defaultValue === '') input.defaultValue = projects[0] ?? '';
}

export function showGroups(groups) {
  const choices = (groups ?? []).map(({ reason, sentence, objects }) => [
    `${sentence} (${objects})`,
    JSON.stringify({ reason, sentence }),
  ]);
  choose(group.elements.group, [['anything', ''], ...choices]);
  group.querySelector('.decide').hidden = groupAsked() === undefined;
}

export function showHeld(held) {
  const rows = fill('held', held ?? [], held === undefined ? NOT_YOURS : 'nothing is sealed');
  if (rows === undefined) return;
  for (const one of held ?? []) {
    const about = `what ${one.callingAE} sent ${new Date(one.heldAt).toLocaleString()}`;
    const look = button('Review', about, () => openReview(one));
    row(rows, [
      new Date(one.heldAt).toLocaleString(),
      `${one.callingAE} (${one.door})`,
      one.reason,
      one.sentence,
      `${(one.bytes / 1024).toFixed(0)} KB`,
      one.arrivals,
      look,
    ]);
  }
}

group.elements.group.addEventListener('change', () => {
  fromTheStart('held');
  tellChange();
});

group.addEventListener('submit', (event) => {
  event.preventDefault();
  const { reason, sentence } = groupAsked() ?? {};
  if (reason === undefined) return;
  const verb = event.submitter.value;
  if (verb === 'discard' && !confirm('Discard all of these for good?')) return;
  attempt(async () => {
    const { project, profile } = group.elements;
    const treatment = verb === 'release' ? { project: project.value, profile: profile.value } : {};
    const { done, refused, left } = await post(`/api/quarantine/${verb}`, { reason, sentence, ...treatment });
    tellChange();
    const [first] = refused;
    const why = first === undefined ? '' : `; ${refused.length} stay: ${first.found}`;
    document.querySelector('#message').textContent =
      `${done} ${verb === 'release' ? 'released' : 'discarded'}${why}${left > 0 ? `; ${left} more to go` : ''}`;
  });
});

function post(path, body) {
  return get(path, { method: 'POST', body: JSON.stringify(body) });
}

function openReview(one) {
  reviewed = one;
  form.reset();
  clear();
  document.querySelector('#review-facts').textContent =
    `From ${one.callingAE} (${one.door}), ${new Date(one.heldAt).toLocaleString()}: ${one.reason}, ${one.sentence}`;
  review.showModal();
}

function clear() {
  outcome.textContent = '';
  outcome.className = '';
  picture.removeAttribute('src');
  picture.hidden = true;
  attributes.hidden = true;
  changes = [];
  showChanges();
}

function showChanges() {
  const only = form.elements.changed.checked;
  const wanted = changes.filter(({ action }) => !only || action !== 'kept');
  const rows = fill('changes', wanted, '');
  for (const { path, keyword, before, after, action, rule } of rows === undefined ? [] : wanted)
    row(rows, [path, keyword, before, after, action, rule]).children[4].className = `action-${action}`;
}

function grounds() {
  const { reason, reference } = form.elements;
  return { reason: reason.value, reference: reference.value.trim() };
}

function treatment() {
  const { project, profile, overrides } = form.elements;
  const text = overrides.value.trim();
  return {
    project: project.value,
    profile: profile.value,
    ...(text === '' ? {} : { overrides: JSON.parse(text) }),
  };
}

const ENDS = {
  view: async () => {
    const view = await post(`/api/quarantine/${reviewed.id}/view`, { ...grounds(), ...treatment() });
    const { release, found } = view.would;
    outcome.className = release ? 'released' : 'refused';
    outcome.textContent = release ? 'It would be released as shown.' : `It would stay sealed: ${found}`;
    form.elements.frame.max = view.frames ?? 1;
    changes = view.attributes;
    attributes.hidden = changes.length === 0;
    showChanges();
  },
  preview: async () => {
    const frame = Number(form.elements.frame.value);
    const reply = await ask(`/api/quarantine/${reviewed.id}/preview`, {
      method: 'POST',
      body: JSON.stringify({ ...grounds(), frame }),
    });
    picture.src = await dataUrl(await reply.blob());
    picture.alt = `Frame ${frame} of the sealed object`;
    picture.hidden = false;
  },
  release: async () => {
    await post(`/api/quarantine/${reviewed.id}/release`, treatment());
    review.close();
    tellChange();
  },
  discard: async () => {
    if (!confirm('Discard this object for good?')) return;
    await get(`/api/quarantine/${reviewed.id}`, { method: 'DELETE' });
    review.close();
    tellChange();
  },
  close: () => review.close(),
};

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    await ENDS[event.submitter.value]();
  } catch (error) {
    outcome.className = 'refused';
    outcome.textContent = error.message;
  }
});

form.elements.changed.addEventListener('change', showChanges);
review.addEventListener('close', () => {
  clear();
  form.reset();
});

/** A picture that is nowhere but in this page. */
function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error('the picture could not be read'));
    reader.readAsDataURL(blob);
  });
}

/** `kind`: verification, or pairs (why rules did what they did). */
export async function showReport(study, kind) {
  const reply = await ask(`/api/studies/${study}/${kind}?format=text`);
  const dialog = document.querySelector('#report');
  dialog.querySelector('h2').textContent = kind === 'pairs' ? 'What the rules say of this study' : 'Verification';
  dialog.querySelector('pre').textContent = await reply.text();
  dialog.showModal();
}
