/**
 * What a data set has in common with another, by their bytes. The instances of a series say mostly the same: what was worked out for one
 * of them holds for the next wherever the bytes are equal.
 */
import type { DataElement, DataSet, Encoding } from './data-set.ts';

/** Bytes and places of a data set's elements, holding nothing else in memory. */
export interface Outline {
  readonly bytes: Buffer;
  readonly encoding: Encoding;
  readonly elements: readonly Pick<DataElement, 'tag' | 'start' | 'end'>[];
}

export function outlineOf({ bytes, encoding, start: first, end: last, elements }: DataSet): Outline {
  return {
    bytes: Buffer.from(bytes.subarray(first, last)),
    encoding,
    elements: elements.map(({ tag, start, end }) => ({ tag, start: start - first, end: end - first })),
  };
}

/**
 * Places of the elements of `next` that are not byte for byte those of `before`, ascending. Undefined where the two have not the same
 * attributes in the same encoding, or where one differs that may not.
 */
export function differing(
  before: Outline,
  next: DataSet,
  mayDiffer: (tag: number) => boolean,
): readonly number[] | undefined {
  const { elements } = before;
  if (elements.length !== next.elements.length || before.encoding !== next.encoding) return undefined;
  const places: number[] = [];
  // A stretch of elements that must all be equal is compared at once.
  let stretch = 0;
  const stretchIsEqual = (end: number): boolean => {
    const start = stretch;
    stretch = end;
    return start === end || equalBytes(before, next, start, end - 1);
  };
  for (let place = 0; place < elements.length; place++) {
    const [one, other] = [elements[place], next.elements[place]];
    if (one === undefined || other?.tag !== one.tag) return undefined;
    if (mayDiffer(one.tag)) {
      if (!stretchIsEqual(place)) return undefined;
      if (!equalBytes(before, next, place, place)) places.push(place);
      stretch = place + 1;
    } else if (!follows(elements, place) || !follows(next.elements, place)) {
      if (!stretchIsEqual(place)) return undefined;
    }
  }
  return stretchIsEqual(elements.length) ? places : undefined;
}

/** Elements may have come in another order than they stand here. */
function follows(elements: Outline['elements'], place: number): boolean {
  return place === 0 || elements[place - 1]?.end === elements[place]?.start;
}

function equalBytes(before: Outline, next: DataSet, first: number, last: number): boolean {
  const [from, to] = [before.elements[first]?.start ?? 0, before.elements[last]?.end ?? 0];
  const [start, end] = [next.elements[first]?.start ?? 0, next.elements[last]?.end ?? 0];
  return to - from === end - start && before.bytes.compare(next.bytes, start, end, from, to) === 0;
}
