/** What the doors answer, what is then visible and what is sealed: a real gateway process, objects sent as a scanner or a PACS sends them. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openDatabase } from '../../src/database.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { abort, openAssociation, release, store, type Association } from '../../src/dimse/scu.ts';
import { unseal } from '../../src/quarantine.ts';
import { bytesOf, CT_IMAGE, EXPLICIT_LE, openCtMaker, type CtObject } from '../bench/ct.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { until } from '../peers/ports.ts';
import { searchAll, stow, type DicomJson } from './clients.ts';

const maker = openCtMaker(64);
const folder = mkdtempSync(join(tmpdir(), 'isthmus-receive-'));
let gateway: GatewayProcess;

before(async () => {
  gateway = await startGateway({
    folder,
    log: 'file',
    gateway: 'archive: { duplicates: reject }\n',
    nodes: 'nodes: {}\n',
    rules:
      'admission:\n  - { name: CT only, when: { modality: CT }, project: trial, profile: basic }\nprocessing: []\n',
  });
});

after(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The same object as another modality, for which there is no admission rule. */
function unadmitted(object: CtObject): Buffer {
  const bytes = bytesOf(object);
  const modality = Buffer.from([0x08, 0x00, 0x60, 0x00, 0x43, 0x53, 0x02, 0x00]);
  bytes.write('MR', bytes.indexOf(modality) + modality.length, 'latin1');
  return bytes;
}

/** Without preamble and file meta. */
function dataSetOf(bytes: Buffer): Buffer {
  return bytes.subarray(144 + bytes.readUInt32LE(140));
}

function associate(): Promise<Association> {
  return openAssociation({
    host: '127.0.0.1',
    port: gateway.dimsePort,
    callingAE: 'SENDER',
    calledAE: 'ISTHMUS',
    contexts: [{ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }],
  });
}

function storeOn(association: Association, sopInstanceUID: string, dataSet: Buffer | AsyncIterable<Buffer>) {
  return store(association, { sopClassUID: CT_IMAGE, sopInstanceUID, transferSyntaxUID: EXPLICIT_LE, dataSet });
}

async function cStore(sopInstanceUID: string, dataSet: Buffer): Promise<number> {
  const association = await associate();
  const status = await storeOn(association, sopInstanceUID, dataSet);
  await release(association);
  return status;
}

interface HeldRow {
  readonly id: string;
  readonly reason: string;
  readonly door: string;
  readonly arrivals: number;
}

async function held(): Promise<HeldRow[]> {
  return (await (await fetch(`${gateway.base}/api/quarantine?limit=1000`)).json()) as HeldRow[];
}

async function visible(): Promise<number> {
  return (await searchAll(gateway.base, 'instances')).length;
}

/** What the work leaves behind, more than was there before. */
async function during<T>(work: () => Promise<T>): Promise<{ result: T; stored: number; sealed: HeldRow[] }> {
  const storedBefore = await visible();
  const heldBefore = new Set((await held()).map(({ id }) => id));
  const result = await work();
  return {
    result,
    stored: (await visible()) - storedBefore,
    sealed: (await held()).filter(({ id }) => !heldBefore.has(id)),
  };
}

async function opened(id: string): Promise<Buffer> {
  const database = openDatabase(join(gateway.dataFolder, 'isthmus.sqlite'));
  try {
    const { master } = openWall(database, { keyFile: join(gateway.dataFolder, 'keys', 'crosswalk.key') });
    const quarantine = {
      database,
      folder: join(gateway.dataFolder, 'quarantine'),
      key: createHmac('sha256', master).update('isthmus quarantine').digest(),
      reserveBytes: 0,
      now: Date.now,
    };
    const chunks: Uint8Array[] = [];
    for await (const chunk of await unseal(quarantine, id)) chunks.push(chunk);
    return Buffer.concat(chunks);
  } finally {
    database.close();
  }
}

function items(json: DicomJson, key: string): DicomJson[] {
  return (json[key]?.Value ?? []) as DicomJson[];
}

describe('what no admission rule lets in', () => {
  it('is sealed as it came, and C-STORE answers the warning B000', async () => {
    const [object] = maker.study(1) as [CtObject];
    const sent = dataSetOf(unadmitted(object));
    const { result, stored, sealed } = await during(() => cStore(object.sopInstanceUID, sent));
    assert.equal(result, 0xb000);
    assert.equal(stored, 0);
    assert.deepEqual(
      sealed.map(({ reason, door }) => ({ reason, door })),
      [{ reason: 'Quarantined', door: 'dimse' }],
    );
    assert.ok((await opened(sealed[0]?.id ?? '')).equals(sent));
  });

  it('is sealed as it came, and STOW-RS answers 202 with a warning', async () => {
    const [object] = maker.study(1) as [CtObject];
    const sent = unadmitted(object);
    const { result, stored, sealed } = await during(() => stow(gateway.base, [sent]));
    assert.equal(result.status, 202);
    const [reference] = items(result.json, '00081199');
    assert.equal(reference?.['00081155']?.Value?.[0], object.sopInstanceUID);
    assert.equal(reference['00081196']?.Value?.[0], 0xb000);
    assert.equal(stored, 0);
    assert.ok((await opened(sealed[0]?.id ?? '')).equals(sent));
  });

  it('is sealed once however often it comes', async () => {
    const [object] = maker.study(1) as [CtObject];
    const sent = unadmitted(object);
    const { sealed } = await during(async () => {
      await stow(gateway.base, [sent]);
      await stow(gateway.base, [sent]);
    });
    assert.deepEqual(
      sealed.map(({ arrivals }) => arrivals),
      [2],
    );
  });
});

describe('what cannot be read', () => {
  const noise = Buffer.from('there is nothing of a data set in these bytes, whatever their sender may say. '.repeat(9));

  it('is C000 to C-STORE, and sealed', async () => {
    const { result, stored, sealed } = await during(() => cStore(newUid(), noise));
    assert.equal(result, 0xc000);
    assert.equal(stored, 0);
    assert.ok((await opened(sealed[0]?.id ?? '')).equals(noise));
  });

  it('is 400 with C000 to STOW-RS, and the good objects beside it are stored', async () => {
    const [first, second] = maker.study(2) as [CtObject, CtObject];
    const bytes = Buffer.concat([noise, Buffer.from('!')]);
    const alone = await during(() => stow(gateway.base, [bytes]));
    assert.equal(alone.result.status, 400);
    assert.equal(items(alone.result.json, '0008119A')[0]?.['00081197']?.Value?.[0], 0xc000);
    assert.ok((await opened(alone.sealed[0]?.id ?? '')).equals(bytes));
    const among = await during(() => stow(gateway.base, [bytesOf(first), bytes, bytesOf(second)]));
    assert.equal(among.result.status, 202);
    assert.equal(among.stored, 2);
    assert.equal(items(among.result.json, '00081199').length, 2);
  });

  it('is what breaks off within its pixel data, by either door', async () => {
    const [object] = maker.study(1) as [CtObject];
    const whole = bytesOf(object);
    const short = whole.subarray(0, whole.length - 1000);
    const byStow = await during(() => stow(gateway.base, [short]));
    assert.equal(byStow.result.status, 409);
    assert.equal(items(byStow.result.json, '00081198')[0]?.['00081197']?.Value?.[0], 0xc000);
    assert.equal(byStow.stored, 0);
    const byCStore = await during(() => cStore(object.sopInstanceUID, dataSetOf(short)));
    assert.equal(byCStore.result, 0xc000);
    assert.equal(byCStore.stored, 0);
  });
});

describe('an object of another study than the path names', () => {
  it('is refused by name, neither stored nor sealed', async () => {
    const [object] = maker.study(1) as [CtObject];
    const { result, stored, sealed } = await during(() => stow(gateway.base, [bytesOf(object)], newUid()));
    assert.equal(result.status, 409);
    const [failed] = items(result.json, '00081198');
    assert.equal(failed?.['00081155']?.Value?.[0], object.sopInstanceUID);
    assert.equal(failed['00081197']?.Value?.[0], 0xa900);
    assert.equal(stored, 0);
    assert.deepEqual(sealed, []);
  });

  it('is stored when the path names its own', async () => {
    const [object] = maker.study(1) as [CtObject];
    const { result, stored } = await during(() => stow(gateway.base, [bytesOf(object)], object.studyInstanceUID));
    assert.equal(result.status, 200);
    assert.equal(stored, 1);
  });
});

describe('an object that is there already', () => {
  it('is success when it is the same, 0111 when it is another under the same UID', async () => {
    const [object] = maker.study(1) as [CtObject];
    const other = bytesOf(object);
    other.writeUInt16LE(7, other.length - 2);
    const { stored, sealed } = await during(async () => {
      assert.equal((await stow(gateway.base, [bytesOf(object)])).status, 200);
      assert.equal((await stow(gateway.base, [bytesOf(object)])).status, 200);
      assert.equal(await cStore(object.sopInstanceUID, dataSetOf(bytesOf(object))), 0);
      const { status, json } = await stow(gateway.base, [other]);
      assert.equal(status, 409);
      assert.equal(items(json, '00081198')[0]?.['00081197']?.Value?.[0], 0x0111);
      assert.equal(await cStore(object.sopInstanceUID, dataSetOf(other)), 0x0111);
    });
    assert.equal(stored, 1);
    assert.deepEqual(sealed, []);
  });
});

describe('a sender that breaks off within an object', () => {
  it('leaves nothing, by STOW-RS', async () => {
    const [object] = maker.study(1) as [CtObject];
    const { stored, sealed } = await during(async () => {
      const bytes = bytesOf(object);
      const socket = connect(gateway.httpPort, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(
        'POST /dicom-web/studies HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/dicom\r\n' +
          `Content-Length: ${bytes.length}\r\n\r\n`,
      );
      await new Promise<void>((resolve) => socket.write(bytes.subarray(0, bytes.length - 500), () => resolve()));
      await new Promise((resolve) => setTimeout(resolve, 100));
      socket.destroy();
      await calm();
    });
    assert.equal(stored, 0);
    assert.deepEqual(sealed, []);
  });

  it('leaves nothing, by C-STORE', async () => {
    const [object] = maker.study(1) as [CtObject];
    const { stored, sealed } = await during(async () => {
      const dataSet = dataSetOf(bytesOf(object));
      const association = await associate();
      async function* half(): AsyncGenerator<Buffer> {
        yield dataSet.subarray(0, dataSet.length >> 1);
        await new Promise((resolve) => setTimeout(resolve, 100));
        abort(association);
        yield dataSet.subarray(dataSet.length >> 1);
      }
      await assert.rejects(storeOn(association, object.sopInstanceUID, half()));
      await calm();
    });
    assert.equal(stored, 0);
    assert.deepEqual(sealed, []);
  });
});

describe('sixteen senders at once', () => {
  it("have every object stored once, each other's included", { timeout: 60_000 }, async () => {
    const shared = maker.study(6);
    const studies = Array.from({ length: 16 }, () => [...maker.study(4), ...shared]);
    const { stored, sealed } = await during(() =>
      Promise.all(
        studies.map(async (objects, sender) => {
          if (sender % 2 === 0) {
            assert.equal((await stow(gateway.base, objects.map(bytesOf))).status, 200);
            return;
          }
          const association = await associate();
          for (const object of objects) {
            assert.equal(await storeOn(association, object.sopInstanceUID, dataSetOf(bytesOf(object))), 0);
          }
          await release(association);
        }),
      ),
    );
    assert.equal(stored, 16 * 4 + 6);
    assert.deepEqual(sealed, []);
    assert.deepEqual(halfWritten(), []);
  });
});

/** Until nothing half-written is left: the gateway has noticed that the sender is gone. */
async function calm(): Promise<void> {
  await until('the gateway to let go', () => halfWritten().length === 0, 10_000);
  await new Promise((resolve) => setTimeout(resolve, 200));
}

function halfWritten(): string[] {
  return readdirSync(gateway.dataFolder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.part'),
  );
}
