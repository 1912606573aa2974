/**
 * Takes the slow shading of receive coils out of an MR series before it is aligned: divided by its own mean over some centimetres of
 * body, so that what is left are tissues and edges. For looking only: no image that leaves is made of it.
 */
import type { Volume } from '../dicom/volume.ts';
import { bodyMask, normalised, type Window } from './similarity.ts';
import { at, averaged, multiply, indexToPatient, patientToIndex, sampleLinear, walk } from './space.ts';

/** Three boxes of this radius make nearly a Gaussian. */
const RADIUS_MM = 22;
const COARSE_MM = 6;
/** Shading beyond these factors is no shading. */
const BOUNDS = [0.3, 3] as const;

export function withoutShading(volume: Volume, window: Window): Volume {
  const coarse = averaged(volume, COARSE_MM);
  const image = normalised(coarse.voxels, window);
  const body = bodyMask(image);
  let weight: Float32Array = Float32Array.from(body);
  let sum: Float32Array = image.map((value, n) => value * at(body, n));
  for (let round = 0; round < 3; round++) [weight, sum] = [blurred(weight, coarse), blurred(sum, coarse)];
  let [total, count] = [0, 0];
  for (let n = 0; n < image.length; n++) {
    if (at(body, n) === 0) continue;
    total += at(image, n);
    count += 1;
  }
  if (count === 0) return volume;
  const mean = total / count;
  const field = sum.map((value, n) => {
    const factor = at(weight, n) > 1e-4 ? value / at(weight, n) / mean : 1;
    return Math.min(BOUNDS[1], Math.max(BOUNDS[0], factor));
  });
  const voxels = new Float32Array(volume.voxels.length);
  const map = multiply(patientToIndex(coarse.geometry), indexToPatient(volume.geometry));
  walk(volume.geometry, map, (n, x, y, z) => {
    voxels[n] = window.low + (at(volume.voxels, n) - window.low) / sampleLinear(field, coarse.geometry, x, y, z);
  });
  return { ...volume, voxels };
}

/** Mean over a box, one axis after the other by running sums; beyond the edge there is nothing. */
function blurred(values: Float32Array, { geometry }: Volume): Float32Array {
  const { columns, rows, slices, spacingMm } = geometry;
  let from = values;
  const axes = [
    { step: 1, length: columns },
    { step: columns, length: rows },
    { step: columns * rows, length: slices },
  ];
  for (const [axis, { step, length }] of axes.entries()) {
    const radius = Math.round(RADIUS_MM / at(spacingMm, axis));
    if (radius < 1) continue;
    const to = new Float32Array(from.length);
    for (let begin = 0; begin < from.length; begin += step * length)
      for (let line = begin; line < begin + step; line++) {
        let sum = 0;
        for (let place = -radius; place < length; place++) {
          if (place + radius < length) sum += at(from, line + (place + radius) * step);
          if (place - radius - 1 >= 0) sum -= at(from, line + (place - radius - 1) * step);
          if (place >= 0) to[line + place * step] = sum / (2 * radius + 1);
        }
      }
    from = to;
  }
  return from;
}
