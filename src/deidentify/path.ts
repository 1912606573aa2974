/** Where an attribute stands, for people. */
import { formatTag } from '../dicom/data-set.ts';

/** Tags of the sequences around it, outermost first, then its own. */
export function formatPath(path: readonly number[]): string {
  return path.map(formatTag).join(' > ');
}
