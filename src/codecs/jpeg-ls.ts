/** JPEG-LS (ITU-T T.87) by CharLS. */
import open, { type CharlsModule } from '@cornerstonejs/codec-charls/wasmjs';
import { readJpegStream, refuseOtherSize } from './codestream.ts';
import { interleave, unusable, type ImageLayout } from './image.ts';
import { decodeBy, encodeBy } from './wasm-codec.ts';

let module: Promise<CharlsModule> | undefined;

const opened = (): Promise<CharlsModule> => (module ??= open({ print: () => undefined, printErr: () => undefined }));

/** Native little-endian, pixel after pixel; 8 or 16 bits by the precision of the stream. @throws Refusal NotAcceptable */
export async function decodeJpegLs(bytes: Buffer, layout: ImageLayout): Promise<Buffer> {
  const header = readJpegStream(bytes);
  if (header.process !== 0xf7) throw unusable('the codestream is JPEG, not JPEG-LS');
  refuseOtherSize(header, layout);
  const { JpegLSDecoder } = await opened();
  const { samples, told } = decodeBy(new JpegLSDecoder(), header.bytes, (decoder) => decoder.getInterleaveMode());
  const planar = header.components > 1 && told === 0;
  return planar ? interleave(samples, header.components, header.precision > 8 ? 2 : 1) : samples;
}

const BY_SAMPLE = 2;

/** Lossless. @param frame native little-endian, pixel after pixel, in bytes up to 8 bits stored */
export async function encodeJpegLs(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  const { JpegLSEncoder } = await opened();
  const info = {
    width: layout.columns,
    height: layout.rows,
    bitsPerSample: layout.bitsStored,
    componentCount: layout.samplesPerPixel,
  };
  return encodeBy(new JpegLSEncoder(), frame, info, (encoder) => {
    encoder.setNearLossless(0);
    encoder.setInterleaveMode(layout.samplesPerPixel === 1 ? 0 : BY_SAMPLE);
  });
}
