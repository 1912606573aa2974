/** How a stored series lies and how it was taken, as pairing wants to know it: from the metadata of its first and last image. */
import type { SeriesShape } from '../routing/pairs.ts';
import type { Archive } from './handle.ts';
import { instancesOf } from './instance-rows.ts';
import { metadataOf } from './metadata.ts';

interface Element {
  readonly Value?: readonly unknown[];
}
type Metadata = Readonly<Record<string, Element>>;

/** Undefined where there is no such series. */
export function seriesShape(
  archive: Pick<Archive, 'database'>,
  name: { readonly studyInstanceUID: string; readonly seriesInstanceUID: string },
): SeriesShape | undefined {
  const instances = instancesOf(archive, name);
  const [first, last] = [instances[0], instances.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const read = (sopInstanceUID: string): Metadata => {
    for (const text of metadataOf(archive, { ...name, sopInstanceUID })) return JSON.parse(text) as Metadata;
    return {};
  };
  const begin = read(first.sopInstanceUID);
  const end = last === first ? begin : read(last.sopInstanceUID);
  const cosines = numbers(begin, '00200037');
  const [x1, x2, x3, y1, y2, y3] = cosines;
  const [from, to] = [pointOf(begin), pointOf(end)];
  const spacing = numbers(begin, '00280030');
  const steps = instances.length - 1;
  const apart =
    from === undefined || to === undefined ? 0 : Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
  return {
    orientation:
      x1 === undefined ||
      x2 === undefined ||
      x3 === undefined ||
      y1 === undefined ||
      y2 === undefined ||
      y3 === undefined
        ? undefined
        : [
            [x1, x2, x3],
            [y1, y2, y3],
          ],
    firstMm: from,
    lastMm: to,
    pixelSpacingMm: spacing[0] === undefined || spacing[1] === undefined ? undefined : [spacing[0], spacing[1]],
    sliceSpacingMm: steps > 0 && apart > 0 ? apart / steps : numbers(begin, '00180088')[0],
    rows: numbers(begin, '00280010')[0],
    columns: numbers(begin, '00280011')[0],
    imageType: texts(begin, '00080008'),
    contrastAgent: texts(begin, '00180010').some((agent) => agent !== '') || begin['00180012'] !== undefined,
    reconstructionDiameterMm: numbers(begin, '00181100')[0],
    exposureMas: numbers(begin, '00181152')[0],
    acquiredAt: momentOf(begin),
  };
}

function numbers(metadata: Metadata, key: string): number[] {
  return (metadata[key]?.Value ?? []).map(Number).filter(Number.isFinite);
}

function texts(metadata: Metadata, key: string): string[] {
  return (metadata[key]?.Value ?? []).filter((value) => typeof value === 'string');
}

function pointOf(metadata: Metadata): readonly [number, number, number] | undefined {
  const [x, y, z] = numbers(metadata, '00200032');
  return x === undefined || y === undefined || z === undefined ? undefined : [x, y, z];
}

/** Acquisition date and time, else those of the series. */
function momentOf(metadata: Metadata): number | undefined {
  for (const [date, time] of [
    ['00080022', '00080032'],
    ['00080021', '00080031'],
  ] as const) {
    const [day, clock] = [texts(metadata, date)[0], texts(metadata, time)[0]];
    const found = /^(\d{4})(\d{2})(\d{2})$/.exec(day ?? '');
    const at = /^(\d{2})(\d{2})(\d{2})?/.exec(clock ?? '');
    if (found === null || at === null) continue;
    const [year, month, of] = found.slice(1).map(Number) as [number, number, number];
    return Date.UTC(year, month - 1, of, Number(at[1]), Number(at[2]), Number(at[3] ?? 0));
  }
  return undefined;
}
