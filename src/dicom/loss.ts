/** What an image lost by compression, at whatever point of its life (PS3.3 C.7.6.1.1.5). */
import { asciiValue, numberValues } from './data-set.ts';
import type { Head } from './object.ts';

const LOSSY_IMAGE_COMPRESSION = 0x00282110;
const RATIO = 0x00282112;

export function isLossy({ dataSet }: Head): boolean {
  return asciiValue(dataSet, LOSSY_IMAGE_COMPRESSION) === '01';
}

/** How many times smaller it was made, 1 where nothing was lost; of several steps the strongest; not a number where none is told. */
export function lossyRatio(head: Head): number {
  if (!isLossy(head)) return 1;
  const told = numberValues(head.dataSet, RATIO);
  return told.length === 0 ? NaN : Math.max(...told);
}
