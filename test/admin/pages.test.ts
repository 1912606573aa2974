/** Long lists come a page at a time, over HTTP and in the console as a browser shows it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { recordAudit } from '../../src/audit.ts';
import { scheduleWork } from '../../src/workitems.ts';
import { CHROMIUM, startChromium, type Browser } from '../dicomweb/chromium.ts';
import { makeObject } from '../phantom/objects.ts';
import { ctStudy } from '../phantom/studies.ts';
import { until } from '../peers/ports.ts';
import { take } from '../workflow/opened.ts';
import { openAdminDoor, type AdminDoor } from './door.ts';

const OFFICER = 'privacy-officer';
const WORKER = 'radiology-it';
const LONGEST_MS = 60_000;

async function fillStudies({ gateway }: AdminDoor, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) {
    const uid = `2.25.${number}`;
    const names = { studyInstanceUID: uid, seriesInstanceUID: `${uid}.1`, sopInstanceUID: `${uid}.1.1` };
    await storeInstance(gateway.archive, makeObject({ rows: 2, columns: 2, ...names }).object);
  }
}

function fillWork({ gateway }: AdminDoor, count: number): void {
  for (let number = 1; number <= count; number++)
    scheduleWork(gateway.workItems, {
      kind: 'deliver',
      key: `item ${number}`,
      studyInstanceUID: `2.25.${number}`,
      parameters: { node: 'pacs' },
      maxAttempts: 1,
    });
}

test('PAGES-1: every list is had whole, page by page, and says how long it is', async (t) => {
  const door = await openAdminDoor(t);
  const { gateway } = door;
  await fillStudies(door, 7);
  fillWork(door, 7);
  const { rules } = gateway;
  gateway.rules = { ...rules, admission: [] };
  const patient = { name: 'Muster^Erika', id: 'KH-4711', birthDate: '19631112', sex: 'F' } as const;
  for (const object of ctStudy({ patient, slices: 7, size: 8 }).objects) await take(door, object);
  gateway.rules = rules;
  const [held] = (await door.ask('GET', '/api/quarantine?limit=1', OFFICER)).json<{ reason: string }[]>();
  const lists: readonly (readonly [path: string, role: string, key: string])[] = [
    ['/api/studies', WORKER, 'studyInstanceUID'],
    ['/api/work-items', WORKER, 'uid'],
    ['/api/work-items?state=SCHEDULED', WORKER, 'uid'],
    ['/api/quarantine', OFFICER, 'id'],
    [`/api/quarantine?reason=${held?.reason}`, OFFICER, 'id'],
  ];
  for (const [path, role, key] of lists) {
    const seen: unknown[] = [];
    for (const offset of [0, 3, 6, 9]) {
      const page = `${path}${path.includes('?') ? '&' : '?'}limit=3&offset=${offset}`;
      const answer = await door.ask('GET', page, role);
      assert.equal(answer.status, 200, page);
      assert.equal(answer.headers.get('x-total-count'), '7', page);
      seen.push(...answer.json<Record<string, unknown>[]>().map((row) => row[key]));
    }
    assert.equal(new Set(seen).size, 7, path);
    assert.equal(seen.length, 7, path);
  }
  assert.equal((await door.ask('GET', '/api/work-items?state=CANCELED', WORKER)).headers.get('x-total-count'), '0');
  for (const query of ['limit=0', 'limit=1001', 'limit=1e2', 'limit=', 'offset=-1', 'offset=x', 'offset=1.5'])
    for (const [path] of lists)
      assert.equal((await door.ask('GET', `${path.split('?')[0]}?${query}`, OFFICER)).status >= 400, true, query);
});

test('AUDIT-READ: the trail is for privacy officers, newest first, and each look stands in it', async (t) => {
  const door = await openAdminDoor(t);
  for (let number = 1; number <= 5; number++)
    recordAudit(door.gateway.audit, 'Export', 'somebody', { study: `2.25.${number}` });
  for (const role of ['viewer', 'sender', WORKER])
    assert.equal((await door.ask('GET', '/api/audit', role)).status, 403, role);
  const answer = await door.ask('GET', '/api/audit?limit=2', OFFICER);
  // Three were refused before, and this look is the newest line.
  assert.equal(answer.headers.get('x-total-count'), '9');
  const [first, second] = answer.json<{ number: number; event: string; actor: string; facts: object }[]>();
  assert.deepEqual(
    [first?.number, first?.event, first?.actor, first?.facts],
    [9, 'Audit Log Used', 'the privacy-officer', { action: 'read', limit: 2, offset: 0 }],
  );
  assert.equal(second?.event, 'Security Alert');
  const oldest = await door.ask('GET', '/api/audit?limit=1&offset=9', OFFICER);
  assert.deepEqual(oldest.json<{ facts: object }[]>()[0]?.facts, { study: '2.25.1' });
});

test(
  'PAGES-2: in a browser the console turns pages of its lists and tells where one is',
  { skip: CHROMIUM === undefined ? 'Chromium is not installed (Debian package chromium)' : false },
  async (t) => {
    const door = await openAdminDoor(t, { tokens: [] });
    await fillStudies(door, 101);
    fillWork(door, 230);
    const browser = await startChromium(CHROMIUM ?? '');
    try {
      await browser.open(`${door.url}/`);
      await shows(browser, 'work', '1 to 100 of 230', 100);
      await shows(browser, 'studies', '1 to 100 of 101', 100);
      assert.equal(await browser.evaluate("document.querySelector('#held-pages').hidden"), true);
      await press(browser, '#work-pages button:last-child');
      await shows(browser, 'work', '101 to 200 of 230', 100);
      await press(browser, '#work-pages button:last-child');
      await shows(browser, 'work', '201 to 230 of 230', 30);
      assert.equal(await browser.evaluate("document.querySelector('#work-pages button:last-child').disabled"), true);
      await press(browser, '#studies-pages button:last-child');
      await shows(browser, 'studies', '101 to 101 of 101', 1);
      // What was on the last page goes: the page before is shown.
      door.gateway.database.run(
        'DELETE FROM work_item WHERE uid IN (SELECT uid FROM work_item ORDER BY created_at LIMIT 40)',
      );
      await shows(browser, 'work', '101 to 190 of 190', 90);
      await press(browser, '#work-pages button:first-child');
      await shows(browser, 'work', '1 to 100 of 190', 100);
      await press(browser, '#open-audit');
      await until(
        'the trail to be open',
        async () => (await browser.evaluate("document.querySelector('#audit').open")) === true,
        LONGEST_MS,
      );
      assert.match(String(await browser.evaluate("document.querySelector('#trail').textContent")), /Audit Log Used/);
    } finally {
      await browser.close();
    }
  },
);

async function press(browser: Browser, selector: string): Promise<void> {
  await browser.evaluate(`document.querySelector('${selector}').click()`);
}

async function shows(browser: Browser, list: string, told: string, rows: number): Promise<void> {
  const wanted = JSON.stringify([told, rows]);
  await until(
    `${list} to show ${wanted}`,
    async () => {
      const place = `document.querySelector('#${list}-pages span')?.textContent`;
      const count = `document.querySelector('#${list}').tBodies[0].rows.length`;
      return (await browser.evaluate(`JSON.stringify([${place}, ${count}])`)) === wanted;
    },
    LONGEST_MS,
  );
}
