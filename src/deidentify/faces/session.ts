/** One series on its way: looked at plane by plane, planned, done plane by plane, looked at again. What a thread of its own works on. */
import type { Plane } from '../../dicom/slices.ts';
import { readFrame } from '../../dicom/voxels.ts';
import { checkFace, type FaceFigures } from './check.ts';
import { defaceFrame, type DefacedFrame } from './frame.ts';
import { addPlane, closeGrid, openGrid, type Grid, type GridWork } from './grid.ts';
import { findHead, type FitFigures } from './head.ts';
import { openPlan, planOf, type FacePlan, type OpenPlan } from './plan.ts';
import { sealed, type Stack } from './stack.ts';

/** What was measured of a series whose face was taken out. */
export interface DefaceFigures extends FaceFigures, FitFigures {
  readonly images: number;
  readonly voxelsChanged: number;
}

export interface Session {
  /** Native pixels in little endian, in any order, each plane once. */
  look(plane: Plane, bytes: Buffer): void;
  /** When every plane was looked at. @throws Refusal Quarantined */
  plan(): FacePlan;
  /** Every plane once more. @throws Refusal Quarantined */
  try(plane: Plane, bytes: Buffer): DefacedFrame;
  /** When every plane was tried. @throws Refusal Quarantined when a face is left or the inside of the skull was touched */
  check(): DefaceFigures;
}

export function openSession(stack: Stack): Session {
  const before = openGrid(stack);
  let after: GridWork | undefined;
  let seen: Grid | undefined;
  let found: { readonly plan: OpenPlan; readonly figures: FitFigures } | undefined;
  let [images, voxelsChanged, insideChanged] = [0, 0, 0];
  return {
    look: (plane, bytes) => addPlane(before, plane, realValues(plane, bytes)),
    plan() {
      seen = closeGrid(before);
      const head = findHead(seen, stack.modality);
      const plan = planOf(stack, seen, head);
      found = { plan: openPlan(plan), figures: head.figures };
      after = openGrid(stack);
      return plan;
    },
    try(plane, bytes) {
      if (found === undefined || after === undefined) throw new Error('there is no plan yet');
      const frame = defaceFrame(found.plan, plane, bytes);
      addPlane(after, plane, realValues(plane, frame.bytes));
      images++;
      voxelsChanged += frame.changed;
      insideChanged += frame.insideChanged;
      return frame;
    },
    check() {
      if (found === undefined || after === undefined || seen === undefined) throw new Error('there is no plan yet');
      if (insideChanged > 0) throw sealed(`${insideChanged} voxels inside the skull would change`);
      const { plan } = found.plan;
      const face = checkFace(seen, closeGrid(after), plan.cranium, plan.bodyAbove);
      return { images, voxelsChanged, ...found.figures, ...face };
    },
  };
}

export function realValues(plane: Plane, bytes: Buffer): Float32Array {
  const { format } = plane;
  const values = new Float32Array(format.columns * format.rows);
  readFrame(bytes, { ...format, bigEndian: false }, 1, plane, values, 0);
  return values;
}
