/**
 * A series that holds several volumes (time points, b-values, echoes, stacks, heart phases) told apart: each part has one plane at a
 * place. Nothing here reads pixels.
 */
import type { Plane, Variant, Vector3 } from './slices.ts';

export interface Part {
  /** What this volume is among the others, e.g. `time point 2 of 5`; empty where there is one volume alone. */
  readonly label: string;
  /** What the volumes of the series were told apart by, the outermost first. */
  readonly by: readonly (keyof Variant)[];
  readonly planes: readonly Plane[];
}

const WORDS: Readonly<Record<keyof Variant, string>> = {
  stack: 'stack',
  temporalPosition: 'time point',
  bValue: 'b-value',
  echo: 'echo',
  gradient: 'diffusion direction',
  kind: 'kind of image',
  acquisition: 'acquisition',
  trigger: 'phase',
  time: 'time point',
};

/** Always different volumes where their values differ. */
const ALWAYS = ['stack', 'temporalPosition', 'bValue'] as const;
/** Different volumes where they share their places: a long CT may well have several acquisitions. */
const AT_ONE_PLACE = ['echo', 'gradient', 'kind', 'acquisition'] as const;
/** As above, but compared within one place alone: each slice of a heart phase has its own trigger time. */
const BY_RANK = ['trigger', 'time'] as const;

/** The volumes in the order of what tells them apart; planes that nothing tells apart stay together, for the grid to refuse. */
export function partsOf(planes: readonly Plane[]): Part[] {
  let parts: Part[] = [{ label: '', by: [], planes }];
  for (const key of ALWAYS) parts = parts.flatMap((part) => split(part, key, groupsBy(part.planes, key)));
  return parts.flatMap(apart);
}

function split(part: Part, key: keyof Variant, groups: readonly (readonly Plane[])[]): Part[] {
  if (groups.length < 2) return [part];
  return groups.map((planes, index) => ({
    label: [part.label, `${WORDS[key]} ${index + 1} of ${groups.length}`].filter((text) => text !== '').join(', '),
    by: [...part.by, key],
    planes,
  }));
}

/** In ascending order: numbers by their size. */
function groupsBy(planes: readonly Plane[], key: keyof Variant): Plane[][] {
  const groups = [...Map.groupBy(planes, (plane) => plane.variant[key])];
  return groups.sort(([a], [b]) => compare(a, b)).map(([, group]) => group);
}

function compare(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  const difference = Number(a) - Number(b);
  if (Number.isFinite(difference) && difference !== 0) return difference;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Splits what shares its places until each has one plane, as far as something tells the planes apart. */
function apart(part: Part): Part[] {
  const places = placesOf(part.planes);
  if (places.every((place) => place.length === 1)) return [part];
  for (const key of AT_ONE_PLACE) {
    const groups = groupsBy(part.planes, key);
    if (groups.length > 1 && isBalanced(places, key, groups.length)) return split(part, key, groups).flatMap(apart);
  }
  for (const key of BY_RANK) {
    const ranked = rankedBy(places, key);
    if (ranked !== undefined) return split(part, key, ranked);
  }
  return [part];
}

/** True when each value is there equally often at every place. */
function isBalanced(places: readonly (readonly Plane[])[], key: keyof Variant, values: number): boolean {
  const counts = places.map((place) => {
    const groups = [...Map.groupBy(place, (plane) => plane.variant[key]).values()];
    return groups.length === values && groups.every((group) => group.length === groups[0]?.length) ? place.length : 0;
  });
  return counts.every((count) => count > 0 && count === counts[0]);
}

function rankedBy(places: readonly (readonly Plane[])[], key: keyof Variant): Plane[][] | undefined {
  const many = places[0]?.length ?? 0;
  const sorted = places.map((place) => [...place].sort((a, b) => compare(a.variant[key], b.variant[key])));
  const clear = sorted.every(
    (place) =>
      place.length === many &&
      place.every(({ variant }, n) => variant[key] !== undefined && variant[key] !== place[n - 1]?.variant[key]),
  );
  return clear ? Array.from({ length: many }, (_, n) => sorted.flatMap((place) => place.slice(n, n + 1))) : undefined;
}

/** Planes by where they lie; planes that are not parallel are each at a place of their own. */
function placesOf(planes: readonly Plane[]): Plane[][] {
  const [first] = planes;
  if (first === undefined) return [];
  const normal = normalOf(first);
  if (planes.some((plane) => dot(normalOf(plane), normal) < PARALLEL)) return planes.map((plane) => [plane]);
  const sorted = [...planes].sort((a, b) => dot(a.positionMm, normal) - dot(b.positionMm, normal));
  const step = (n: number): number =>
    dot(sorted[n]?.positionMm ?? normal, normal) - dot(sorted[n - 1]?.positionMm ?? normal, normal);
  const steps = sorted.slice(1).map((_, n) => step(n + 1));
  const real = steps.filter((one) => one > LEAST_MM).sort((a, b) => a - b);
  const nearMm = Math.max(LEAST_MM, 0.05 * (real[real.length >> 1] ?? 0));
  const places: Plane[][] = [];
  for (const [n, plane] of sorted.entries()) {
    if (n === 0 || step(n) >= nearMm) places.push([plane]);
    else places.at(-1)?.push(plane);
  }
  return places;
}

const LEAST_MM = 1e-3;
const PARALLEL = Math.cos((0.1 * Math.PI) / 180);

function normalOf({ row, column }: Plane): Vector3 {
  return [
    row[1] * column[2] - row[2] * column[1],
    row[2] * column[0] - row[0] * column[2],
    row[0] * column[1] - row[1] * column[0],
  ];
}

function dot(a: Vector3, b: Vector3): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
