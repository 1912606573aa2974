/** What an object says of its patient: whose it is, what names them, and what is kept for the way back. */
import { asciiValue, textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { ageInYears, yearOfDate, yearsBetween } from './actions.ts';
import type { Originals } from './crosswalk.ts';
import type { PatientRecord } from './merge.ts';

/** Whose object it is as the hospital writes it; undefined when it names no patient. */
export function recordOf(dataSet: DataSet): PatientRecord | undefined {
  const id = patientIdOf(dataSet);
  return id === '' ? undefined : { issuer: textValue(dataSet, tag('IssuerOfPatientID'))?.trim() ?? '', id };
}

export function patientIdOf(dataSet: DataSet): string {
  return textValue(dataSet, tag('PatientID'))?.trim() ?? '';
}

/** The first of January of the birth year, for patients up to 89 years old at the time of the study; else undefined. */
export function birthYear(dataSet: DataSet): string | undefined {
  const birth = asciiValue(dataSet, tag('PatientBirthDate')) ?? '';
  const year = yearOfDate(birth);
  const study = asciiValue(dataSet, tag('StudyDate')) ?? '';
  // The year of the study and the year of birth give the age to within a year: both bounds must be 89 or less.
  const age = yearsBetween(birth, `${study.slice(0, 4)}1231`);
  const stated = ageInYears(asciiValue(dataSet, tag('PatientAge')) ?? '');
  if (year === undefined || age === undefined || age > 89 || (stated !== undefined && stated >= 90)) return undefined;
  return `${year}0101`;
}

const NAMES_AND_IDS = [
  'AccessionNumber',
  'ReferringPhysicianName',
  'PerformingPhysicianName',
  'NameOfPhysiciansReadingStudy',
  'OperatorsName',
  'PatientName',
  'PatientID',
  'OtherPatientNames',
  'OtherPatientIDs',
  'PatientBirthName',
  'PatientMotherBirthName',
  'PatientBirthDate',
  'RequestingPhysician',
].map(tag);

/** Words of names and ids, upper case, from three characters on; two-character ideographic names too. */
export function identifyingWords(dataSet: DataSet): Set<string> {
  const words = new Set<string>();
  for (const attribute of NAMES_AND_IDS) {
    const text = textValue(dataSet, attribute);
    if (text === undefined) continue;
    for (const word of text.toUpperCase().split(/[\s^=\\,;:()]+/)) {
      if (word.length >= 3 || (word.length === 2 && /[^\u0000-\u02ff]/.test(word))) words.add(word);
    }
  }
  return words;
}

const ORIGINALS = [
  'PatientName',
  'PatientID',
  'IssuerOfPatientID',
  'TypeOfPatientID',
  'PatientBirthDate',
  'PatientBirthTime',
  'PatientSex',
  'OtherPatientNames',
  'OtherPatientIDs',
  'PatientAge',
  'PatientSize',
  'PatientWeight',
  'EthnicGroup',
  'PatientComments',
  'StudyDate',
  'StudyTime',
  'AccessionNumber',
  'ReferringPhysicianName',
  'StudyDescription',
  'StudyID',
].map(tag);

/** Patient and study attributes as they came, for the way back. */
export function originalsOf(dataSet: DataSet): Originals {
  const originals: Record<string, string> = {};
  for (const attribute of ORIGINALS) {
    const text = textValue(dataSet, attribute);
    if (text !== undefined) originals[attribute.toString(16).padStart(8, '0')] = text;
  }
  return originals;
}
