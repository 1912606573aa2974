/** Where each frame of a multi-frame image belongs (PS3.3 C.7.6.17): in the source's dimensions where they still tell, else in stack, volume and slice. */
import { asciiValue, itemsOf, numberValues, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { copyFrom, openAttributes, type Item, type Value } from './attributes.ts';
import { PER_FRAME, type Frame } from './enhanced-description.ts';
import type { Dimension } from './multi-frame.ts';
import { keepsSlices, type Series } from './result-slices.ts';

export interface Dimensions {
  /** True when the source's own dimensions still tell where each frame belongs. */
  readonly kept: boolean;
  readonly own: readonly Dimension[];
  /** Dimension Index Values of each frame. */
  readonly values: readonly (readonly number[])[];
}

const STACK: Dimension = { attribute: 'StackID', group: 'FrameContentSequence', label: 'Stack' };

export const VOLUME: Dimension = { attribute: 'TemporalPositionIndex', group: 'FrameContentSequence', label: 'Volume' };

const IN_STACK: Dimension = { attribute: 'InStackPositionNumber', group: 'FrameContentSequence', label: 'Slice' };

const B_VALUE: Dimension = { attribute: 'DiffusionBValue', group: 'MRDiffusionSequence', label: 'b-value' };

const ECHO: Dimension = { attribute: 'EffectiveEchoTime', group: 'MREchoSequence', label: 'Echo' };

/** The source's dimensions where slices correspond and each frame has its place in them; else stack, volume and slice. */
export function dimensionsOf(series: Series, source: Head, frames: readonly Frame[]): Dimensions {
  const kept = keepsSlices(series.request.kind) ? keptValues(source, frames) : undefined;
  if (kept !== undefined) return { kept: true, own: [], values: kept };
  const by = series.plans[0]?.by ?? [];
  const told = by.at(-1);
  const volume = told === 'bValue' ? B_VALUE : told === 'echo' ? ECHO : VOLUME;
  const several = by.some((key) => key !== 'stack');
  return {
    kept: false,
    own: [STACK, ...(several ? [volume] : []), IN_STACK],
    values: frames.map(({ slice }) => [
      stackOf(series, slice.part),
      ...(several ? [timeOf(series, slice.part)] : []),
      slice.k + 1,
    ]),
  };
}

function keptValues({ dataSet }: Head, frames: readonly Frame[]): number[][] | undefined {
  const pointers = itemsOf(dataSet, tag('DimensionIndexSequence'));
  const organizations = itemsOf(dataSet, tag('DimensionOrganizationSequence'));
  if (pointers.length === 0 || organizations.length === 0 || pointers.some(isForeign)) return undefined;
  const values = frames.map(({ slice }) => {
    const content = itemsOf(
      itemsOf(dataSet, tag(PER_FRAME))[slice.plane.frame - 1] ?? dataSet,
      tag('FrameContentSequence'),
    )[0];
    return content === undefined ? [] : numberValues(content, tag('DimensionIndexValues'));
  });
  const complete = values.every((one) => one.length === pointers.length && one.every((index) => index >= 1));
  return complete ? values : undefined;
}

/** A dimension by a private attribute, or by a group that is not carried. */
function isForeign(item: DataSet): boolean {
  const pointer = pointerAt(item, 'DimensionIndexPointer');
  const groupPointer = pointerAt(item, 'FunctionalGroupPointer');
  if (pointer === undefined || isPrivate(pointer)) return true;
  if (groupPointer === undefined) return false;
  return isPrivate(groupPointer) || groupPointer === tag('RealWorldValueMappingSequence');
}

function pointerAt(item: DataSet, keyword: string): number | undefined {
  const [group16, element16] = numberValues(item, tag(keyword));
  return group16 === undefined || element16 === undefined ? undefined : group16 * 0x10000 + element16;
}

export function keptDimensions(source: DataSet): Item {
  const items: Record<string, Value> = {};
  for (const keyword of ['DimensionOrganizationSequence', 'DimensionIndexSequence']) {
    items[keyword] = itemsOf(source, tag(keyword)).map((item) => {
      const copy = openAttributes();
      copyFrom(copy, item, (element) => !isPrivate(element.tag));
      return copy;
    });
  }
  const type = asciiValue(source, tag('DimensionOrganizationType'));
  return type === undefined ? items : { ...items, DimensionOrganizationType: type };
}

/** Number of the stack that a volume belongs to, from 1. */
export function stackOf({ plans }: Series, part: number): number {
  const stacks = [...new Set(plans.map(({ planes }) => planes[0]?.variant.stack))];
  return Math.max(0, stacks.indexOf(plans[part]?.planes[0]?.variant.stack)) + 1;
}

/** Number of a volume among those of its stack, from 1. */
export function timeOf({ plans }: Series, part: number): number {
  const stack = plans[part]?.planes[0]?.variant.stack;
  return plans.slice(0, part + 1).filter(({ planes }) => planes[0]?.variant.stack === stack).length;
}
