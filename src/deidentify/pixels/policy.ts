/**
 * What happens to an object's pixels under a profile: nothing, cleaning, or quarantine. The tiers before the detector are decided here,
 * from the header alone: what is known of the device, and the regions that an ultrasound system declares (PS3.3 C.8.5.5).
 */
import { asciiValues, itemsOf, numberValue, numberValues, type DataSet } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import type { ImageLayout } from '../../dicom/image-layout.ts';
import type { Head } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import type { ProfileFile } from '../profile.ts';
import { pixelRisk, unreadableWriting } from '../risk.ts';
import type { DeviceRule } from './devices.ts';
import { clipped, outsideOf, type Box, type PixelTools } from './tools.ts';

export type PixelPlan =
  /** Pixels stay as they are; `atRisk` when they may hold text all the same. */
  | { readonly kind: 'leave'; readonly atRisk: boolean }
  | {
      readonly kind: 'clean';
      readonly devices: readonly DeviceRule[];
      readonly regionsOnly: boolean;
      /** What becomes of frames that have no lossless form in their transfer syntax once they are blanked. */
      readonly onUnwritable: 'native' | 'quarantine';
    };

/** @throws Refusal Quarantined, BadConfiguration when the profile names a file of rules that is not there */
export function planPixels(
  head: Head,
  sopClassUID: string,
  profile: ProfileFile,
  tools: PixelTools | undefined,
): PixelPlan {
  const { pixels } = profile;
  if (head.pixelData === undefined) return { kind: 'leave', atRisk: false };
  const risk = pixelRisk(head, sopClassUID);
  if (pixels === 'allow') return { kind: 'leave', atRisk: risk !== undefined };
  if (pixels === 'quarantine') {
    if (risk !== undefined) throw new Refusal('Quarantined', risk);
    return { kind: 'leave', atRisk: false };
  }
  const rules = pixels.rules === undefined ? [] : tools?.deviceRules.get(pixels.rules);
  if (rules === undefined && tools !== undefined)
    throw new Refusal('BadConfiguration', `profile ${profile.profile}: there are no device rules ${pixels.rules}`);
  const devices = (rules ?? []).filter(({ applies }) => applies(head.dataSet));
  const screened = pixels.screen === 'all' || risk !== undefined || devices.length > 0 || isLocalizer(head.dataSet);
  if (!screened) return { kind: 'leave', atRisk: false };
  const writing = unreadableWriting(head, sopClassUID);
  if (writing !== undefined) throw new Refusal('Quarantined', writing);
  if (tools === undefined)
    throw new Refusal('Quarantined', `${risk ?? 'the profile has all pixels looked at'}, and no detector is at hand`);
  return {
    kind: 'clean',
    devices,
    regionsOnly: pixels.ultrasound === 'regions-only',
    onUnwritable: pixels.onUnwritable ?? 'native',
  };
}

/** One or two images of a series, on which some systems write. */
function isLocalizer(dataSet: DataSet): boolean {
  return asciiValues(dataSet, tag('ImageType')).some((value) => value.toUpperCase() === 'LOCALIZER');
}

/** What is blanked before anything has looked at the pixels. */
export function boxesOfHeader(
  dataSet: DataSet,
  layout: ImageLayout,
  { devices, regionsOnly }: Extract<PixelPlan, { kind: 'clean' }>,
): Box[] {
  const boxes = devices.flatMap(({ blank }) => blank);
  for (const { keep } of devices) if (keep !== undefined) boxes.push(...outsideOf(clippedAll(keep, layout), layout));
  const regions = regionsOnly ? ultrasoundRegions(dataSet) : [];
  if (regions.length > 0) boxes.push(...outsideOf(clippedAll(regions, layout), layout));
  return clippedAll(boxes, layout);
}

function clippedAll(boxes: readonly Box[], layout: ImageLayout): Box[] {
  return boxes.flatMap((box) => clipped(box, layout) ?? []);
}

/** Sequence of Ultrasound Regions (0018,6011): the pixels that the system says are image. */
function ultrasoundRegions(dataSet: DataSet): Box[] {
  return itemsOf(dataSet, tag('SequenceOfUltrasoundRegions')).flatMap((item) => {
    const [left, top, right, bottom] = REGION_EDGES.map((attribute) => numberValue(item, attribute));
    if (left === undefined || top === undefined || right === undefined || bottom === undefined) return [];
    return right < left || bottom < top ? [] : [{ left, top, right: right + 1, bottom: bottom + 1 }];
  });
}

const REGION_EDGES = ['RegionLocationMinX0', 'RegionLocationMinY0', 'RegionLocationMaxX1', 'RegionLocationMaxY1'].map(
  tag,
);

/**
 * Overlay planes in unused bits of the pixels (PS3.5 8.1.2, retired): the header that describes them goes with the overlay groups, the
 * bits have to go too.
 */
export function hasOverlaysInPixels(dataSet: DataSet): boolean {
  for (let group = 0x6000; group <= 0x601e; group += 2) {
    const allocated = numberValue(dataSet, group * 0x10000 + 0x0100);
    const [position = 0] = numberValues(dataSet, group * 0x10000 + 0x0102);
    if ((allocated !== undefined && allocated > 1) || position > 0) return true;
  }
  return false;
}
