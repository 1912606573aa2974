/**
 * kill -9 at ten random moments while CTs stream in by STOW-RS and by C-STORE; each time the gateway starts again on what is left and
 * everything is sent anew. Whatever was ever acknowledged must then be there, once, whole, and lead back to its original.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openDatabase } from '../../src/database.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { originalUid } from '../../src/deidentify/crosswalk.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import { bytesOf, CT_IMAGE, EXPLICIT_LE, openCtMaker, type CtObject } from '../bench/ct.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { seeded } from '../phantom/random.ts';
import { retrieveParts, searchAll, stow } from './clients.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const KILLS = 10;
const SEED = 20241121;
const STUDY_INSTANCES = 80;
const LONGEST_MS = 350;

/** Streams until it is through or the gateway dies; answers what was acknowledged. */
async function sendByStow(gateway: GatewayProcess, objects: readonly CtObject[]): Promise<string[]> {
  const acknowledged: string[] = [];
  try {
    for (let at = 0; at < objects.length; at += 3) {
      const batch = objects.slice(at, at + 3);
      const { status, json } = await stow(gateway.base, batch.map(bytesOf));
      if (status !== 200) break;
      const stored = (json['00081199']?.Value ?? []) as Record<string, { Value?: unknown[] }>[];
      acknowledged.push(...stored.map((item) => String(item['00081155']?.Value?.[0])));
    }
  } catch {
    // Killed: what it had not answered is not acknowledged.
  }
  return acknowledged;
}

async function sendByCStore(gateway: GatewayProcess, objects: readonly CtObject[]): Promise<string[]> {
  const acknowledged: string[] = [];
  try {
    const association = await openAssociation({
      host: '127.0.0.1',
      port: gateway.dimsePort,
      callingAE: 'CRASHTEST',
      calledAE: 'ISTHMUS',
      contexts: [{ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }],
    });
    for (const object of objects) {
      const status = await store(association, {
        sopClassUID: CT_IMAGE,
        sopInstanceUID: object.sopInstanceUID,
        transferSyntaxUID: EXPLICIT_LE,
        dataSet: dataSetOf(object),
      });
      if (status !== 0) break;
      acknowledged.push(object.sopInstanceUID);
    }
    await release(association);
  } catch {
    // Killed.
  }
  return acknowledged;
}

/** Without preamble and file meta. */
function dataSetOf(object: CtObject): Buffer {
  const bytes = bytesOf(object);
  return bytes.subarray(144 + bytes.readUInt32LE(140));
}

test('kill -9 at ten random moments: what was acknowledged is there exactly once', { timeout: 240_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-kill-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const start = (): Promise<GatewayProcess> =>
    startGateway({
      folder,
      log: 'file',
      gateway: '{}\n',
      nodes: 'nodes: {}\n',
      rules:
        "admission:\n  - { name: all, when: { callingAE: '*' }, project: trial, profile: basic }\nprocessing: []\n",
    });
  const random = seeded(SEED);
  const maker = openCtMaker(128);
  const objects = [maker.study(STUDY_INSTANCES), maker.study(STUDY_INSTANCES)] as const;
  const acknowledged = new Set<string>();
  let killedWhileSending = 0;

  for (let kill = 0; kill < KILLS; kill++) {
    const gateway = await start();
    // Every time other objects come first, so that new ones and known ones are under way when the end comes.
    const from = Math.floor((kill * STUDY_INSTANCES) / KILLS);
    const sending = Promise.all([
      sendByStow(gateway, [...objects[0].slice(from), ...objects[0].slice(0, from)]),
      sendByCStore(gateway, [...objects[1].slice(from), ...objects[1].slice(0, from)]),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 20 + random.next() * LONGEST_MS));
    await gateway.kill();
    const sent = (await sending).flat();
    if (sent.length < 2 * STUDY_INSTANCES) killedWhileSending++;
    for (const uid of sent) acknowledged.add(uid);
  }
  assert.ok(killedWhileSending >= KILLS - 2, `only ${killedWhileSending} kills came while objects were under way`);
  assert.ok(acknowledged.size > 0, 'nothing was acknowledged before a kill');

  const gateway = await start();
  t.after(() => gateway.stop());
  const early = await shown(gateway);
  const wall = openWall(openDatabase(join(gateway.dataFolder, 'isthmus.sqlite')), {
    keyFile: join(gateway.dataFolder, 'keys', 'crosswalk.key'),
  });
  t.after(() => wall.database.close());
  const originals = (uids: readonly string[]): (string | undefined)[] =>
    uids.map((uid) => originalUid(wall, 'trial', uid));
  const before = new Set(originals(early));
  for (const uid of acknowledged) assert.ok(before.has(uid), 'an acknowledged instance is gone after the restart');

  // Sent once more, all of it: nothing doubles, nothing is missing.
  const all = objects.flat();
  assert.equal((await sendByStow(gateway, objects[0])).length, STUDY_INSTANCES);
  assert.equal((await sendByCStore(gateway, objects[1])).length, STUDY_INSTANCES);
  const uids = await shown(gateway);
  assert.equal(uids.length, all.length);
  assert.equal(new Set(uids).size, all.length);
  assert.deepEqual(new Set(originals(uids)), new Set(all.map(({ sopInstanceUID }) => sopInstanceUID)));
  await checkBytes(gateway, all, (uid) => originalUid(wall, 'trial', uid));

  const held = (await (await fetch(`${gateway.base}/api/quarantine`)).json()) as unknown[];
  assert.deepEqual(held, []);
  assert.deepEqual(leftovers(gateway.dataFolder), []);
  assert.equal(await gateway.stop(), 0);
  const verified = spawnSync(process.execPath, [join(root, 'src', 'main.ts'), 'verify'], {
    encoding: 'utf8',
    env: { ...process.env, ISTHMUS_CONFIG: join(folder, 'config'), ISTHMUS_DATA: gateway.dataFolder },
  });
  assert.equal(verified.status, 0, verified.stdout + verified.stderr);
  const report = JSON.parse(verified.stdout) as { archive: { instances: number; damaged: unknown[] }; audit: string };
  assert.equal(report.archive.instances, all.length);
  assert.deepEqual(report.archive.damaged, []);
  assert.equal(report.audit, 'whole');
});

/** SOP Instance UIDs (pseudonyms) by QIDO-RS, study by study. */
async function shown(gateway: GatewayProcess): Promise<string[]> {
  const uids: string[] = [];
  for (const study of await searchAll(gateway.base, 'studies?includefield=00201208')) {
    const uid = String(study['0020000D']?.Value?.[0]);
    const instances = await searchAll(gateway.base, `studies/${uid}/instances`);
    assert.equal(study['00201208']?.Value?.[0], instances.length, 'Number of Study Related Instances');
    uids.push(...instances.map((instance) => String(instance['00080018']?.Value?.[0])));
  }
  return uids;
}

/** Every object by WADO-RS reads as DICOM, bears the UID it is listed under, and has the very pixels that were sent. */
async function checkBytes(
  gateway: GatewayProcess,
  sent: readonly CtObject[],
  original: (uid: string) => string | undefined,
): Promise<void> {
  const pixels = new Map(sent.map((object) => [object.sopInstanceUID, object.pixels]));
  let seen = 0;
  for (const study of await searchAll(gateway.base, 'studies')) {
    for (const part of await retrieveParts(gateway.base, `studies/${String(study['0020000D']?.Value?.[0])}`)) {
      const { head, body } = await readObject(part);
      const chunks: Buffer[] = [];
      for await (const chunk of body) chunks.push(chunk);
      const uid = asciiValue(head.dataSet, 0x00080018) ?? '';
      assert.ok(pixels.get(original(uid) ?? '')?.equals(Buffer.concat(chunks)), 'other pixels than were sent');
      seen++;
    }
  }
  assert.equal(seen, sent.length);
}

/** Half-written files and sealed objects. */
function leftovers(dataFolder: string): string[] {
  return readdirSync(dataFolder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(part|sealed)$/.test(name));
}
