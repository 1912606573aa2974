/** PNG and GIF as pixel data: no transfer syntax has them, so that they are decoded, without loss (PS3.18 table 10.5.2-1). */
import { readPicture, type CodecPool } from '../codecs/pool.ts';
import type { PictureLayout } from '../codecs/picture.ts';
import { Refusal } from '../dicom/refusal.ts';
import { numberIn, settle, type JsonObject } from './json-object.ts';
import type { BulkPart } from './stow-parts.ts';
import { keep, readWhole, type Kept, type Spool } from './spool.ts';

const MOST_COMPRESSED_BYTES = 64 * 2 ** 20;
const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The decoded frames, kept aside; `json` gets the attributes that they settle. @throws Refusal CannotUnderstand, DataSetMismatch, TooLarge */
export async function decodedPicture(
  { spool, codecs }: { readonly spool: Spool; readonly codecs: CodecPool },
  json: JsonObject,
  mediaType: string,
  parts: readonly BulkPart[],
): Promise<Kept[]> {
  let layout: PictureLayout | undefined;
  let frames = 0;
  const decoded: Kept[] = [];
  for (const { kept } of parts) {
    if (kept.lengthBytes > MOST_COMPRESSED_BYTES)
      throw new Refusal('TooLarge', `a picture is longer than ${MOST_COMPRESSED_BYTES} bytes`);
    const bytes = await readWhole(spool, kept);
    const own = mediaType === 'image/png' ? pngLayout(bytes) : gifLayout(bytes);
    if (layout !== undefined && JSON.stringify(layout) !== JSON.stringify(own))
      throw new Refusal('DataSetMismatch', 'the frames of pixel data are not of one size');
    layout = own;
    const native = await readPicture(codecs, bytes, own).catch(asSent);
    frames += (8 * native.length) / (own.rows * own.columns * own.samplesPerPixel * own.bitsAllocated);
    decoded.push(await keep(spool, once(native)));
  }
  if (layout !== undefined) settlePicture(json, layout, frames);
  return decoded;
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function asSent(error: unknown): never {
  if (error instanceof Refusal && error.reason === 'NotAcceptable')
    throw new Refusal('CannotUnderstand', `bulk data: ${error.message}`);
  throw error;
}

function settlePicture(
  json: JsonObject,
  { rows, columns, samplesPerPixel, bitsAllocated }: PictureLayout,
  frames: number,
): void {
  const stored = numberIn(json, '00280101') ?? bitsAllocated;
  const colours = samplesPerPixel === 3 ? ['RGB'] : ['MONOCHROME2', 'MONOCHROME1'];
  settle(json, '00280002', 'US', samplesPerPixel);
  settle(json, '00280004', 'CS', colours[0] ?? '', (found) => colours.includes(String(found)));
  if (samplesPerPixel === 3) settle(json, '00280006', 'US', 0);
  if (frames > 1 || numberIn(json, '00280008') !== undefined) settle(json, '00280008', 'IS', frames);
  settle(json, '00280010', 'US', rows);
  settle(json, '00280011', 'US', columns);
  settle(json, '00280100', 'US', bitsAllocated);
  settle(json, '00280101', 'US', bitsAllocated, (found) => Number(found) <= bitsAllocated);
  settle(json, '00280102', 'US', stored - 1);
  settle(json, '00280103', 'US', 0, (found) => found === 0 || found === 1);
}

/** IHDR (PNG 11.2.2): a palette becomes three samples, an alpha channel goes. */
function pngLayout(bytes: Buffer): PictureLayout {
  if (bytes.length < 33 || !bytes.subarray(0, 8).equals(PNG_SIGNATURE) || bytes.toString('latin1', 12, 16) !== 'IHDR')
    throw new Refusal('CannotUnderstand', 'bulk data: no PNG');
  const colour = bytes[25] ?? 0;
  return sized({
    columns: bytes.readUInt32BE(16),
    rows: bytes.readUInt32BE(20),
    samplesPerPixel: colour === 0 || colour === 4 ? 1 : 3,
    bitsAllocated: bytes[24] === 16 ? 16 : 8,
  });
}

/** The logical screen, which every picture of a moving GIF fills. */
function gifLayout(bytes: Buffer): PictureLayout {
  if (bytes.length < 13 || !/^GIF8[79]a$/.test(bytes.toString('latin1', 0, 6)))
    throw new Refusal('CannotUnderstand', 'bulk data: no GIF');
  return sized({ columns: bytes.readUInt16LE(6), rows: bytes.readUInt16LE(8), samplesPerPixel: 3, bitsAllocated: 8 });
}

function sized(layout: PictureLayout): PictureLayout {
  const { rows, columns } = layout;
  if (rows < 1 || columns < 1 || rows > 65_535 || columns > 65_535)
    throw new Refusal(
      'CannotUnderstand',
      `bulk data: a picture of ${columns} x ${rows}; an image has 1 to 65535 of each`,
    );
  return layout;
}
