/** JPEG-LS (ITU-T T.87) by CharLS. */
import open, { type CharlsModule } from '@cornerstonejs/codec-charls/wasmjs';
import { readJpegStream, refuseOtherSize } from './codestream.ts';
import { interleave, unusable, type ImageLayout } from './image.ts';

let module: Promise<CharlsModule> | undefined;

const opened = (): Promise<CharlsModule> => (module ??= open({ print: () => undefined, printErr: () => undefined }));

/** Native little-endian, pixel after pixel; 8 or 16 bits by the precision of the stream. @throws Refusal NotAcceptable */
export async function decodeJpegLs(bytes: Buffer, layout: ImageLayout): Promise<Buffer> {
  const header = readJpegStream(bytes);
  if (header.process !== 0xf7) throw unusable('the codestream is JPEG, not JPEG-LS');
  refuseOtherSize(header, layout);
  const { JpegLSDecoder } = await opened();
  const decoder = new JpegLSDecoder();
  try {
    decoder.getEncodedBuffer(header.bytes.length).set(header.bytes);
    decoder.decode();
    const decoded = Buffer.from(decoder.getDecodedBuffer());
    const planar = header.components > 1 && decoder.getInterleaveMode() === 0;
    return planar ? interleave(decoded, header.components, header.precision > 8 ? 2 : 1) : decoded;
  } finally {
    decoder.delete();
  }
}

const BY_SAMPLE = 2;

/** Lossless. @param frame native little-endian, pixel after pixel, in bytes up to 8 bits stored */
export async function encodeJpegLs(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  const { JpegLSEncoder } = await opened();
  const encoder = new JpegLSEncoder();
  try {
    encoder
      .getDecodedBuffer({
        width: layout.columns,
        height: layout.rows,
        bitsPerSample: layout.bitsStored,
        componentCount: layout.samplesPerPixel,
      })
      .set(frame);
    encoder.setNearLossless(0);
    encoder.setInterleaveMode(layout.samplesPerPixel === 1 ? 0 : BY_SAMPLE);
    encoder.encode();
    return Buffer.from(encoder.getEncodedBuffer());
  } finally {
    encoder.delete();
  }
}
