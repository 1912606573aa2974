/** What is true of a source stays true of all that is made of it. */
import { asciiValue, asciiValues } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { isLossy } from '../dicom/loss.ts';
import type { Head } from '../dicom/object.ts';
import type { Item } from './attributes.ts';

/** Text burned into one source may show in any slice made of all. */
export function inheritedText(heads: readonly Head[]): 'YES' | 'NO' {
  return heads.some(({ dataSet }) => asciiValue(dataSet, tag('BurnedInAnnotation')) === 'YES') ? 'YES' : 'NO';
}

/** What was once lossy stays so, as the first of these tells it (PS3.3 C.7.6.1.1.5); empty where nothing was. */
export function inheritedLoss(heads: readonly Head[]): Item {
  const lossy = heads.find(isLossy);
  if (lossy === undefined) return {};
  const details = ['LossyImageCompressionRatio', 'LossyImageCompressionMethod'].map(
    (keyword) => [keyword, asciiValues(lossy.dataSet, tag(keyword))] as const,
  );
  return { LossyImageCompression: '01', ...Object.fromEntries(details.filter(([, list]) => list.length > 0)) };
}
