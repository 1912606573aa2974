/** JPEG baseline, extended and lossless (ITU-T T.81), by the IJG code in dcmjs-codecs; its JPEG-LS and JPEG 2000 are not used. */
import dcmjsCodecs from 'dcmjs-codecs';
import { readJpegStream, refuseOtherSize, type StreamHeader } from './codestream.ts';
import { frameBytes, unusable, type ImageLayout } from './image.ts';

const { Context, NativeCodecs, log } = dcmjsCodecs;

let ready: Promise<void> | undefined;

function open(): Promise<void> {
  // Its messages could repeat what a header says.
  log.setLevel('silent');
  return (ready ??= NativeCodecs.initializeAsync({ logCodecsInfo: false, logCodecsTrace: false }));
}

/** Sequential Huffman, 8 or 12 bits, and lossless Huffman: SOF0, SOF1, SOF3. Progressive ones are retired (PS3.5 A.4.1). */
const PROCESSES: ReadonlySet<number> = new Set([0xc0, 0xc1, 0xc3]);

/**
 * Native little-endian, pixel after pixel; colour that JPEG holds as YCbCr becomes RGB.
 * @throws Refusal NotAcceptable when the stream breaks off or is of another image than the layout
 */
export async function decodeJpeg(bytes: Buffer, layout: ImageLayout): Promise<Buffer> {
  const header = readJpegStream(bytes);
  if (!PROCESSES.has(header.process)) throw unusable(`JPEG process SOF${header.process - 0xc0} is not decoded`);
  if (header.precision > layout.bitsAllocated)
    throw unusable(
      `the JPEG has ${header.precision} bits a sample; Bits Allocated (0028,0100) is ${layout.bitsAllocated}`,
    );
  refuseOtherSize(header, layout);
  await open();
  const colour = header.components === 3 && isYcbcr(header, layout);
  const context = new Context({
    width: header.columns,
    height: header.rows,
    bitsAllocated: header.precision > 8 ? 16 : 8,
    bitsStored: header.precision,
    samplesPerPixel: header.components,
    pixelRepresentation: 0,
    planarConfiguration: 0,
    photometricInterpretation: header.components === 1 ? 'MONOCHROME2' : colour ? 'YBR_FULL' : 'RGB',
    encodedBuffer: header.bytes,
  });
  const decoded = NativeCodecs.decodeJpeg(context, { convertColorspaceToRgb: colour }).getDecodedBuffer();
  return Buffer.from(decoded ?? new Uint8Array());
}

/** Lossless streams are as the object says; in lossy ones Adobe's marker and component ids R, G, B tell otherwise. */
export function isYcbcr(header: StreamHeader, { photometricInterpretation }: ImageLayout): boolean {
  if (header.process === 0xc3) return photometricInterpretation.startsWith('YBR');
  if (header.adobeTransform !== undefined) return header.adobeTransform !== 0;
  if (String.fromCharCode(...header.componentIds) === 'RGB') return false;
  // Subsampled chrominance cannot be RGB, whatever the object says.
  const subsampled = header.sampling.some((factor) => factor !== header.sampling[0]);
  return subsampled || photometricInterpretation !== 'RGB';
}

/** Process 14, first-order prediction. @param frame native little-endian, pixel after pixel, in bytes up to 8 bits stored */
export async function encodeJpegLossless(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  await open();
  const context = new Context({
    width: layout.columns,
    height: layout.rows,
    bitsAllocated: layout.bitsAllocated,
    bitsStored: layout.bitsStored,
    samplesPerPixel: layout.samplesPerPixel,
    pixelRepresentation: 0,
    planarConfiguration: 0,
    photometricInterpretation: layout.samplesPerPixel === 1 ? 'MONOCHROME2' : 'RGB',
    decodedBuffer: frame,
  });
  const encoded = NativeCodecs.encodeJpeg(context, {
    lossy: false,
    predictor: 1,
    pointTransform: 0,
  }).getEncodedBuffer();
  if (encoded === undefined || encoded.length === 0) throw new Error(`no JPEG from ${frameBytes(layout)} bytes`);
  return Buffer.from(encoded);
}
