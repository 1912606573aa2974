/** Objects whose pixels hold text, from the door to the archive. */
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { instancesOf, readInstanceBody } from '../../src/archive/instances.ts';
import { closeGateway, openGateway } from '../../src/gateway.ts';
import { makeFile } from '../deidentify/support.ts';
import { writeLetters } from '../pipelines/letters.ts';
import { openInFolder, take } from './opened.ts';

const MODEL = join(import.meta.dirname, '..', '..', 'models', 'text-detect');
const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: hipaa-safe-harbor }
processing: []
`;

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);

function screen(rows: number, columns: number): Buffer {
  const pixels = Buffer.from(Array.from({ length: rows * columns }, (_, at) => 30 + ((at * 7919) % 23)));
  const picture = { values: pixels, columns };
  writeLetters(picture, 'MARIA LIND', { left: 20, top: 16, size: 2, shade: 250 });
  writeLetters(picture, 'MRN 500550', { left: 20, top: 40, size: 2, shade: 250 });
  return pixels;
}

function capture(rows: number, columns: number): Buffer {
  return makeFile(
    {
      '00080008': 'DERIVED\\SECONDARY\\SCREEN SAVE',
      '00080016': '1.2.840.10008.5.1.4.1.1.7',
      '00080060': 'OT',
      '00180015': 'CHEST',
      '00280002': us(1),
      '00280004': 'MONOCHROME2',
      '00280010': us(rows),
      '00280011': us(columns),
      '00280100': us(8),
      '00280101': us(8),
      '00280102': us(7),
      '00280103': us(0),
    },
    { pixels: screen(rows, columns) },
  );
}

test('a screen is stored without its text when the detector is there', async (t) => {
  const without = await openInFolder(t, { rules: RULES });
  await without.close();
  const models = join(without.folder, 'models');
  cpSync(MODEL, join(models, 'text-detect'), { recursive: true });
  const { config, log } = without.gateway;
  const gateway = await openGateway({ ...config, modelsFolder: models }, log);
  t.after(() => closeGateway(gateway));
  const [rows, columns] = [160, 240];
  const { stored, refusal } = await take({ ...without, gateway }, capture(rows, columns));
  assert.equal(refusal, undefined);
  assert.ok(stored !== undefined);
  const [instance] = instancesOf(gateway.archive, stored);
  assert.ok(instance !== undefined);
  const parts: Buffer[] = [];
  for await (const chunk of readInstanceBody(gateway.archive, instance)) parts.push(chunk);
  const pixels = Buffer.concat(parts);
  const before = screen(rows, columns);
  assert.equal(pixels.length, before.length);
  assert.ok(!pixels.includes(250), 'no letter is left');
  // The lower half has no text and stays as it was.
  const half = columns * 100;
  assert.ok(pixels.subarray(half).equals(before.subarray(half)));
});

test('PIX-6: without the model what would be cleaned is sealed', async (t) => {
  const opened = await openInFolder(t, { rules: RULES });
  const { stored, quarantined } = await take(opened, capture(160, 240));
  assert.equal(stored, undefined);
  assert.equal(quarantined, true);
});
