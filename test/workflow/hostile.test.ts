/**
 * Broken and hostile objects against a real gateway: each has the outcome it is meant to have, by either door, alone, together and among
 * good ones; afterwards the process lives, is small, and still stores a good object.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSink, sinkBytes, writeBytes, writeElement, writeNumbers, writeText } from '../../src/dicom/writer.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { retrieve, samples, sendByStorescu, stow, stowBody, type Stowed } from './sample-files.ts';

const hostile = join(samples, 'oddities', 'hostile');
const withoutHostile = existsSync(join(hostile, 'hostile.tsv'))
  ? false
  : 'ISTHMUS_SAMPLES does not name the real samples';
const withoutDcmtk =
  spawnSync('storescu', ['--version'], { stdio: 'ignore' }).error === undefined
    ? false
    : 'storescu is not installed (Debian package dcmtk)';

type Outcome = 'stored' | 'held' | 'refused';

/** What is decided where the collection leaves it to the receiver (`policy`, `limit`). */
const DECIDED: Readonly<Record<string, Outcome>> = {
  // Bytes are missing: the sender keeps it and is told.
  '05_truncated_pixels.dcm': 'refused',
  // Read as what it plainly is.
  '06_no_preamble.dcm': 'stored',
  '07_no_meta.dcm': 'stored',
  '08_meta_len_short.dcm': 'stored',
  '09_meta_len_huge.dcm': 'stored',
  '10_no_ts.dcm': 'stored',
  '11_ts_lies_implicit.dcm': 'stored',
  '12_ts_lies_bigendian.dcm': 'stored',
  // Unknown syntax: nothing can be read.
  '13_ts_unknown.dcm': 'refused',
  // Lengths beyond the end.
  '16_ob_len_4g.dcm': 'refused',
  // Nothing is allocated by what a header claims.
  '18_rows_65535.dcm': 'stored',
  '19_frames_2g.dcm': 'stored',
  '20_frames_negative.dcm': 'stored',
  // Deeper than 64.
  '21_nested_sq_20000_undef.dcm': 'refused',
  '21_nested_sq_2000_undef.dcm': 'refused',
  // Which of two values counts, readers disagree.
  '26_duplicate_tags.dcm': 'refused',
  '27_odd_length.dcm': 'stored',
  '28_bad_vr.dcm': 'refused',
  '29_vr_nul.dcm': 'refused',
  // No UID: a person looks.
  '33_uid_long.dcm': 'held',
  // Values are values, and none of them stays.
  '36_injection_names.dcm': 'stored',
  '37_wildcard_pid.dcm': 'stored',
  '39_pn_64k.dcm': 'stored',
  '40_bad_dates.dcm': 'refused',
  '41_bad_utf8.dcm': 'stored',
  '42_unknown_charset.dcm': 'stored',
  '43_many_elements.dcm': 'stored',
  // Grows more than 200 times.
  '45_deflate_bomb_1gib.dcm': 'refused',
  // The first item is a frame where the offset table should be: a person looks.
  '51_encap_no_bot.dcm': 'held',
  // Encapsulation without end.
  '53_encap_item_4g.dcm': 'refused',
  '54_encap_no_end.dcm': 'refused',
  // What cannot be cleaned waits for a person.
  '55_encap_not_jpeg.dcm': 'held',
  // Whole, if not all that it claims.
  '56_encap_more_frames.dcm': 'stored',
  '57_encap_zero_frag.dcm': 'stored',
  '58_jpeg_pixel_bomb.dcm': 'stored',
  // Video may show names.
  '60_mpeg2_stub.dcm': 'held',
  '61_mpeg4_stub.dcm': 'held',
  // The same UID with other pixels replaces nothing.
  '70_dup_sop_b.dcm': 'refused',
  // The preamble is made anew.
  '81_polyglot_pe.dcm': 'stored',
  '90_zip_bomb_256mib_slip.zip': 'refused',
};

/** Most memory that the process (where the system tells) may ever have held, in MiB: the heap of Node at rest is about 200. */
const MOST_MEMORY_MB = 900;

const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

interface Made {
  readonly sopInstanceUID: string;
  readonly bytes: Buffer;
}

/** A good secondary capture, with more attributes where a test wants them. */
function makeObject(more: readonly (readonly [tag: number, vr: Vr, value: Buffer])[] = []): Made {
  const sopInstanceUID = newUid();
  const meta = openSink();
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', SECONDARY_CAPTURE);
  writeText(meta, 0x00020003, 'UI', sopInstanceUID);
  writeText(meta, 0x00020010, 'UI', '1.2.840.10008.1.2.1');
  const groupLength = openSink();
  writeNumbers(groupLength, 0x00020000, 'UL', [meta.length]);
  const text = (tag: number, vr: Vr, value: string): readonly [number, Vr, Buffer] => [tag, vr, Buffer.from(value)];
  const word = (tag: number, value: number): readonly [number, Vr, Buffer] => [tag, 'US', Buffer.from([value, 0])];
  const elements = new Map<number, readonly [number, Vr, Buffer]>();
  for (const element of [
    text(0x00080016, 'UI', SECONDARY_CAPTURE),
    text(0x00080018, 'UI', sopInstanceUID),
    text(0x00080020, 'DA', '20240229'),
    text(0x00080030, 'TM', '101112'),
    text(0x00080050, 'SH', ''),
    text(0x00080060, 'CS', 'OT'),
    text(0x00080064, 'CS', 'WSD'),
    text(0x00080090, 'PN', ''),
    text(0x00100010, 'PN', 'Good^Object'),
    text(0x00100020, 'LO', 'GOOD-1'),
    text(0x00100030, 'DA', ''),
    text(0x00100040, 'CS', ''),
    text(0x0020000d, 'UI', newUid()),
    text(0x0020000e, 'UI', newUid()),
    text(0x00200010, 'SH', ''),
    text(0x00200011, 'IS', '1'),
    text(0x00200013, 'IS', '1'),
    word(0x00280002, 1),
    text(0x00280004, 'CS', 'MONOCHROME2'),
    word(0x00280010, 4),
    word(0x00280011, 4),
    word(0x00280100, 8),
    word(0x00280101, 8),
    word(0x00280102, 7),
    word(0x00280103, 0),
    [0x7fe00010, 'OB', Buffer.alloc(16, 7)] as const,
    ...more,
  ])
    elements.set(element[0], element);
  const sink = openSink();
  writeBytes(sink, Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), sinkBytes(groupLength), sinkBytes(meta)]));
  for (const [tag, vr, value] of [...elements.values()].sort((a, b) => a[0] - b[0])) writeElement(sink, tag, vr, value);
  return { sopInstanceUID, bytes: sinkBytes(sink) };
}

function outcomeOf({ stored, failed, nameless, status }: Stowed): Outcome {
  const [only] = stored.values();
  if (only !== undefined) return only.warning === 0xb000 ? 'held' : 'stored';
  assert.ok(failed.size + nameless.length === 1 || status >= 400, `status ${status}`);
  return 'refused';
}

function memoryMb(gateway: GatewayProcess): number {
  const file = `/proc/${gateway.pid}/status`;
  const status = existsSync(file) ? readFileSync(file, 'utf8') : '';
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
}

async function assertGood(gateway: GatewayProcess): Promise<void> {
  const { sopInstanceUID, bytes } = makeObject();
  const answer = await stow(gateway, [bytes]);
  assert.equal(answer.status, 200);
  const stored = await retrieve(answer.stored.get(sopInstanceUID)?.url ?? '');
  assert.deepEqual(stored.subarray(-16), Buffer.alloc(16, 7));
}

describe('hostile objects', () => {
  let folder = '';
  let gateway: GatewayProcess;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'isthmus-hostile-'));
    gateway = await startGateway({
      folder: join(folder, 'gateway'),
      log: 'file',
      gateway: 'completion: { quietSeconds: 3600 }\n',
      nodes: 'nodes: {}\n',
      rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: trial, profile: basic }
processing: []
`,
    });
  });

  after(async () => {
    await gateway.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const cases = withoutHostile
    ? []
    : readFileSync(join(hostile, 'hostile.tsv'), 'utf8')
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((row) => row.split('\t'));

  test(
    'each file of the collection has its outcome by STOW-RS',
    { skip: withoutHostile, timeout: 240_000 },
    async () => {
      const wrong: string[] = [];
      for (const [name = '', , expected = ''] of cases) {
        const bytes = readFileSync(join(hostile, name));
        const answer = name.endsWith('.bin') ? await stowBody(gateway, bytes, 'AAA') : await stow(gateway, [bytes]);
        const outcome = outcomeOf(answer);
        const wanted =
          expected === 'accept' ? ['stored'] : expected === 'refuse' ? ['refused', 'held'] : [DECIDED[name] ?? ''];
        if (!wanted.includes(outcome)) wrong.push(`${name}: ${outcome}, ${answer.status}`);
      }
      assert.deepEqual(wrong, []);
      assert.ok(memoryMb(gateway) < MOST_MEMORY_MB, `${memoryMb(gateway)} MiB`);
      await assertGood(gateway);
    },
  );

  test(
    'what dcmtk can send of the collection ends in a status by C-STORE too',
    { skip: withoutHostile || withoutDcmtk, timeout: 240_000 },
    async () => {
      const counted = new Map<string, number>();
      for (const [name = ''] of cases) {
        // dcmtk itself inflates the one without a limit, and crashes on the other.
        if (/^(45|21_nested_sq_20000)/.test(name) || !name.endsWith('.dcm')) continue;
        const file = { path: join(hostile, name) };
        const answer = (await sendByStorescu(gateway.dimsePort, ['-R', '+C'], [file])).get(file.path) ?? '';
        const kind = /^(Success|Warning|Unknown Status|Error)/.exec(answer)?.[0] ?? 'not sent';
        counted.set(kind, (counted.get(kind) ?? 0) + 1);
      }
      assert.ok((counted.get('Success') ?? 0) > 10, JSON.stringify([...counted]));
      await assertGood(gateway);
    },
  );

  test('a request of good and bad parts stores the good ones and answers 202', async () => {
    const good = [makeObject(), makeObject(), makeObject()];
    const damaged = makeObject();
    const nested = makeObject([[0x00081140, 'SQ', deepSequence(100)]]);
    const [first, second, third] = good;
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    const answer = await stow(gateway, [
      first.bytes,
      damaged.bytes.subarray(0, damaged.bytes.length - 8),
      Buffer.from('%PDF-1.4\n%hello\n'),
      second.bytes,
      nested.bytes,
      third.bytes,
    ]);
    assert.equal(answer.status, 202);
    assert.deepEqual(
      [...answer.stored.keys()],
      good.map(({ sopInstanceUID }) => sopInstanceUID),
    );
    // What has file meta has a name, however little of it can be read.
    assert.deepEqual(
      [...answer.failed],
      [
        [damaged.sopInstanceUID, 0xc000],
        [nested.sopInstanceUID, 0xc000],
      ],
    );
    assert.deepEqual(answer.nameless, [0xc000]);
    for (const { url } of answer.stored.values()) assert.ok((await retrieve(url)).length > 0);
  });

  test('text of blanks, digits, carets and backslashes by the thousand takes no more time than other text', async () => {
    const blanks = `${' '.repeat(60_000)}x`;
    for (const text of [
      blanks,
      `${'1'.repeat(60_000)}x`,
      `A${'^'.repeat(60_000)}x`,
      '\\'.repeat(60_000),
      `=${blanks}`,
    ]) {
      const value = Buffer.from(text);
      const answer = await stow(gateway, [
        makeObject([
          [0x00080008, 'CS', value],
          [0x00081030, 'LO', value],
          [0x00100010, 'PN', value],
          [0x00100020, 'LO', value],
          [0x00101010, 'AS', value],
          [0x00104000, 'LT', value],
          [0x00180015, 'CS', value],
          [0x00180050, 'DS', value],
          [0x00201208, 'IS', value],
          [0x00204000, 'LT', value],
          [0x00280030, 'DS', value],
        ]).bytes,
      ]);
      assert.ok(['stored', 'held', 'refused'].includes(outcomeOf(answer)));
    }
    await assertGood(gateway);
  });

  test('eight hostile uploads at once leave room for a good one', { timeout: 240_000 }, async () => {
    const many = withoutHostile
      ? Array.from({ length: 8 }, (_, index) => makeObject([[0x00081140, 'SQ', deepSequence(60 + index)]]).bytes)
      : cases
          .filter(([name = '', , expected]) => expected === 'limit' && name.endsWith('.dcm'))
          .slice(-8)
          .map(([name = '']) => readFileSync(join(hostile, name)));
    assert.equal(many.length, 8);
    const [, ...answers] = await Promise.all([assertGood(gateway), ...many.map((bytes) => stow(gateway, [bytes]))]);
    assert.equal(answers.length, 8);
    assert.ok(memoryMb(gateway) < MOST_MEMORY_MB, `${memoryMb(gateway)} MiB`);
  });

  test('a sender that vanishes in the middle leaves nothing behind', async () => {
    const { bytes } = makeObject();
    const body = Buffer.concat([Buffer.from('--b\r\nContent-Type: application/dicom\r\n\r\n'), bytes.subarray(0, 300)]);
    const before = await counts(gateway);
    for (let i = 0; i < 8; i++) {
      const stop = new AbortController();
      const sending = fetch(`${gateway.base}/dicom-web/studies`, {
        method: 'POST',
        headers: { 'content-type': 'multipart/related; type="application/dicom"; boundary=b' },
        body: new ReadableStream({
          start(controller) {
            controller.enqueue(new Uint8Array(body));
            setImmediate(() => stop.abort());
          },
        }),
        duplex: 'half',
        signal: stop.signal,
      } as RequestInit);
      await assert.rejects(sending);
    }
    await assertGood(gateway);
    assert.deepEqual(await counts(gateway), { ...before, stored: before.stored + 1 });
  });

  test('the process that took all this is the one that began, and named nobody in its log', () => {
    assert.equal(gateway.child.exitCode, null);
    assert.equal(gateway.child.signalCode, null);
    const log = readFileSync(gateway.logFile, 'utf8');
    for (const value of ['Hostile^File', 'Good^Object', 'GOOD-1', 'jndi', 'DROP TABLE', 'passwd'])
      assert.ok(!log.includes(value), `${value} is in the log`);
    assert.ok(!log.includes('"unexpected"'), 'an error that nobody expected is in the log');
  });
});

async function counts(gateway: GatewayProcess): Promise<{ stored: number; held: number }> {
  const [stored, held] = await Promise.all(
    ['/dicom-web/instances?limit=5000', '/api/quarantine?limit=1000'].map(async (path) => {
      const text = await (await fetch(`${gateway.base}${path}`)).text();
      return text === '' ? 0 : (JSON.parse(text) as unknown[]).length;
    }),
  );
  return { stored: stored ?? 0, held: held ?? 0 };
}

/** The value of a sequence that holds a sequence that holds … */
function deepSequence(depth: number): Buffer {
  let value = Buffer.alloc(0);
  for (let i = 0; i < depth; i++) {
    const item = Buffer.alloc(8);
    item.writeUInt32LE(0xe000fffe, 0);
    const inner =
      i === 0 ? value : Buffer.concat([Buffer.from([8, 0, 0x40, 0x11, 0x53, 0x51, 0, 0]), length(value.length), value]);
    item.writeUInt32LE(inner.length, 4);
    value = Buffer.concat([item, inner]);
  }
  return value;
}

function length(bytes: number): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32LE(bytes, 0);
  return field;
}
