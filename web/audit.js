// The audit trail, for privacy officers. It is asked for when it is opened and at each page: each look leaves a line in it.
import { attempt, fill, row } from './page.js';
import { askPage, fromTheStart, showPager, stretch } from './pages.js';

const dialog = document.querySelector('#audit');

document.querySelector('#open-audit').addEventListener('click', () => {
  fromTheStart('trail');
  attempt(async () => {
    await showTrail();
    dialog.showModal();
  });
});

async function showTrail() {
  const page = await askPage('trail', `/api/audit?${stretch('trail')}`);
  const rows = fill('trail', page.rows, 'nothing yet');
  for (const { number, at, event, actor, facts } of rows === undefined ? [] : page.rows) {
    const told =
      facts === undefined
        ? 'blacked out'
        : Object.entries(facts)
            .map((fact) => fact.join(': '))
            .join('; ');
    row(rows, [number, new Date(at).toLocaleString(), event, actor, told]);
  }
  showPager('trail', page, () => attempt(showTrail));
}
