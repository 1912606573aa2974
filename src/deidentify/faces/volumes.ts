/**
 * The volumes of a head series: time points, b-values, echoes and what else is told apart, in however many objects. Volumes whose planes
 * lie in the same places share a ground: the face is found in one of them and taken out of all. Nothing here reads pixels.
 */
import { partsOf } from '../../dicom/parts.ts';
import { Refusal } from '../../dicom/refusal.ts';
import type { Plane, Variant } from '../../dicom/slices.ts';
import { dot, refuseOther, sealed, stackOf, type HeadImage, type Stack } from './stack.ts';

export interface FaceVolume {
  /** What it is among the others of its series; empty where it is the only one. */
  readonly label: string;
  readonly planes: readonly Plane[];
  /** Volumes of one contrast show skin and air alike. */
  readonly contrast: string;
  /** Body is brighter than air in it: not so in phases and their parts. */
  readonly showsBody: boolean;
}

/** Volumes in the same places. */
export interface Ground {
  /** Of its first complete volume. */
  readonly stack: Stack;
  readonly volumes: readonly FaceVolume[];
}

/** Frames of all volumes together. */
const MOST_FRAMES = 200_000;

/** @throws Refusal Quarantined, saying what was found and what is needed */
export function groundsOf(images: readonly HeadImage[]): Ground[] {
  const modality = sameOf(images, ({ modality: one }) => one, 'modalities');
  sameOf(images, ({ frameOfReferenceUID }) => frameOfReferenceUID, 'frames of reference');
  const planes = images.flatMap((image, instance) => image.planes.map((plane) => ({ ...plane, instance })));
  if (planes.length > MOST_FRAMES)
    throw sealed(`the series has ${planes.length} frames; up to ${MOST_FRAMES} are looked at`);
  // The largest first, so that a time point that was broken off joins a whole one.
  const parts = partsOf(planes).sort((a, b) => b.planes.length - a.planes.length);
  const grounds: { stack: Stack; volumes: FaceVolume[] }[] = [];
  for (const { label, planes: own } of parts) {
    const volume: FaceVolume = { label, planes: own, ...contrastOf(own) };
    const ground = grounds.find(({ stack }) => own.every((plane) => liesOn(stack, plane)));
    if (ground === undefined) grounds.push({ stack: ofVolume(label, () => stackOf(modality, own)), volumes: [volume] });
    else ground.volumes.push(volume);
  }
  return grounds;
}

/** What is refused of one volume among several says of which. */
export function ofVolume<Made>(label: string, make: () => Made): Made {
  try {
    return make();
  } catch (error) {
    throw named(label, error);
  }
}

export function named(label: string, error: unknown): unknown {
  if (label === '' || !(error instanceof Refusal)) return error;
  return new Refusal(error.reason, `${label}: ${error.message}`);
}

/** The volumes in which the face is looked for, in this order: one of each contrast, those that show more of a body first. */
export function candidatesOf({ stack, volumes }: Ground): FaceVolume[] {
  const whole = volumes.filter(({ planes }) => planes.length === stack.planes.length);
  const firsts = [...Map.groupBy(whole, ({ contrast }) => contrast).values()].flatMap((group) => group.slice(0, 1));
  return firsts.sort((a, b) => Number(b.showsBody) - Number(a.showsBody)).slice(0, MOST_CANDIDATES);
}

const MOST_CANDIDATES = 4;

/** The volume's own planes in the order of the ground's. */
export function stackOfVolume({ stack }: Ground, { planes }: FaceVolume): Stack {
  return stackOf(stack.modality, planes);
}

const CONTRAST: readonly (keyof Variant)[] = ['bValue', 'echo', 'kind'];
/** Phase images, real and imaginary parts, as vendors and Complex Image Component (0008,9208) write them. */
const NO_MAGNITUDE = /^(P|R|I|PHASE.*|REAL|IMAGINARY|PCA|VELOCITY.*)$/;

function contrastOf([plane]: readonly Plane[]): Pick<FaceVolume, 'contrast' | 'showsBody'> {
  const kind = plane?.variant.kind ?? '';
  return {
    contrast: CONTRAST.map((key) => plane?.variant[key] ?? '').join(' '),
    showsBody: !kind.split('/').some((word) => NO_MAGNITUDE.test(word)),
  };
}

/** A plane in the place of one of the stack's. */
function liesOn({ planes, placesMm, normal, stepMm }: Stack, plane: Plane): boolean {
  const [reference] = planes;
  if (reference === undefined || !isLike(plane, reference)) return false;
  const place = dot(plane.positionMm, normal);
  const near = planes[nearest(placesMm, place)];
  if (near === undefined) return false;
  const offMm = plane.positionMm.map((mm, axis) => mm - (near.positionMm[axis] ?? 0));
  const along = Math.abs(place - dot(near.positionMm, normal));
  const across = Math.sqrt(Math.max(0, offMm.reduce((sum, mm) => sum + mm * mm, 0) - along * along));
  return along <= Math.max(0.01, 0.05 * stepMm) && across <= 0.5 * Math.max(...plane.spacingMm);
}

function isLike(plane: Plane, reference: Plane): boolean {
  try {
    refuseOther(plane, reference);
    return true;
  } catch {
    return false;
  }
}

function nearest(ascending: readonly number[], value: number): number {
  let [low, high] = [0, ascending.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  const below = low - 1;
  return below >= 0 && value - (ascending[below] ?? 0) < (ascending[low] ?? 0) - value ? below : low;
}

function sameOf<Value>(images: readonly HeadImage[], of: (image: HeadImage) => Value, what: string): Value {
  const found = new Set(images.map(of));
  const [only] = found;
  if (only === undefined || found.size > 1) throw sealed(`the series holds ${found.size} ${what}; one is needed`);
  return only;
}
