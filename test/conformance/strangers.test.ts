/** The strangers that are quick and need nothing brought: the rest is `npm run conformance`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeObject } from '../phantom/objects.ts';
import { dcmtkSuite } from './strangers/dcmtk.ts';
import { openAdapter } from './strangers/orthanc-adapter.ts';
import { correlation, difference, readPicture } from './strangers/pictures.ts';
import { runSuite } from './strangers/suite.ts';
import { openTools } from './strangers/tools.ts';
import sharp from 'sharp';

const tools = openTools();

test("dcmtk's suite holds", { skip: dcmtkSuite.missing(tools) ?? false }, async () => {
  const { passed, failed } = await runSuite(dcmtkSuite, tools, () => {});
  assert.deepEqual(failed, []);
  assert.ok(passed.length > 20);
});

test("the adapter speaks as much of Orthanc's REST API as its tests lean on", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-adapter-'));
  const adapter = await openAdapter(folder);
  t.after(async () => {
    await adapter.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const base = `http://127.0.0.1:${adapter.port}`;
  const json = async <T>(path: string, init: RequestInit = {}): Promise<T> => {
    const reply = await fetch(`${base}${path}`, init);
    assert.equal(reply.status, 200, path);
    return (await reply.json()) as T;
  };
  const { bytes } = makeObject({ patientName: 'Name^In Clear', rows: 4, columns: 4 });
  const stored = await json<{ ID: string; ParentStudy: string }>('//instances', {
    method: 'POST',
    body: new Uint8Array(bytes),
  });
  assert.deepEqual(await json('/instances'), [stored.ID]);
  const tags = await json<Record<string, string>>(`/instances/${stored.ID}/tags?simplify`);
  assert.equal(tags['StudyInstanceUID'], stored.ParentStudy);
  const [study] = await json<Record<string, { Value: { Alphabetic: string }[] }>[]>('/dicom-web//studies');
  assert.equal(study?.['00100010']?.Value[0]?.Alphabetic, 'Name^In Clear');
  const refused = await fetch(`${base}/dicom-web/studies/${stored.ParentStudy}/metadata`, {
    headers: { Accept: 'nope/nope' },
  });
  assert.equal(refused.status, 400);
  const put = await fetch(`${base}/dicom-web/studies`, { method: 'PUT' });
  assert.deepEqual([put.status, put.headers.get('allow')], [405, 'GET,POST']);
  for (const patient of await json<string[]>('/patients')) await json(`/patients/${patient}`, { method: 'DELETE' });
  assert.deepEqual(await json('/instances'), []);
  assert.deepEqual(await json('/dicom-web/studies'), []);
});

test('a picture correlates with itself however it is sized, windowed or framed, and not with another', async () => {
  const draw = (grey: (x: number, y: number) => number): Promise<Buffer> => {
    const pixels = Buffer.from(Array.from({ length: 192 * 192 }, (_, n) => grey(n % 192, Math.floor(n / 192))));
    return sharp(pixels, { raw: { width: 192, height: 192, channels: 1 } })
      .png()
      .toBuffer();
  };
  const disc = await draw((x, y) => ((x - 60) ** 2 + (y - 100) ** 2 < 1600 ? 200 : 20));
  const paler = await draw((x, y) => ((x - 60) ** 2 + (y - 100) ** 2 < 1600 ? 120 : 40));
  const other = await draw((x, y) => ((x - 130) ** 2 + (y - 60) ** 2 < 1600 ? 200 : 20));
  const framed = await sharp(disc)
    .resize(400, 400)
    .extend({ left: 90, right: 90, background: '#000' })
    .png()
    .toBuffer();
  const [a, b, c, d] = await Promise.all([disc, paler, other, framed].map(readPicture));
  assert.ok(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
  assert.ok(correlation(a, b) > 0.999 && difference(a, b) > 10);
  assert.ok(correlation(a, d) > 0.97);
  assert.ok(correlation(a, c) < 0.3);
});
