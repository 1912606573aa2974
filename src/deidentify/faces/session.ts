/**
 * Takes a face out of the volumes of one ground in steps: looks at one volume, plans, then tries every frame of each volume and checks
 * what is left of the face in it. In memory there are coarse grids alone.
 */
import { readFrame } from '../../dicom/voxels.ts';
import type { Plane } from '../../dicom/slices.ts';
import { checkFace, NO_FACE, type FaceFigures } from './check.ts';
import { defaceFrame } from './frame.ts';
import { addPlane, CELL_BYTES, closeGrid, emptied, openGrid, type Grid, type GridWork } from './grid.ts';
import { bodyThreshold, findHead, type FitFigures } from './head.ts';
import { refuseMoved } from './motion.ts';
import { openPlan, planOf, type FacePlan, type OpenPlan } from './plan.ts';
import { sealed, type Stack } from './stack.ts';

/** What was measured of a volume whose face was taken out. */
export interface VolumeFigures extends FaceFigures {
  readonly images: number;
  readonly voxelsChanged: number;
}

/** How a volume shows the head: as the one that was looked at, brighter and darker in other places, or not as body and air. */
export type Showing = 'alike' | 'otherwise' | 'not';

export interface Planned {
  readonly plan: FacePlan;
  readonly fit: FitFigures;
  /** Volumes that fit into memory while they are tried. */
  readonly atOnce: number;
}

export interface Session {
  /** Native pixels in little endian, in any order, each plane of the volume once. */
  look(plane: Plane, bytes: Buffer): void;
  /** When every plane was looked at. @throws Refusal Quarantined */
  plan(): Planned;
  /** The volumes that are tried next; those before are forgotten. */
  begin(volumes: readonly Showing[]): void;
  /** Every plane of each of them once. @param bytes are changed */
  try(volume: number, plane: Plane, bytes: Buffer): void;
  /** When every plane of the volume was tried. @throws Refusal Quarantined when a face is left or the inside of the skull was touched */
  check(volume: number): VolumeFigures;
}

const MOST_BYTES = 96 * 2 ** 20;
const MOST_VOLUMES = 8;

interface Trial {
  readonly showing: Showing;
  readonly before: GridWork;
  readonly after: GridWork;
  images: number;
  voxelsChanged: number;
  insideChanged: number;
}

export function openSession(stack: Stack): Session {
  let seen: GridWork | undefined = openGrid(stack, true);
  let found: { readonly open: OpenPlan; readonly grid: Grid } | undefined;
  let trials: Trial[] = [];
  const trial = (volume: number): Trial => {
    const one = trials[volume];
    if (one === undefined) throw new Error(`volume ${volume} is not tried`);
    return one;
  };
  return {
    look(plane, bytes) {
      if (seen === undefined) throw new Error('the plan was made');
      addPlane(seen, plane, realValues(plane, bytes));
    },
    plan() {
      if (seen === undefined) throw new Error('the plan was made');
      const grid = closeGrid(seen);
      seen = undefined;
      const head = findHead(grid, stack.modality);
      const plan = planOf(stack, grid, head);
      found = { open: openPlan(plan), grid };
      const atOnce = Math.floor(MOST_BYTES / (2 * CELL_BYTES * grid.mean.length));
      return { plan, fit: head.figures, atOnce: Math.max(1, Math.min(MOST_VOLUMES, atOnce)) };
    },
    begin(volumes) {
      const earlier = trials;
      const grid = (used: GridWork | undefined): GridWork =>
        used === undefined ? openGrid(stack, false) : emptied(used);
      trials = volumes.map((showing, index) => ({
        showing,
        before: grid(earlier[index]?.before),
        after: grid(earlier[index]?.after),
        images: 0,
        voxelsChanged: 0,
        insideChanged: 0,
      }));
    },
    try(volume, plane, bytes) {
      if (found === undefined) throw new Error('there is no plan yet');
      const one = trial(volume);
      addPlane(one.before, plane, realValues(plane, bytes));
      const frame = defaceFrame(found.open, plane, bytes);
      addPlane(one.after, plane, realValues(plane, frame.bytes));
      one.images++;
      one.voxelsChanged += frame.changed;
      one.insideChanged += frame.insideChanged;
    },
    check(volume) {
      if (found === undefined) throw new Error('there is no plan yet');
      const { images, voxelsChanged, insideChanged, ...one } = trial(volume);
      if (insideChanged > 0) throw sealed(`${insideChanged} voxels inside the skull would change`);
      return { images, voxelsChanged, ...faceLeft(found.open.plan, found.grid, one) };
    },
  };
}

/** Where body is no brighter than air nobody can look; there the face went with the place it was found in. @throws Refusal Quarantined */
function faceLeft(
  plan: FacePlan,
  reference: Grid,
  { showing, before, after }: Pick<Trial, 'showing' | 'before' | 'after'>,
): FaceFigures {
  if (showing === 'not') return NO_FACE;
  const was = closeGrid(before);
  if (showing === 'alike') refuseMoved(reference, was, plan.cranium);
  const bodyAbove = showing === 'alike' ? plan.bodyAbove : bodyThreshold(was, plan.modality);
  return checkFace(was, closeGrid(after), plan.cranium, bodyAbove);
}

export function realValues(plane: Plane, bytes: Buffer): Float32Array {
  const { format } = plane;
  const values = new Float32Array(format.columns * format.rows);
  readFrame(bytes, { ...format, bigEndian: false }, 1, plane, values, 0);
  return values;
}
