/** What a profile lets in, and whether it is in force for who receives it. What cannot be made safe is refused. */
import { asciiValue, type DataSet } from '../dicom/data-set.ts';
import type { Head, Identified } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { DeidentifySettings } from './deidentify.ts';
import { headImage } from './faces/stack.ts';
import { planPixels, type PixelPlan } from './pixels/policy.ts';
import type { CompiledProfile } from './profile.ts';
import { faceRisk, isSliceClass, uncleanable } from './risk.ts';

/**
 * Expert determination, 45 CFR 164.514(b)(1): it holds for a time and for those it was made for.
 * @throws Refusal Quarantined
 */
export function assertInForce(profile: CompiledProfile, recipient: string, now: number): void {
  const { determination } = profile.file;
  if (determination === undefined) return;
  // To the end of the day, wherever on earth.
  if (now >= Date.parse(`${determination.expires}T00:00:00Z`) + 36 * 3_600_000)
    throw new Refusal(
      'Quarantined',
      `the expert determination of profile ${profile.name} expired on ${determination.expires}; it has to be renewed`,
    );
  if (!determination.recipients.includes(recipient))
    throw new Refusal(
      'Quarantined',
      `${recipient} is no recipient of the expert determination of profile ${profile.name}; allowed: ${determination.recipients.join(', ') || 'nobody'}`,
    );
}

/** What the profile lets pass, and what is done to its pixels. @throws Refusal Quarantined */
export function admit(
  head: Head,
  sopClassUID: string,
  { profile, pixels, defaced }: DeidentifySettings,
): { readonly pixelPlan: PixelPlan; readonly face: 'none' | 'visible' | 'removed' } {
  refuse(uncleanable(sopClassUID, profile.file.documents));
  const pixelPlan = planPixels(head, sopClassUID, profile.file, pixels);
  const face = faceRisk(head, sopClassUID);
  if (face === undefined) return { pixelPlan, face: 'none' };
  if (profile.file.faces === 'quarantine') refuse(face);
  if (profile.file.faces === 'deface' && defaced === undefined)
    refuse(`${face}; it is taken out of the series as a whole, not of a single image`);
  return { pixelPlan, face: profile.file.faces === 'deface' ? 'removed' : 'visible' };
}

/**
 * Whether the object has to wait until its series is whole and its face is taken out.
 * @throws Refusal Quarantined when it shows a face that cannot be taken out of a volume
 */
export function awaitsDefacing({ head }: Identified, { file }: CompiledProfile): boolean {
  if (file.faces !== 'deface') return false;
  const sopClassUID = asciiValue(head.dataSet, 0x00080016) ?? '';
  refuse(uncleanable(sopClassUID, file.documents));
  const face = faceRisk(head, sopClassUID);
  if (face === undefined) return false;
  if (!isSliceClass(sopClassUID)) refuse(face);
  namesOf(head.dataSet);
  headImage(head);
  return true;
}

/** @throws Refusal Quarantined where there is a reason */
export function refuse(why: string | undefined): void {
  if (why !== undefined) throw new Refusal('Quarantined', why);
}

interface Names {
  readonly study: string;
  readonly series: string;
  readonly instance: string;
  readonly sopClassUID: string;
}

/** UIDs of the object as it came. @throws Refusal Quarantined where one is missing or none */
export function namesOf(dataSet: DataSet): Names {
  const uid = (attribute: number, name: string): string => {
    const text = asciiValue(dataSet, attribute);
    if (text === undefined || !isUid(text))
      throw new Refusal('Quarantined', `${name} is ${text === undefined ? 'missing' : 'no UID'}`);
    return text;
  };
  return {
    sopClassUID: uid(0x00080016, 'SOP Class UID (0008,0016)'),
    instance: uid(0x00080018, 'SOP Instance UID (0008,0018)'),
    study: uid(0x0020000d, 'Study Instance UID (0020,000D)'),
    series: uid(0x0020000e, 'Series Instance UID (0020,000E)'),
  };
}
