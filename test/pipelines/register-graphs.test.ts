/** The registration graphs: written the same way every time, named by the card, and right on a shift that is known. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeAll } from '../../models/register/train/write-graph.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { openGraph } from '../../src/pipelines/graph-session.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';

const folder = join(import.meta.dirname, '..', '..', 'models', 'register');

function copyOfModel(t: { after: (clean: () => void) => void }): string {
  const parent = mkdtempSync(join(tmpdir(), 'isthmus-model-'));
  t.after(() => rmSync(parent, { recursive: true }));
  const copy = join(parent, 'register');
  cpSync(folder, copy, { recursive: true });
  return copy;
}

function refusesModel(sentence: RegExp) {
  return (error: unknown) =>
    error instanceof Refusal && error.reason === 'BadConfiguration' && sentence.test(error.message);
}

test('the graph writer gives the committed bytes, and the card names exactly these files', () => {
  const { card } = loadModel(folder);
  const written = writeAll();
  assert.deepEqual([...written.keys()].sort(), Object.keys(card.graphs).sort());
  const onDisk = readdirSync(folder).filter((name) => name.endsWith('.onnx'));
  assert.deepEqual(onDisk.sort(), [...written.keys()].map((name) => `${name}.onnx`).sort());
  for (const [name, bytes] of written) {
    assert.deepEqual(Buffer.from(bytes), readFileSync(join(folder, `${name}.onnx`)), name);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), card.graphs[name]?.sha256);
  }
});

test('every graph opens with the tensors the card declares', async () => {
  const model = loadModel(folder);
  for (const name of Object.keys(model.card.graphs)) await (await openGraph(model, name, 1)).release();
});

test('the discrete search finds a blob that was moved by two voxels', async () => {
  const dims = [1, 1, 24, 24, 24];
  const blob = (shift: number) =>
    Float32Array.from({ length: 24 ** 3 }, (_, n) => {
      const [x, y, z] = [n % 24, Math.floor(n / 24) % 24, Math.floor(n / 576)];
      const inner = Math.exp(-((x - 9 - shift) ** 2 + (y - 14) ** 2 + (z - 12) ** 2) / 12);
      return Math.exp(-((x - 11.5 - shift) ** 2 + (y - 11.5) ** 2 + (z - 11.5) ** 2) / 60) - 0.6 * inner;
    });
  const model = loadModel(folder);
  const session = await openGraph(model, 'deform-search', 1);
  const { field } = await session.run({ fixed: { dims, data: blob(0) }, moving: { dims, data: blob(2) } });
  await session.release();
  const centre = 11 * 576 + 11 * 24 + 10;
  const [z, y, x] = [0, 1, 2].map((channel) => field?.data[channel * 24 ** 3 + centre] ?? Number.NaN);
  assert.ok(Math.abs((x ?? 0) - 2) < 1, `x ${x}`);
  assert.ok(Math.abs(y ?? 9) < 0.5 && Math.abs(z ?? 9) < 0.5, `y ${y} z ${z}`);
});

test('a changed byte in a graph is refused', (t) => {
  const copy = copyOfModel(t);
  const file = join(copy, 'deform-search.onnx');
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(1000) ^ 1, 1000);
  writeFileSync(file, bytes);
  assert.throws(() => loadModel(copy), refusesModel(/graph deform-search: deform-search\.onnx has sha256/));
});

test('a graph that is a link out of the folder is refused', (t) => {
  const copy = copyOfModel(t);
  const outside = join(copy, '..', 'elsewhere.onnx');
  cpSync(join(copy, 'deform-search.onnx'), outside);
  rmSync(join(copy, 'deform-search.onnx'));
  symlinkSync(outside, join(copy, 'deform-search.onnx'));
  assert.throws(() => loadModel(copy), refusesModel(/lies outside the folder/));
});

test('an unknown key, another id and a gate in the wrong order are refused by name', (t) => {
  const change = (from: RegExp, to: string) => {
    const copy = copyOfModel(t);
    const file = join(copy, 'card.yaml');
    const text = readFileSync(file, 'utf8');
    assert.match(text, from);
    writeFileSync(file, text.replace(from, to));
    return copy;
  };
  assert.throws(() => loadModel(change(/^licence:/m, 'surprise: 1\nlicence:')), refusesModel(/unknown key "surprise"/));
  assert.throws(() => loadModel(change(/^id: register/m, 'id: other')), refusesModel(/id is other/));
  assert.throws(
    () => loadModel(change(/foldingFraction: \{ max: 0.001, hard: 0.01/, 'foldingFraction: { max: 0.1, hard: 0.01')),
    refusesModel(/gate foldingFraction: hard is stricter than max/),
  );
});

test('a tensor that the card describes otherwise than the graph is refused', async (t) => {
  const copy = copyOfModel(t);
  const file = join(copy, 'card.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('name: field', 'name: words'));
  await assert.rejects(
    openGraph(loadModel(copy), 'deform-search', 1),
    refusesModel(/graph deform-search: words is no such tensor/),
  );
});

test('rigid and affine registration has a card of its own, and no graph', () => {
  const { card } = loadModel(join(import.meta.dirname, '..', '..', 'models', 'reg-rigid'));
  assert.deepEqual([card.task, Object.keys(card.graphs)], ['register', []]);
  assert.equal('foldingFraction' in card.gates, false);
});
