/**
 * What `study_listed` has of each study: the elements that nearly every search shows, as they stand in the study's JSON. The rest stands in
 * `study.json` alone.
 */
import { tagKey } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { STUDY_ATTRIBUTES } from './attributes.ts';
import { elementsIn } from './json-elements.ts';

const keys = (...keywords: string[]): string[] => keywords.map((keyword) => tagKey(tag(keyword)));

/** Keys ascending, parted where a result shows what stands in columns, or does not always show it. Not to be changed without a migration. */
const PARTS = [
  keys('StudyDate', 'StudyTime', 'AccessionNumber'),
  keys('ReferringPhysicianName'),
  keys('TimezoneOffsetFromUTC'),
  keys('StudyDescription'),
  keys('PatientName', 'PatientID', 'PatientBirthDate', 'PatientSex'),
  keys('StudyID'),
];

const MARK = '\u0002';

/** An expression that makes the text of a study out of its JSON, in which the mark cannot stand. What is always returned is there, if empty. */
export function listedElementsSql(json: string): string {
  const element = (at: string): string => {
    const vr = STUDY_ATTRIBUTES.returned[at];
    const empty = vr === undefined ? '' : `"${at}":{"vr":"${vr}"}`;
    return `ifnull('"${at}":' || (${json} -> '$."${at}"'), '${empty}')`;
  };
  return PARTS.map((part) => part.map(element).join(` || ',' || `)).join(` || char(${MARK.charCodeAt(0)}) || `);
}

export interface ListedParts {
  readonly moment: string;
  readonly referrer: string;
  /** Here and below: '' where the study has none. */
  readonly timezone: string;
  readonly description: string;
  readonly patient: string;
  readonly studyId: string;
}

export function listedParts(text: string): ListedParts {
  const [moment = '', referrer = '', timezone = '', description = '', patient = '', studyId = ''] = text.split(MARK);
  return { moment, referrer, timezone, description, patient, studyId };
}

/** By key, as `elementsIn` gives those of the JSON. */
export function listedElements(text: string): Map<string, string> {
  const parts = text.split(MARK).filter((part) => part !== '');
  return elementsIn(`{${parts.join(',')}}`);
}
