// The console's first page: what waits, what failed, what is sealed, what is there. Reads /api and /dicom-web; text only, never markup.
const TOKEN = 'isthmus-token';
const form = document.querySelector('#access');
const summary = document.querySelector('#summary');

form.addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, new FormData(form).get('token'));
  refresh();
});

async function get(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  const reply = await fetch(path, { ...options, headers });
  if (reply.status === 204) return [];
  if (!reply.ok) throw new Error(`${path.split('?')[0]}: ${reply.status}`);
  return reply.json();
}

function row(table, cells) {
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

function fill(id, rows, nothing) {
  const body = document.querySelector(`#${id} tbody`);
  body.replaceChildren();
  if (rows.length === 0) row(body, [nothing]).firstChild.colSpan = 8;
  return body;
}

function retryButton(item) {
  if (item.state !== 'CANCELED') return '';
  const button = document.createElement('button');
  button.textContent = 'Try again';
  button.addEventListener('click', async () => {
    await get(`/api/work-items/${item.uid}/retry`, { method: 'POST' });
    refresh();
  });
  return button;
}

function describeResult(item) {
  if (item.lastError) return item.lastError;
  const figures = Object.entries(item.result?.quality ?? {})
    .filter(([, value]) => typeof value === 'number')
    .slice(0, 4)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
  return item.result?.node ? `${item.result.objects} objects, proof: ${item.result.proof}` : figures.join(', ');
}

const first = (study, key) => study[key]?.Value?.map((value) => value?.Alphabetic ?? value).join(', ') ?? '';

/** Undefined where the caller's role may not look: the other tables are shown all the same. */
function read(path) {
  return get(path).catch(() => undefined);
}

async function refresh() {
  const [status, work, held, studies] = await Promise.all([
    read('/api/status'),
    read('/api/work-items?limit=100'),
    read('/api/quarantine?limit=100'),
    read('/dicom-web/studies?limit=100&includefield=00080061,00201206,00201208'),
  ]);
  form.hidden = [status, work, held, studies].some((answer) => answer !== undefined);
  showSummary(status);
  showWork(work);
  showHeld(held);
  showStudies(studies);
}

const NOT_YOURS = 'not for this role, or not readable';

function showSummary(status) {
  if (status === undefined) {
    summary.textContent = NOT_YOURS;
    return;
  }
  const open = status.work.SCHEDULED + status.work['IN PROGRESS'];
  summary.textContent = `${status.studies} studies, ${status.openStudies} arriving; ${open} work items open, ${status.work.CANCELED} failed; ${status.held} objects sealed; rules ${status.ruleRevision}`;
}

function showWork(work) {
  const rows = fill('work', work ?? [], work === undefined ? NOT_YOURS : 'nothing yet');
  for (const item of work ?? []) {
    const what =
      item.kind === 'derive' ? `${item.parameters.pipeline} (${item.parameters.rule})` : `to ${item.parameters.node}`;
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

function showHeld(held) {
  const rows = fill('held', held ?? [], held === undefined ? NOT_YOURS : 'nothing is sealed');
  for (const one of held ?? []) {
    row(rows, [
      new Date(one.heldAt).toLocaleString(),
      `${one.callingAE} (${one.door})`,
      one.reason,
      one.sentence,
      `${(one.bytes / 1024).toFixed(0)} KB`,
      one.arrivals,
    ]);
  }
}

function showStudies(studies) {
  const rows = fill('studies', studies ?? [], studies === undefined ? NOT_YOURS : 'nothing yet');
  for (const study of studies ?? []) {
    row(
      rows,
      ['00100020', '00080020', '00080061', '00201206', '00201208', '0020000D'].map((key) => first(study, key)),
    );
  }
}

refresh();
setInterval(refresh, 3000);
