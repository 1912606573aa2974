/** The Image Pixel Description Macro (PS3.3 table C.7-11c) of what comes compressed: completed from the stream, or held to it (PS3.18 10.5.2). */
import type { StreamImage } from '../codecs/recognise.ts';
import { contradiction, numberIn, settle, type JsonObject } from './json-object.ts';

const BITS_ALLOCATED = '00280100';

/** @throws Refusal DataSetMismatch */
export function settleImage(json: JsonObject, image: StreamImage): void {
  const { rows, columns, samplesPerPixel, precision, signed, photometricInterpretation } = image;
  const stored = numberIn(json, '00280101');
  settle(json, '00280002', 'US', samplesPerPixel);
  settle(json, '00280004', 'CS', photometricInterpretation, (found) => hasSamples(String(found), samplesPerPixel));
  settle(json, '00280010', 'US', rows);
  settle(json, '00280011', 'US', columns);
  settle(json, BITS_ALLOCATED, 'US', precision <= 8 ? 8 : 16, (found) => Number(found) >= precision);
  // Streams of more bits than are used are common; of less, they cannot hold the values.
  settle(json, '00280101', 'US', precision, (found) => Number(found) <= precision);
  settle(json, '00280102', 'US', (stored ?? precision) - 1);
  settle(json, '00280103', 'US', signed === true ? 1 : 0, (found) => found === 1 || signed !== true);
  if (samplesPerPixel > 1) settle(json, '00280006', 'US', 0, () => true);
}

function hasSamples(photometricInterpretation: string, samples: number): boolean {
  const single = ['MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR'].includes(photometricInterpretation);
  return single === (samples === 1);
}

/** Of a stream that says nothing of its image. @throws Refusal DataSetMismatch */
export function requireImage(json: JsonObject): void {
  for (const key of ['00280002', '00280010', '00280011', BITS_ALLOCATED])
    if (numberIn(json, key) === undefined) throw contradiction(key);
}
