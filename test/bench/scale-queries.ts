/** What viewers and worklists ask of an archive, each kind for a study drawn from all of it. */
import { SERIES, namesOfStudy } from './bulk-index.ts';

export interface QueryKind {
  readonly name: string;
  /** Each time under a base of its own: no text that is kept ready will do. */
  readonly cold?: boolean;
  /** Path and query below the DICOMweb root. `at`: a study from 0 to `studies`. */
  path(at: number, studies: number): string;
}

const day = (date: string): string => date;
/** First and last day between which about `wanted` of the studies lie, from the day of study `at` on. */
function daysAround(at: number, studies: number, wanted: number): string {
  const from = namesOfStudy(at).studyDate;
  const days = Math.max(1, Math.round((20 * 365 * wanted) / studies));
  const start = Date.UTC(Number(from.slice(0, 4)), Number(from.slice(4, 6)) - 1, Number(from.slice(6)));
  const to = new Date(start + (days - 1) * 86_400_000).toISOString().slice(0, 10).replaceAll('-', '');
  return `${day(from)}-${to}`;
}

const OHIF = 'fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030';

export const QUERY_KINDS: readonly QueryKind[] = [
  { name: 'study by UID', path: (at) => `/studies?StudyInstanceUID=${namesOfStudy(at).studyInstanceUID}` },
  { name: 'studies by PatientID', path: (at) => `/studies?PatientID=${namesOfStudy(at).patientID}` },
  { name: 'studies by AccessionNumber', path: (at) => `/studies?AccessionNumber=${namesOfStudy(at).accessionNumber}` },
  { name: 'studies by name, exact', path: (at) => `/studies?PatientName=${namesOfStudy(at).familyName}%5Esubject` },
  {
    name: 'studies by name, prefix',
    path: (at) => `/studies?PatientName=${namesOfStudy(at).familyName.slice(0, 10)}*&limit=25`,
  },
  {
    name: 'studies by name, inside',
    path: (at) => `/studies?PatientName=*${namesOfStudy(at).familyName.slice(6, 12)}*&limit=25`,
  },
  {
    name: 'studies by name, fuzzy',
    path: (at) => `/studies?PatientName=${namesOfStudy(at).familyName.slice(0, 11)}&fuzzymatching=true&limit=25`,
  },
  {
    name: 'studies by date range, limit 25',
    path: (at, studies) => `/studies?StudyDate=${daysAround(at, studies, 50)}&limit=25`,
  },
  {
    name: 'studies by open date range, limit 25',
    path: (at) => `/studies?StudyDate=${namesOfStudy(at).studyDate}-&limit=25`,
  },
  {
    name: 'studies by date and modality',
    path: (at, studies) => `/studies?StudyDate=${daysAround(at, studies, 50)}&ModalitiesInStudy=MR&limit=25`,
  },
  { name: 'studies by common modality, limit 25', path: () => '/studies?ModalitiesInStudy=CT&limit=25' },
  { name: 'studies by rarer modality, limit 25', path: () => '/studies?ModalitiesInStudy=MR&limit=25' },
  { name: 'studies by absent modality', path: () => '/studies?ModalitiesInStudy=XA&limit=25' },
  {
    name: 'studies by PatientID, inside',
    path: (at) => `/studies?PatientID=*${namesOfStudy(at).patientID.slice(5, 11)}*&limit=25`,
  },
  { name: 'studies by description, inside', path: () => '/studies?StudyDescription=*head*&limit=25' },
  { name: 'studies by description, absent', path: () => '/studies?StudyDescription=*knee*&limit=25' },
  { name: "a viewer's first page of 101", path: () => `/studies?limit=101&offset=0&${OHIF}` },
  { name: 'studies, a page in the middle', path: (at) => `/studies?limit=25&offset=${at}` },
  { name: 'all series, a page in the middle', path: (at) => `/series?limit=25&offset=${at * SERIES.length}` },
  {
    name: 'all instances, a page in the middle',
    path: (at, studies) => `/instances?limit=25&offset=${Math.floor((at / studies) * studies * 200)}`,
  },
  { name: 'series of a study', path: (at) => `/studies/${namesOfStudy(at).studyInstanceUID}/series` },
  {
    name: 'instances of a series of 130',
    path: (at) => {
      const { studyInstanceUID, seriesInstanceUIDs } = namesOfStudy(at);
      return `/studies/${studyInstanceUID}/series/${seriesInstanceUIDs[0]}/instances`;
    },
  },
  { name: 'instances of a study', path: (at) => `/studies/${namesOfStudy(at).studyInstanceUID}/instances?limit=25` },
  { name: 'series by UID', path: (at) => `/series?SeriesInstanceUID=${namesOfStudy(at).seriesInstanceUIDs[1]}` },
  { name: 'instance by UID', path: (at) => `/instances?SOPInstanceUID=${namesOfStudy(at).sopInstanceUID(0, 17)}` },
  { name: 'series by modality, limit 25', path: () => '/series?Modality=MR&limit=25' },
  { name: 'series by description, absent', path: () => '/series?SeriesDescription=knee&limit=25' },
  { name: 'instances by class, absent', path: () => '/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.88.11&limit=25' },
  { name: 'instances by content date', path: (at) => `/instances?ContentDate=${namesOfStudy(at).studyDate}&limit=25` },
  { name: 'instances by number, limit 25', path: () => '/instances?InstanceNumber=7&limit=25' },
  {
    name: 'metadata of a series of 130, cold',
    cold: true,
    path: (at) => {
      const { studyInstanceUID, seriesInstanceUIDs } = namesOfStudy(at);
      return `/studies/${studyInstanceUID}/series/${seriesInstanceUIDs[0]}/metadata`;
    },
  },
];
