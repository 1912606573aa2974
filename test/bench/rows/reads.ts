/** The reading rows: what is asked, how often, and what has to come back. */
import { drain, openClient, type Answer } from '../requests.ts';
import type { Server } from '../servers.ts';
import type { Sent } from '../senders.ts';
import type { Holdings } from './filling.ts';

export interface ReadKind {
  readonly name: string;
  readonly group: 'qido' | 'wado';
  /** How long one cell is asked for; 0: `requests` and no more. */
  readonly cellMs: number;
  readonly requests?: number;
  /** `n` counts within the cell; what may be asked only once counts on through the rounds by `round`. */
  path(held: Holdings, n: number, round: number): string;
  readonly accept: string;
  /** So long that what a client does with it would be measured too. */
  readonly long?: boolean;
}

const JSON_TYPE = 'application/dicom+json';
const OBJECTS = 'multipart/related; type="application/dicom"; transfer-syntax=*';
const CELL_MS = 1500;
/** Requests of a cell that asks for what was never asked for before. */
const FIRST_TIME = 18;

const pick = <T>(all: readonly T[], n: number): T => all[(n * 7919) % all.length] as T;

const longSeries = (held: Holdings, n: number): string => {
  const long = held.small.filter(({ series }) => series.length === 1);
  const { studyInstanceUID, series } = long[n % long.length] as Holdings['ct'];
  return `/studies/${studyInstanceUID}/series/${series[0]?.seriesInstanceUID}`;
};
const ctSeries = ({ ct }: Holdings): string =>
  `/studies/${ct.studyInstanceUID}/series/${ct.series[0]?.seriesInstanceUID}`;
const ctInstance = (held: Holdings, n: number): string =>
  `${ctSeries(held)}/instances/${held.ctInstances[n % held.ctInstances.length]}`;

export const READ_KINDS: readonly ReadKind[] = [
  {
    name: 'qido-study-by-patient',
    group: 'qido',
    cellMs: CELL_MS,
    accept: JSON_TYPE,
    path: (held, n) => `/studies?PatientID=${pick(held.small, n).patientID}`,
  },
  {
    name: 'qido-study-by-uid',
    group: 'qido',
    cellMs: CELL_MS,
    accept: JSON_TYPE,
    path: (held, n) => `/studies?StudyInstanceUID=${pick(held.small, n).studyInstanceUID}`,
  },
  {
    name: 'qido-date-range-25',
    group: 'qido',
    cellMs: CELL_MS,
    accept: JSON_TYPE,
    path: (held, n) => {
      const dates = held.small.map(({ studyDate }) => studyDate).sort();
      return `/studies?StudyDate=${dates[(n * 7919) % (dates.length >> 1)]}-${dates.at(-1)}&limit=25`;
    },
  },
  {
    name: 'qido-instances-of-series',
    group: 'qido',
    cellMs: CELL_MS,
    accept: JSON_TYPE,
    path: (held, n) => {
      const { studyInstanceUID, series } = pick(
        held.small.filter((one) => one.series.length > 1),
        n,
      );
      return `/studies/${studyInstanceUID}/series/${series[0]?.seriesInstanceUID}/instances`;
    },
  },
  {
    name: 'metadata-200-first',
    group: 'wado',
    cellMs: 0,
    requests: FIRST_TIME,
    accept: JSON_TYPE,
    path: (held, n, round) => `${longSeries(held, round * FIRST_TIME + n)}/metadata`,
  },
  {
    name: 'metadata-200-again',
    group: 'wado',
    cellMs: CELL_MS,
    accept: JSON_TYPE,
    path: (held) => `${ctSeries(held)}/metadata`,
  },
  { name: 'instance', group: 'wado', cellMs: CELL_MS, accept: OBJECTS, path: ctInstance },
  {
    name: 'frame',
    group: 'wado',
    cellMs: CELL_MS,
    accept: 'multipart/related; type="application/octet-stream"',
    path: (held, n) => `${ctInstance(held, n)}/frames/1`,
  },
  {
    name: 'study-of-200',
    group: 'wado',
    cellMs: CELL_MS,
    accept: OBJECTS,
    long: true,
    path: ({ ct }) => `/studies/${ct.studyInstanceUID}`,
  },
  {
    name: 'rendered-first',
    group: 'wado',
    cellMs: 0,
    requests: FIRST_TIME,
    accept: 'image/jpeg',
    path: (held, n, round) => `${ctInstance(held, round * FIRST_TIME + n + 1)}/rendered`,
  },
  {
    name: 'rendered-again',
    group: 'wado',
    cellMs: CELL_MS,
    accept: 'image/jpeg',
    path: (held) => `${ctInstance(held, 0)}/rendered`,
  },
];

/** One cell; the first answer of a kind that may be repeated is not counted. */
export async function readCell(
  kind: ReadKind,
  server: Server,
  held: Holdings,
  round: number,
): Promise<{ items: number; sent: Sent; lengthBytes: number }> {
  const client = openClient();
  const ask = (n: number): Promise<Answer> => {
    const url = server.base + kind.path(held, n, round);
    return kind.long === true ? drain(url, { Accept: kind.accept }) : client.get(url, { Accept: kind.accept });
  };
  const answers: Answer[] = [];
  const begin = performance.now();
  for (let n = 0; kind.cellMs === 0 ? n < (kind.requests ?? 1) : performance.now() - begin < kind.cellMs || n < 3; n++)
    answers.push(await ask(n));
  const wallMs = performance.now() - begin;
  client.close();
  if (answers.some(({ lengthBytes }) => lengthBytes === 0))
    throw new Error(`${server.name} gave nothing to ${kind.name}`);
  return {
    items: answers.length,
    sent: {
      requestMs: answers.map(({ wholeMs }) => wholeMs),
      firstByteMs: answers.map(({ firstMs }) => firstMs),
      wallMs,
    },
    lengthBytes: answers.reduce((sum, one) => sum + one.lengthBytes, 0) / answers.length,
  };
}

/** Before anything is timed: both have answered each kind of request, connections and code paths are warm. */
export async function warmReads(kinds: readonly ReadKind[], server: Server, held: Holdings): Promise<void> {
  const client = openClient();
  for (const kind of kinds.filter(({ cellMs }) => cellMs > 0))
    for (let n = 0; n < 20; n++) await client.get(server.base + kind.path(held, n, 0), { Accept: kind.accept });
  client.close();
}
