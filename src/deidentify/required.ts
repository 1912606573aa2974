/** Attributes that an IOD requires and that de-identification cost an object: PS3.5 7.4, types 1 and 2, at any depth. */
import { findElement, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { isPrivate } from '../dicom/dictionary.ts';
import { attributeType } from '../dicom/iod.ts';
import { formatPath } from './path.ts';

export interface Lost {
  readonly sopClassUID: string;
  /** Tags of the sequences around it, then its own. */
  readonly path: string;
  readonly type: '1' | '2';
}

/**
 * What `source` has and `out` lacks: type 1 without a value, type 2 not there at all. What the source lacked as well is not counted, and
 * conditional attributes are not: whether their condition holds is the IOD's prose.
 */
export function lostRequired(sopClassUID: string, source: DataSet, out: DataSet): Lost[] {
  const lost = new Map<string, Lost>();
  compare({ sopClassUID, lost }, source, out, []);
  return [...lost.values()];
}

interface Comparison {
  readonly sopClassUID: string;
  readonly lost: Map<string, Lost>;
}

function compare(to: Comparison, source: DataSet, out: DataSet, path: readonly number[]): void {
  for (const element of source.elements) {
    if (isPrivate(element.tag) || (element.tag & 0xffff) === 0) continue;
    const here = [...path, element.tag];
    const left = findElement(out, element.tag);
    const type = attributeType(to.sopClassUID, here);
    if ((type === '1' && hasValue(element) && !hasValue(left)) || (type === '2' && left === undefined)) {
      const text = formatPath(here);
      to.lost.set(text, { sopClassUID: to.sopClassUID, path: text, type });
    }
    for (const [index, item] of (element.items ?? []).entries()) {
      const same = left?.items?.[index];
      if (same !== undefined) compare(to, item, same, here);
    }
  }
}

function hasValue(element: DataElement | undefined): boolean {
  return element !== undefined && (element.valueEnd > element.valueStart || (element.items?.length ?? 0) > 0);
}
