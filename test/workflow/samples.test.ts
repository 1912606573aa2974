/**
 * Every file of the samples through a real gateway: by C-STORE from dcmtk and by STOW-RS. What is sent is stored, held in quarantine or
 * refused by name; the counts add up; what is stored comes back with the pixels of its source.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readObject } from '../../src/dicom/part10.ts';
import type { PixelDataHeader } from '../../src/dicom/object.ts';
import { transferSyntax } from '../../src/dicom/transfer-syntax.ts';
import { VR_TRAITS } from '../../src/dicom/vr.ts';
import { swapWords } from '../../src/dicom/writer.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { retrieve, sampleFiles, stow, storescu, withoutSamples, type Heard, type SampleFile } from './sample-files.ts';

const withoutDcmtk =
  spawnSync('storescu', ['--version'], { stdio: 'ignore' }).error === undefined
    ? false
    : 'storescu is not installed (Debian package dcmtk)';

/** dcmtk 3.6.7 itself does not send these; all but the damaged ones go by STOW-RS. */
const NOT_SENT_BY_DCMTK: Readonly<Record<string, RegExp>> = {
  // No SOP Instance UID.
  'oddities/dwv_sr/dwv034/sr-arrow.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-circle.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-ellipse.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-protractor.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-rectangle.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-roi.dcm': /No SOP Class or Instance UID/,
  'oddities/dwv_sr/dwv034/sr-ruler.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_data/JLSL_RGB_ILV0.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_data/JLSL_RGB_ILV1.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_data/JLSL_RGB_ILV2.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_data/JLSN_RGB_ILV0.dcm': /No SOP Class or Instance UID/,
  // It does not find the UIDs in these, which are there: an unusual order and UN for everything.
  'oddities/pydicom_data/explicit_VR-UN.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_test_files/rtdose_rle.dcm': /No SOP Class or Instance UID/,
  'oddities/pydicom_test_files/rtdose_rle_1frame.dcm': /No SOP Class or Instance UID/,
  // Cut short, or Implicit VR where the syntax is compressed.
  'oddities/misc/3gb-bulk-data-truncated': /Bad DICOM file/,
  'oddities/pydicom_test_files/MR_truncated.dcm': /Bad DICOM file/,
  'oddities/pydicom_test_files/SC_rgb_jpeg.dcm': /Bad DICOM file/,
  'oddities/pydicom_data/emri_small_jpeg_2k_lossless_too_short.dcm': /Bad DICOM file/,
  // Transfer syntaxes younger than it.
  'oddities/misc/will-jxl.dcm': /Failed to receive message|Store Failed/,
  'oddities/pydicom_data/HTJ2KLossless_08_RGB.dcm': /Failed to receive message|Store Failed/,
  'oddities/pydicom_data/liver_deflate.dcm': /Failed to receive message|Store Failed/,
  'oddities/pydicom_data/liver_nonbyte_aligned_deflate.dcm': /Failed to receive message|Store Failed/,
};

/** Refused by C-STORE, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  // The Affected SOP Instance UID is no UID (PS3.7 9.1.1.1.2).
  'oddities/pydicom_data/bad_sequence.dcm': 'Unknown Status: 0x106',
};

/** Refused by STOW-RS because bytes are missing. */
const DAMAGED = [
  'oddities/pydicom_test_files/MR_truncated.dcm',
  'oddities/pydicom_data/emri_small_jpeg_2k_lossless_too_short.dcm',
  'oddities/pydicom_test_files/rtplan_truncated.dcm',
];

/** storescu sends another value than the file holds: blanks inside Image Type are dropped. */
const CHANGED_BY_DCMTK = ['oddities/pydicom_test_files/SC_rgb_gdcm_KY.dcm'];

const DUPLICATE = 0x0111;

test(
  'every sample is stored, held or refused by name, the counts add up, and the pixels come back',
  { skip: withoutSamples || withoutDcmtk, timeout: 600_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-samples-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const gateway = await startGateway({
      folder: join(folder, 'gateway'),
      log: 'file',
      gateway: 'completion: { quietSeconds: 3600 }\n',
      nodes: 'nodes: {}\n',
      rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: trial, profile: basic }
processing: []
`,
    });
    t.after(() => gateway.stop());
    const files = await sampleFiles();
    assert.ok(files.length > 1000, `${files.length} files`);

    const sent = await sendAll(gateway, folder, files);
    assert.equal(await storedCount(gateway), sent.stored.size);
    assert.equal(await heldCount(gateway), sent.held);

    const stowed = await stowAll(gateway, files, sent);
    assert.equal(await storedCount(gateway), stowed.urls.size + CHANGED_BY_DCMTK.length);
    assert.equal(await heldCount(gateway), sent.held + stowed.held);

    const compared = await comparePixels(stowed.urls);
    assert.deepEqual(compared.differences, []);
    t.diagnostic(
      `${files.length} files: by C-STORE ${sent.stored.size} instances, ${sent.again} sent again, ${sent.duplicates} duplicates, ` +
        `${sent.held} held; by STOW-RS ${stowed.urls.size + CHANGED_BY_DCMTK.length - sent.stored.size} more, ${stowed.held} held; ${compared.identical} bodies identical, ` +
        `${compared.cleaned} without comments`,
    );
    logNamesNobody(t, gateway);
  },
);

interface Sent {
  /** The file that was stored, by its SOP Instance UID. */
  readonly stored: Map<string, SampleFile>;
  readonly held: number;
  /** The same object once more: answered with success, stored once. */
  readonly again: number;
  readonly duplicates: number;
}

/** By C-STORE, one association for each transfer syntax. */
async function sendAll(gateway: GatewayProcess, folder: string, files: readonly SampleFile[]): Promise<Sent> {
  const stored = new Map<string, SampleFile>();
  let held = 0;
  let again = 0;
  let duplicates = 0;
  const strange: string[] = [];
  for (const group of Map.groupBy(files.filter(isReadable), ({ transferSyntaxUID }) => transferSyntaxUID).values()) {
    const heard: Heard = await storescu(gateway.dimsePort, folder, group);
    for (const file of group) {
      const answer = heard.get(file.path) ?? '';
      const { name, sopInstanceUID } = file;
      if (answer === 'Success') {
        if (stored.has(sopInstanceUID)) again++;
        else stored.set(sopInstanceUID, file);
      } else if (answer === 'Unknown Status: 0x111' && stored.has(sopInstanceUID)) duplicates++;
      else if (answer.startsWith('Warning')) held++;
      else if (REFUSED[name] !== answer && NOT_SENT_BY_DCMTK[name]?.test(answer) !== true)
        strange.push(`${name}: ${answer}`);
    }
  }
  assert.deepEqual(strange, []);
  return { stored, held, again, duplicates };
}

function isReadable({ unreadable }: SampleFile): boolean {
  return unreadable === undefined;
}

interface StowedAll {
  /** Where each stored object is retrieved from. */
  readonly urls: Map<SampleFile, string>;
  readonly held: number;
}

/** Each stored object again, which changes nothing, and all that dcmtk did not send. */
async function stowAll(gateway: GatewayProcess, files: readonly SampleFile[], sent: Sent): Promise<StowedAll> {
  const urls = new Map<SampleFile, string>();
  let held = 0;
  const strange: string[] = [];
  const others = files.filter(({ name }) => name in NOT_SENT_BY_DCMTK || name in REFUSED || DAMAGED.includes(name));
  const take = async (part: readonly SampleFile[]): Promise<void> => {
    const answer = await stow(
      gateway,
      part.map(({ path }) => readFileSync(path)),
    );
    for (const file of part) {
      const result = answer.stored.get(file.sopInstanceUID);
      if (result !== undefined && result.warning !== 0xb000) urls.set(file, result.url);
      else if (result !== undefined) held++;
      else if (DAMAGED.includes(file.name)) held++;
      else if (answer.failed.get(file.sopInstanceUID) !== DUPLICATE || !sent.stored.has(file.sopInstanceUID))
        strange.push(file.name);
    }
  };
  const known = [...sent.stored.values()];
  for (let at = 0; at < known.length; at += 50) await take(known.slice(at, at + 50));
  for (const file of others) await take([file]);
  assert.deepEqual(strange, []);
  assert.deepEqual(
    known.filter((file) => !urls.has(file)).map(({ name }) => name),
    CHANGED_BY_DCMTK,
    'an object that came by C-STORE is the same by STOW-RS',
  );
  return { urls, held };
}

async function storedCount(gateway: GatewayProcess): Promise<number> {
  const reply = await fetch(`${gateway.base}/dicom-web/instances?limit=5000`);
  return ((await reply.json()) as unknown[]).length;
}

async function heldCount(gateway: GatewayProcess): Promise<number> {
  const reply = await fetch(`${gateway.base}/api/quarantine?limit=1000`);
  const held = (await reply.json()) as { readonly arrivals: number }[];
  return held.reduce((sum, { arrivals }) => sum + arrivals, 0);
}

interface Compared {
  identical: number;
  /** Identical but for comments in compressed frames. */
  cleaned: number;
  readonly differences: string[];
}

async function comparePixels(urls: ReadonlyMap<SampleFile, string>): Promise<Compared> {
  const compared: Compared = { identical: 0, cleaned: 0, differences: [] };
  for (const [file, url] of urls) {
    const source = await pixelsOf(readFileSync(file.path));
    const stored = await pixelsOf(await retrieve(url));
    const encapsulated = transferSyntax(file.transferSyntaxUID)?.encapsulated === true;
    if (encapsulated && stored.transferSyntaxUID !== file.transferSyntaxUID)
      compared.differences.push(`${file.name}: ${stored.transferSyntaxUID}`);
    else if (source.value.equals(stored.value)) compared.identical++;
    else if (encapsulated && differsInComments(source.value, stored.value)) compared.cleaned++;
    else compared.differences.push(file.name);
  }
  return compared;
}

async function pixelsOf(bytes: Buffer): Promise<{ value: Buffer; transferSyntaxUID: string }> {
  const { head, body } = await readObject(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const value = Buffer.concat(chunks);
  if (head.pixelData?.lengthBytes === undefined) return { value, transferSyntaxUID: head.transferSyntaxUID };
  const little = head.dataSet.encoding === 'explicit-be' ? turned(value, head.pixelData) : value;
  const even = value.length % 2 === 0 ? little : Buffer.concat([little, Buffer.alloc(1)]);
  return { value: even, transferSyntaxUID: head.transferSyntaxUID };
}

function turned(value: Buffer, { vr }: PixelDataHeader): Buffer {
  return swapWords(Buffer.from(value), VR_TRAITS[vr].wordBytes);
}

/** Equal but for zeros in place of the contents of COM and APPn segments of JPEG, COM segments of JPEG 2000 and what follows an image. */
function differsInComments(source: Buffer, stored: Buffer): boolean {
  if (source.length !== stored.length) return false;
  let commentEnd = 0;
  for (let at = 0; at < source.length; at++) {
    if (isComment(source, at)) commentEnd = Math.max(commentEnd, at + 2 + source.readUInt16BE(at + 2));
    if (source[at] === 0xff && source[at + 1] === 0xd9) commentEnd = Math.max(commentEnd, fragmentEnd(source, at + 2));
    if (source[at] !== stored[at] && (at >= commentEnd || stored[at] !== 0)) return false;
  }
  return true;
}

/** Up to the next item of encapsulated pixel data, or its delimitation. */
function fragmentEnd(value: Buffer, from: number): number {
  const ends = [0x00, 0xdd].map((element) => value.indexOf(Buffer.from([0xfe, 0xff, element, 0xe0]), from));
  return Math.min(...ends.filter((end) => end >= 0), value.length);
}

function isComment(value: Buffer, at: number): boolean {
  const marker = value[at + 1] ?? 0;
  if (value[at] !== 0xff || (marker !== 0x64 && marker !== 0xfe && (marker & 0xf0) !== 0xe0)) return false;
  return at + 4 <= value.length && at + 2 + value.readUInt16BE(at + 2) <= value.length;
}

function logNamesNobody(t: TestContext, gateway: GatewayProcess): void {
  const log = readFileSync(gateway.logFile, 'utf8');
  t.diagnostic(`${log.split('\n').length} lines of log`);
  for (const name of ['CompressedSamples', 'Anonymized^', 'Lestrade', 'Last^First'])
    assert.ok(!log.includes(name), 'a patient is named in the log');
}
