/** What a frame looks like once it is native (PS3.5 section 8, PS3.3 C.7.6.3.1): the measure that every codec is held to. */
import { asciiValue, findElement, numberValue, type DataSet } from './data-set.ts';
import { Refusal } from './refusal.ts';

/** Of one frame; plain data, so that it can go to a worker thread. */
export interface ImageLayout {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly bitsAllocated: number;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  /** True: Planar Configuration 1, all of one sample before the next. */
  readonly planar: boolean;
  readonly photometricInterpretation: string;
}

/** Of a frame when it is decoded: a 16-bit image of 16384 x 16384. */
const MOST_FRAME_BYTES = 512 * 2 ** 20;

/** @throws Refusal NotAcceptable for what is no image or one that no frame can be made of */
export function imageLayout(dataSet: DataSet): ImageLayout {
  const bitsAllocated = numberValue(dataSet, 0x00280100) ?? floatBits(dataSet);
  const bitsStored = numberValue(dataSet, 0x00280101) ?? bitsAllocated;
  const layout: ImageLayout = {
    rows: numberValue(dataSet, 0x00280010) ?? 0,
    columns: numberValue(dataSet, 0x00280011) ?? 0,
    samplesPerPixel: numberValue(dataSet, 0x00280002) ?? 1,
    bitsAllocated,
    bitsStored,
    highBit: numberValue(dataSet, 0x00280102) ?? bitsStored - 1,
    signed: numberValue(dataSet, 0x00280103) === 1,
    planar: numberValue(dataSet, 0x00280006) === 1,
    photometricInterpretation: asciiValue(dataSet, 0x00280004) ?? 'MONOCHROME2',
  };
  refuseImpossible(layout);
  return layout;
}

function floatBits(dataSet: DataSet): number {
  return findElement(dataSet, 0x7fe00009) === undefined ? 0 : 64;
}

function refuseImpossible(layout: ImageLayout): void {
  const { rows, columns, samplesPerPixel, bitsAllocated, bitsStored, highBit } = layout;
  if (![rows, columns].every((count) => Number.isInteger(count) && count >= 1 && count <= 65_535))
    throw unusable(`Rows (0028,0010) is ${rows} and Columns (0028,0011) ${columns}; an image needs 1 to 65535 of each`);
  if (![1, 3, 4].includes(samplesPerPixel))
    throw unusable(`Samples per Pixel (0028,0002) is ${samplesPerPixel}; 1, 3 or 4 are defined`);
  if (![1, 8, 16, 32, 64].includes(bitsAllocated))
    throw unusable(`Bits Allocated (0028,0100) is ${bitsAllocated}; 1, 8, 16, 32 or 64 are read`);
  if (bitsStored < 1 || bitsStored > bitsAllocated || highBit >= bitsAllocated || highBit < bitsStored - 1)
    throw unusable(
      `Bits Stored (0028,0101) ${bitsStored} and High Bit (0028,0102) ${highBit} do not fit into Bits Allocated (0028,0100) ${bitsAllocated}`,
    );
  const lengthBytes = frameBytes(layout);
  if (lengthBytes > MOST_FRAME_BYTES)
    throw unusable(`a frame is ${lengthBytes} bytes when decoded; at most ${MOST_FRAME_BYTES} are`);
}

/** Bytes of a native frame, not padded; a frame of single bits ends with unused bits. */
export function frameBytes({ rows, columns, samplesPerPixel, bitsAllocated }: ImageLayout): number {
  return Math.ceil((rows * columns * samplesPerPixel * bitsAllocated) / 8);
}

/** The pixels cannot be had in another form than the stored one. */
export function unusable(sentence: string): Refusal {
  return new Refusal('NotAcceptable', sentence);
}
