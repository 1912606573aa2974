/** JPEG 2000 part 1 (ITU-T T.800) by OpenJPEG. */
import open, { type OpenjpegModule } from '@cornerstonejs/codec-openjpeg/wasmjs';
import { readJpeg2000Stream, refuseOtherSize } from './codestream.ts';
import { decompositions, unusable, type ImageLayout } from './image.ts';
import { decodeBy, encodeBy, wavelet } from './wasm-codec.ts';

let module: Promise<OpenjpegModule> | undefined;

const opened = (): Promise<OpenjpegModule> => (module ??= open({ print: () => undefined, printErr: () => undefined }));

// The codec takes them for unsigned ones.
const SIGNED_BYTES = 'signed samples of 8 bits are not put through JPEG 2000';

/** Native little-endian, pixel after pixel, colour as RGB; 8 or 16 bits by the precision of the stream. @throws Refusal NotAcceptable */
export async function decodeJpeg2000(bytes: Buffer, layout: ImageLayout): Promise<Buffer> {
  const header = readJpeg2000Stream(bytes);
  refuseOtherSize(header, layout);
  if (header.precision > 16)
    throw unusable(`the JPEG 2000 codestream has ${header.precision} bits a sample; up to 16 are read`);
  if (header.signed && header.precision <= 8) throw unusable(SIGNED_BYTES);
  const { J2KDecoder } = await opened();
  return decodeBy(new J2KDecoder(), header.bytes).samples;
}

/** Reversible. @param frame native little-endian, pixel after pixel, in bytes up to 8 bits stored */
export async function encodeJpeg2000(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  if (layout.signed && layout.bitsAllocated === 8) throw unusable(SIGNED_BYTES);
  if (layout.samplesPerPixel > 1 && layout.bitsAllocated > 8)
    throw unusable('colour of more than 8 bits a sample is not put through JPEG 2000');
  const { J2KEncoder } = await opened();
  return encodeBy(new J2KEncoder(), frame, wavelet(layout), (encoder) => {
    encoder.setDecompositions(decompositions(layout));
    encoder.setQuality(true, 0);
  });
}
