/**
 * What others schedule here stands beside pseudonyms: names of people, free text and the attributes that PS3.15 table E.1-1 takes from an
 * object are emptied in a step as well, however deep they stand. Left are UIDs and moments of the step, how far it is, why it ended, and who performs it by station, code and
 * organization.
 */
import { readFileSync } from 'node:fs';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import type { DicomJson, DicomJsonElement } from '../dicom/json.ts';

const KEPT: ReadonlySet<string> = new Set(
  [
    'ScheduledStationNameCodeSequence',
    'ScheduledStationGeographicLocationCodeSequence',
    'PerformedStationNameCodeSequence',
    'PerformedStationGeographicLocationCodeSequence',
    'ScheduledHumanPerformersSequence',
    'ActualHumanPerformersSequence',
    'HumanPerformerOrganization',
  ].map((keyword) => tagKey(tag(keyword))),
);
/** Free text, but for what a performer says of the work itself. */
const TEXT: ReadonlySet<string> = new Set(['LT', 'ST', 'UT']);
const OF_THE_WORK: ReadonlySet<string> = new Set(
  ['ProcedureStepProgressDescription', 'ReasonForCancellation'].map((keyword) => tagKey(tag(keyword))),
);
const TAKEN: ReadonlySet<string> = readTaken();

function readTaken(): Set<string> {
  const file = new URL('../dicom/standard/e1-1-2024b.json', import.meta.url);
  const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: { tag: string; vr: string; basic?: string }[] };
  const taken = rows.filter(({ vr, basic = '' }) => vr !== 'UI' && vr !== 'DT' && /[XZD]/.test(basic));
  return new Set(taken.map((row) => row.tag).filter((key) => !KEPT.has(key)));
}

/** `isPseudonym`: whether a value is one that the archive gives out anyway. `taken`: something was emptied. */
export function withoutIdentity(
  object: DicomJson,
  isPseudonym: (key: string, value: unknown) => boolean,
): { object: DicomJson; taken: boolean } {
  let taken = false;
  const clean: DicomJson = {};
  for (const [key, element] of Object.entries(object)) {
    if (isPrivate(Number.parseInt(key, 16))) {
      taken = true;
    } else if (namesSomebody(key, element) && !isKnown(element, key, isPseudonym)) {
      taken ||= Object.keys(element).length > 1;
      clean[key] = { vr: element.vr } as DicomJsonElement;
    } else if (element.vr === 'SQ' && element.Value !== undefined) {
      const items = element.Value.map((item) => withoutIdentity(item, isPseudonym));
      taken ||= items.some((item) => item.taken);
      clean[key] = { vr: 'SQ', Value: items.map((item) => item.object) };
    } else {
      clean[key] = element;
    }
  }
  return { object: clean, taken };
}

function namesSomebody(key: string, { vr }: DicomJsonElement): boolean {
  return TAKEN.has(key) || vr === 'PN' || (TEXT.has(vr) && !OF_THE_WORK.has(key));
}

function isKnown(
  element: DicomJsonElement,
  key: string,
  isPseudonym: (key: string, value: unknown) => boolean,
): boolean {
  if (!('Value' in element) || element.Value === undefined || element.vr === 'SQ') return false;
  return element.Value.every((value: unknown) => isPseudonym(key, value));
}
