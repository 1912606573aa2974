/** High-Throughput JPEG 2000 (ITU-T T.814) by OpenJPH. */
import open, { type OpenjphModule } from '@cornerstonejs/codec-openjph/wasmjs';
import { readJpeg2000Stream, refuseOtherSize } from './codestream.ts';
import { unusable, type ImageLayout } from './image.ts';
import { decodeBy, encodeBy, wavelet } from './wasm-codec.ts';

let module: Promise<OpenjphModule> | undefined;

const opened = (): Promise<OpenjphModule> => (module ??= open({ print: () => undefined, printErr: () => undefined }));

// The codec does not give back what it was given.
const WIDE_COLOUR = 'colour of more than 8 bits a sample is not put through HTJ2K';

/** Native little-endian, pixel after pixel, colour as RGB; 8 or 16 bits by the precision of the stream. @throws Refusal NotAcceptable */
export async function decodeHtj2k(bytes: Buffer, layout: ImageLayout): Promise<Buffer> {
  const header = readJpeg2000Stream(bytes);
  refuseOtherSize(header, layout);
  if (header.precision > 16)
    throw unusable(`the HTJ2K codestream has ${header.precision} bits a sample; up to 16 are read`);
  if (header.components > 1 && header.precision > 8) throw unusable(WIDE_COLOUR);
  const { HTJ2KDecoder } = await opened();
  return decodeBy(new HTJ2KDecoder(), header.bytes).samples;
}

/** Reversible. @param frame native little-endian, pixel after pixel, in bytes up to 8 bits stored */
export async function encodeHtj2k(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  if (layout.samplesPerPixel > 1 && layout.bitsAllocated > 8) throw unusable(WIDE_COLOUR);
  const { HTJ2KEncoder } = await opened();
  return encodeBy(new HTJ2KEncoder(), frame, wavelet(layout), (encoder) => encoder.setQuality(true, 0));
}
