/**
 * Which studies of a patient came before another one. A profile that leaves only the year of a date puts all studies of that year on one
 * day, so the order is that of the original dates, which the crosswalk keeps sealed; only the order leaves this file. Where the crosswalk
 * has none (or two are equal), the stored dates decide, then the order of arrival.
 */
import { seriesOf, studiesOfPatient, studyOf, type StudySummary } from '../archive/studies.ts';
import { findStudy } from '../deidentify/crosswalk.ts';
import type { Gateway } from '../gateway.ts';
import type { PriorFacts } from '../routing/match.ts';

const STUDY_DATE = '00080020';
const STUDY_TIME = '00080030';

/** Earlier studies of the same patient in the same project, newest first. Without a Patient ID or a date nothing is earlier. */
export function priorsOf(gateway: Gateway, studyInstanceUID: string): PriorFacts[] {
  const study = studyOf(gateway.archive, studyInstanceUID);
  if (study === undefined || study.patientID === '') return [];
  const own = momentOf(gateway, study);
  if (own === undefined) return [];
  return studiesOfPatient(gateway.archive, study.project, study.patientID)
    .flatMap((other) => {
      const moment = momentOf(gateway, other);
      return moment === undefined || compare(moment, own) >= 0 ? [] : [{ other, moment }];
    })
    .sort((a, b) => compare(b.moment, a.moment))
    .map(({ other: { studyInstanceUID: uid } }) => ({
      StudyInstanceUID: uid,
      series: seriesOf(gateway.archive, uid),
    }));
}

interface Moment {
  readonly date: string;
  readonly time: string;
  readonly arrival: number;
}

function momentOf(gateway: Gateway, study: StudySummary): Moment | undefined {
  const original = findStudy(gateway.wall, study.project, study.studyInstanceUID)?.attributes;
  const date = digits(original?.[STUDY_DATE]) || digits(study.studyDate);
  if (date === '') return undefined;
  return { date, time: digits(original?.[STUDY_TIME] ?? study.studyTime), arrival: study.key };
}

/** Also of the old forms 2024.09.17 and 10:15:00 (PS3.5 6.2). */
function digits(text: string | undefined): string {
  return (text ?? '').replaceAll(/\D/g, '');
}

function compare(a: Moment, b: Moment): number {
  if (a.date !== b.date) return a.date < b.date ? -1 : 1;
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return a.arrival - b.arrival;
}
