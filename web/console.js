// The console's first page: what waits, what failed, what is sealed, what is there. Reads /api and /dicom-web; text only, never markup.
import { showIntake } from './intake.js';
import { attempt, button, fill, get, NOT_YOURS, onChange, row, signIn, tellChange } from './page.js';
import { askPage, fromTheStart, showPager, stretch } from './pages.js';
import { heldQuery, showChoices, showGroups, showHeld, showReport } from './review.js';

const form = document.querySelector('#access');
const summary = document.querySelector('#summary');

form.addEventListener('submit', (event) => {
  event.preventDefault();
  signIn(new FormData(form).get('token').trim());
  attempt(async () => {
    await refresh();
    if (!form.hidden) throw new Error('Nobody here has this token.');
  });
});

const whichWork = document.querySelector('#which-work');

whichWork.addEventListener('change', () => {
  fromTheStart('work');
  tellChange();
});

function workAsked() {
  const { value } = whichWork.elements.state;
  return value === '' ? stretch('work') : `${stretch('work')}&state=${encodeURIComponent(value)}`;
}

function retryButton(item) {
  if (!item.worthRetrying) return '';
  return button('Try again', `${item.kind} of study ${item.studyInstanceUID}`, async () => {
    await get(`/api/work-items/${item.uid}/retry`, { method: 'POST' });
    await refresh();
  });
}

/** A refused run ends canceled: what it says stands as its error. */
const VERDICTS = { pass: 'quality gates passed', warn: 'warned, the reasons stand in its report' };

function describeResult(item) {
  if (item.lastError && item.nextAttemptAt > Date.now())
    return `${item.lastError}; again at ${new Date(item.nextAttemptAt).toLocaleTimeString()}`;
  if (item.lastError) return item.lastError;
  const figures = Object.entries(item.result?.quality ?? {})
    .filter(([, value]) => typeof value === 'number')
    .slice(0, 4)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
  if (item.kind === 'derive') return [VERDICTS[item.result?.verdict], figures.join(', ')].filter(Boolean).join(': ');
  if (item.kind === 'fetch') return item.result?.found ?? 'the node is being asked';
  return item.result?.node ? `${item.result.objects} objects, proof: ${item.result.proof}` : figures.join(', ');
}

const first = (study, key) => study[key]?.Value?.map((value) => value?.Alphabetic ?? value).join(', ') ?? '';

/** As a viewer sees them. */
async function searchStudies() {
  const found = await readPage(
    'studies',
    `/dicom-web/studies?${stretch('studies')}&includefield=00080061,00201206,00201208`,
  );
  const rows = found?.rows.map((study) => ({
    patientID: first(study, '00100020'),
    studyDate: first(study, '00080020'),
    modalities: [first(study, '00080061')],
    seriesCount: first(study, '00201206'),
    instanceCount: first(study, '00201208'),
    studyInstanceUID: first(study, '0020000D'),
    isViewers: true,
  }));
  return found === undefined ? undefined : { rows, total: found.total };
}

/** Undefined where the caller's role may not look: the other tables are shown all the same. */
function read(path) {
  return get(path).catch(() => undefined);
}

function readPage(id, path) {
  return askPage(id, path).catch(() => undefined);
}

let looks = 0;

async function refresh() {
  const look = ++looks;
  const [status, work, groups, held, studies] = await Promise.all([
    read('/api/status'),
    readPage('work', `/api/work-items?${workAsked()}`),
    read('/api/quarantine/groups'),
    readPage('held', `/api/quarantine?${heldQuery()}`),
    readPage('studies', `/api/studies?${stretch('studies')}`).then((found) => found ?? searchStudies()),
  ]);
  // Another look has begun since, at other pages perhaps.
  if (look !== looks) return;
  form.hidden = [status, work, held, studies].some((answer) => answer !== undefined);
  document.querySelector('#open-audit').hidden = !form.hidden;
  showSummary(status);
  showWork(work?.rows);
  showChoices(status);
  showGroups(groups);
  showHeld(held?.rows);
  showStudies(studies?.rows);
  for (const [id, page] of Object.entries({ work, held, studies })) showPager(id, page);
}

/** Said anew only when it is another: a screen reader speaks each change. */
function showSummary(status) {
  const said = status === undefined ? NOT_YOURS : described(status);
  if (summary.textContent !== said) summary.textContent = said;
  const refused = document.querySelector('#rules-refused');
  const why = status?.rulesRefused === undefined ? '' : `The rules as edited are not in force: ${status.rulesRefused}`;
  if (refused.textContent !== why) refused.textContent = why;
}

function described(status) {
  const open = status.work.SCHEDULED + status.work['IN PROGRESS'];
  return `${status.studies} studies, ${status.openStudies} arriving; ${open} work items open, ${status.work.CANCELED} failed; ${status.held} objects sealed; rules ${status.ruleRevision}`;
}

function showWork(work) {
  const rows = fill('work', work ?? [], work === undefined ? NOT_YOURS : 'nothing yet');
  if (rows === undefined) return;
  for (const item of work ?? []) {
    const what =
      item.kind === 'derive'
        ? `${item.parameters.pipeline} (${item.parameters.rule})`
        : `${item.kind === 'fetch' ? 'prior from' : 'to'} ${item.parameters.node}`;
    const line = row(rows, [
      item.kind,
      what,
      item.studyInstanceUID,
      item.state,
      `${item.attempts} of ${item.maxAttempts}`,
      describeResult(item),
      retryButton(item),
    ]);
    line.children[3].className = `state-${item.state}`;
  }
}

function showStudies(studies) {
  const rows = fill('studies', studies ?? [], studies === undefined ? NOT_YOURS : 'nothing yet');
  if (rows === undefined) return;
  for (const study of studies ?? []) {
    const { patientID, studyDate, modalities, seriesCount, instanceCount, studyInstanceUID, isViewers } = study;
    row(rows, [
      patientID,
      studyDate,
      modalities.join(', '),
      seriesCount,
      instanceCount,
      studyInstanceUID,
      isViewers ? '' : verification(study),
    ]);
  }
}

function verification({ studyInstanceUID, withheldBecause }) {
  const about = `study ${studyInstanceUID}`;
  const cell = document.createElement('span');
  cell.append(
    button('Verify', about, () => showReport(studyInstanceUID, 'verification')),
    button('Why?', about, () => showReport(studyInstanceUID, 'pairs')),
    button('Intake', about, () => showIntake(studyInstanceUID)),
  );
  if (withheldBecause === undefined) return cell;
  const told = document.createElement('p');
  told.className = 'refused';
  told.textContent = `Withheld from viewers: ${withheldBecause.join('; ')}`;
  const release = button('Release to viewers', about, async () => {
    if (!confirm('Show this study to viewers all the same?')) return;
    await get(`/api/studies/${studyInstanceUID}/release`, { method: 'POST' });
    await refresh();
  });
  cell.append(told, release);
  return cell;
}

/** One look after another, however long an answer takes; none while nobody sees the page. */
async function keepLooking() {
  try {
    if (!document.hidden) await refresh();
  } finally {
    setTimeout(keepLooking, LOOK_EVERY_MS);
  }
}

const LOOK_EVERY_MS = 3000;

onChange(refresh);
keepLooking();
