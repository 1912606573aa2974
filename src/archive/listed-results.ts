/** Results of studies out of `study_listed`: a few texts one behind the other, for all searches that ask for nothing unusual. */
import type { Row } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { STUDY_ATTRIBUTES } from './attributes.ts';
import { listedParts } from './listed.ts';
import { FIXED_TEXTS, KEY, STUDY_COUNTS, closed, emptyOf, timezoneElement, type Shape } from './plain-results.ts';

const DESCRIPTION = tagKey(tag('StudyDescription'));

/** What only a study's JSON tells, or its instances. */
const UNLISTED: ReadonlySet<string> = new Set([
  ...STUDY_ATTRIBUTES.further.filter((at) => at !== DESCRIPTION),
  KEY.classes,
  KEY.specificCharacterSet,
]);

/** Whether results of this shape show no more of a study than what is listed of it. */
export function isListed({ included, private: secret }: Shape): boolean {
  if (included === 'all' || secret.size > 0) return false;
  for (const [at, below] of included) if (below !== 'all' || UNLISTED.has(at)) return false;
  return true;
}

/** Makes the results of studies, of a shape that is listed. */
export function listedResults({ included }: Shape): (row: Row) => string {
  const described = included !== 'all' && included.has(DESCRIPTION);
  const noDescription = emptyOf(DESCRIPTION) ?? '';
  return (row) => {
    const { moment, referrer, timezone, description, patient, studyId } = listedParts(String(row['study_elements']));
    const zone = timezone === '' ? undefined : timezoneElement(timezone);
    return closed(
      `${moment},${columnText(row, KEY.availability)},${columnText(row, KEY.modalities)},${referrer},` +
        (zone === undefined ? '' : `${zone},`) +
        (described ? `${description === '' ? noDescription : description},` : '') +
        `${columnText(row, KEY.retrieveUrl)},${patient},${columnText(row, KEY.studyInstanceUid)},${studyId},` +
        `${columnText(row, KEY.seriesInStudy)},${columnText(row, KEY.instancesInStudy)}`,
    );
  };
}

/** What does not stand in the text of a study. */
function columnText(row: Row, at: string): string {
  return FIXED_TEXTS[at]?.(row, 'study') ?? STUDY_COUNTS[at]?.(row, at) ?? '';
}
