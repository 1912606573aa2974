/**
 * Heads whose face is to be taken out (`faces: deface`): their images wait sealed until the series is whole. Then a plan is made of all
 * of them, tried and checked; written down, it holds for each image by itself, for those that come late and after a crash as well. What no
 * plan can be made of stays sealed, with the reason, for a person to look at.
 */
import { outOfSpace } from '../archive/room.ts';
import type { Row } from '../database.ts';
import { recordAudit } from '../audit.ts';
import { studyMark, subjectMark } from '../deidentify/pseudonyms.ts';
import { recordOf } from '../deidentify/patient-facts.ts';
import { studyPseudonym } from '../deidentify/subject.ts';
import {
  faceSource,
  followPlan,
  planSeries,
  type FaceSource,
  type PlannedSeries,
} from '../deidentify/faces/defacer.ts';
import { readSeriesPlan, type SeriesPlan } from '../deidentify/faces/plan.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import { asciiValue } from '../dicom/data-set.ts';
import type { Identified } from '../dicom/object.ts';
import { isShortage, Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { deleteSealed, heldOfBatch, hold, holdBecause, joinBatch, takeOut, type Held } from '../quarantine.ts';
import { beginArrival, endArrival } from './complete.ts';
import { letIn } from './let-in.ts';
import { openSealed } from './sealed.ts';

const SERIES_INSTANCE_UID = 0x0020000e;
const STUDY_INSTANCE_UID = 0x0020000d;
const SOP_INSTANCE_UID = 0x00080018;

const WAITS = 'waits for the rest of its series: its face is taken out of the whole volume';

export interface FaceWay {
  readonly project: string;
  readonly profile: CompiledProfile;
  readonly transferSyntaxUID: string;
  readonly door: string;
  readonly callingAE: string;
}

/** Seals an image until its series is whole; resolves, when that is durable, with its study's pseudonym. @throws Refusal DiskFull */
export async function holdForDefacing(
  gateway: Gateway,
  object: Identified,
  bytes: AsyncIterable<Uint8Array>,
  way: FaceWay,
): Promise<string> {
  const { dataSet } = object.head;
  const record = recordOf(dataSet);
  const study = asciiValue(dataSet, STUDY_INSTANCE_UID);
  const batch = batchOf(gateway, object, way);
  const waitsIn = studyPseudonym(gateway.wall, object, way);
  // Before the seal, so that no image is ever held that nobody comes back for.
  noteSeries(gateway, batch, way, waitsIn);
  await hold(gateway.quarantine, bytes, {
    reason: 'Quarantined',
    sentence: WAITS,
    door: way.door,
    callingAE: way.callingAE,
    transferSyntaxUID: way.transferSyntaxUID,
    subject: record && subjectMark(gateway.wall, record.issuer, record.id),
    study: study === undefined ? undefined : studyMark(gateway.wall, study),
    batch,
  });
  // Its quiet time counts from when it was durable.
  noteSeries(gateway, batch, way, waitsIn);
  return waitsIn;
}

/** A sealed image that a person lets in under a profile that takes faces out: it waits for the others. Answers its study's pseudonym. */
export function releaseForDefacing(
  gateway: Gateway,
  id: string,
  object: Identified,
  way: Pick<FaceWay, 'project' | 'profile'>,
): string {
  const batch = batchOf(gateway, object, way);
  const waitsIn = studyPseudonym(gateway.wall, object, way);
  gateway.database.transaction(() => {
    joinBatch(gateway.quarantine, id, batch, WAITS);
    noteSeries(gateway, batch, way, waitsIn);
  });
  return waitsIn;
}

/** Of the series as the hospital names it, for one project and profile. */
function batchOf(
  gateway: Gateway,
  { head }: Identified,
  { project, profile }: Pick<FaceWay, 'project' | 'profile'>,
): Buffer {
  const series = asciiValue(head.dataSet, SERIES_INSTANCE_UID) ?? '';
  return studyMark(gateway.wall, `${project} ${profile.name} ${series}`);
}

function noteSeries(
  { database, now }: Gateway,
  batch: Buffer,
  { project, profile }: Pick<FaceWay, 'project' | 'profile'>,
  study: string,
): void {
  database.run(
    `INSERT INTO face_series (batch, project, profile, study_uid, last_arrival, state) VALUES (?, ?, ?, ?, ?, 'waiting')
     ON CONFLICT (batch) DO UPDATE SET last_arrival = excluded.last_arrival, state = 'waiting', study_uid = excluded.study_uid`,
    batch,
    project,
    profile.name,
    study,
    now(),
  );
}

interface FaceSeries {
  readonly batch: Buffer;
  readonly project: string;
  readonly profile: string;
  readonly study: string;
  readonly lastArrival: number;
  readonly plan: SeriesPlan | undefined;
}

/** Takes the faces out of every series that is whole; answers how many series were done, either way. */
export async function defaceDueSeries(gateway: Gateway, signal?: AbortSignal): Promise<number> {
  let done = 0;
  for (const series of dueSeries(gateway)) {
    if (isAborted(signal)) break;
    beginArrival(gateway, series.study);
    try {
      await defaceSeries(gateway, series, signal);
      done++;
    } catch (error) {
      if (isAborted(signal)) break;
      setBack(gateway, series, outOfSpace(error));
    } finally {
      endArrival(gateway, series.study);
    }
  }
  return done;
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/** What passes is waited for; a fault of ours would be one again, so that the images stay sealed until a person has looked. */
function setBack(gateway: Gateway, series: FaceSeries, error: unknown): void {
  const passes = isShortage(error);
  gateway.log.error('face not taken out', {
    study: series.study,
    error: error instanceof Refusal ? error.reason : error instanceof Error ? error.name : 'unknown',
    at: error instanceof Error ? (error.stack?.split('\n').find((line) => line.includes(' at ')) ?? '').trim() : '',
  });
  if (passes) {
    gateway.database.run('UPDATE face_series SET last_arrival = ? WHERE batch = ?', gateway.now(), series.batch);
    return;
  }
  const fault = new Refusal('ProcessingFailure', 'the face was not taken out, by a fault that the log tells of');
  sealSeries(gateway, series, heldOfBatch(gateway.quarantine, series.batch), fault);
}

/** As a study is complete: quiet for long enough, and nobody is sending anything of it. */
function dueSeries(gateway: Gateway): FaceSeries[] {
  return gateway.database
    .all(
      "SELECT * FROM face_series WHERE state = 'waiting' AND last_arrival <= ? ORDER BY last_arrival",
      gateway.now() - gateway.config.quietSeconds * 1000,
    )
    .map(seriesOfRow)
    .filter(({ study }) => !gateway.arrivals.has(study));
}

function seriesOfRow(row: Row): FaceSeries {
  const plan = row['plan'];
  return {
    batch: row['batch'] as Buffer,
    project: String(row['project']),
    profile: String(row['profile']),
    study: String(row['study_uid']),
    lastArrival: Number(row['last_arrival']),
    plan: typeof plan === 'string' ? readSeriesPlan(plan) : undefined,
  };
}

async function defaceSeries(gateway: Gateway, series: FaceSeries, signal: AbortSignal | undefined): Promise<void> {
  const held = await distinct(gateway, heldOfBatch(gateway.quarantine, series.batch));
  const profile = gateway.profiles.get(series.profile);
  if (held.length === 0) return settle(gateway, series);
  if (profile === undefined)
    return sealSeries(
      gateway,
      series,
      held.map((image) => image.held),
      new Refusal('Quarantined', 'the profile it came under does not exist any more'),
    );
  const plan = series.plan ?? (await planned(gateway, series, held, signal));
  if (plan !== undefined) await followed(gateway, { ...series, plan }, profile, held, signal);
  settle(gateway, series);
}

interface HeldImage {
  readonly held: Held;
  readonly source: FaceSource;
}

/** Of one SOP Instance UID the first that came; what came later with other content says so and waits for a person. */
async function distinct(gateway: Gateway, all: readonly Held[]): Promise<HeldImage[]> {
  const images: HeldImage[] = [];
  const seen = new Set<string>();
  for (const held of all) {
    const open = (): Promise<Identified> => openSealed(gateway, held);
    try {
      const { head } = await open();
      const name = asciiValue(head.dataSet, SOP_INSTANCE_UID) ?? '';
      if (seen.has(name))
        throw new Refusal('Duplicate', 'another image of its series has the same SOP Instance UID (0008,0018)');
      seen.add(name);
      images.push({ held, source: faceSource(head, open) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      leave(gateway, held, error);
    }
  }
  return images;
}

/** Makes the plan and writes it down; undefined when the series stays sealed. */
async function planned(
  gateway: Gateway,
  series: FaceSeries,
  images: readonly HeldImage[],
  signal: AbortSignal | undefined,
): Promise<SeriesPlan | undefined> {
  let made: PlannedSeries;
  try {
    made = await planSeries(
      images.map(({ source }) => source),
      gateway.faceTools,
      signal,
    );
  } catch (error) {
    if (!(error instanceof Refusal) || isShortage(error)) throw error;
    sealSeries(
      gateway,
      series,
      images.map(({ held }) => held),
      error,
    );
    return undefined;
  }
  const { plan, figures } = made;
  gateway.database.run(
    'UPDATE face_series SET plan = ?, figures = ? WHERE batch = ?',
    JSON.stringify(plan),
    JSON.stringify(figures),
    series.batch,
  );
  gateway.log.info('face found', { study: series.study, images: figures.images, movedMm: figures.medianMm });
  return plan;
}

async function followed(
  gateway: Gateway,
  series: FaceSeries & { readonly plan: SeriesPlan },
  profile: CompiledProfile,
  images: readonly HeldImage[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const follower = await followPlan(series.plan, gateway.faceTools);
  let released = 0;
  try {
    for (const { held, source } of images) {
      signal?.throwIfAborted();
      try {
        const { object, pixels } = await follower.deface(source);
        // Stored and no longer held in one transaction: what was erased or discarded meanwhile is not let in.
        const alongside = (): void => {
          if (!takeOut(gateway.quarantine, held.id)) throw new Refusal('Gone', 'it was discarded meanwhile');
        };
        await letIn(gateway, object, { project: series.project, profile, defaced: pixels, alongside });
        takeOut(gateway.quarantine, held.id);
        await deleteSealed(gateway.quarantine, held);
        released++;
      } catch (error) {
        if (!(error instanceof Refusal) || isShortage(error)) throw error;
        leave(gateway, held, error);
      }
    }
  } finally {
    await follower.end();
  }
  if (released > 0)
    recordAudit(gateway.audit, 'Application Activity', 'isthmus', {
      action: 'face taken out',
      study: series.study,
      images: released,
      rules: profile.hash,
    });
  gateway.log.info('face taken out', { study: series.study, images: released, left: images.length - released });
}

function leave(gateway: Gateway, held: Held, { reason, message }: Refusal): void {
  gateway.log.warn('object refused', { reason, found: message, door: held.door, callingAE: held.callingAE });
  holdBecause(gateway.quarantine, held.id, reason, message);
}

function sealSeries(gateway: Gateway, series: FaceSeries, images: readonly Held[], refusal: Refusal): void {
  gateway.database.transaction(() => {
    for (const held of images) holdBecause(gateway.quarantine, held.id, refusal.reason, refusal.message);
    settle(gateway, series);
  });
  gateway.log.warn('series stays sealed', { study: series.study, images: images.length, found: refusal.message });
}

/** Nothing more is due, unless something has come meanwhile. A series of which nothing is held and no plan was made is forgotten. */
function settle({ database }: Gateway, { batch, lastArrival }: FaceSeries): void {
  database.run(
    `UPDATE face_series SET state = CASE WHEN plan IS NULL THEN 'sealed' ELSE 'done' END
     WHERE batch = ? AND last_arrival = ?`,
    batch,
    lastArrival,
  );
}

/** Plans of a study that is deleted, in the same transaction; what still waits is planned anew. */
export function forgetFacesOf({ database }: Gateway, studyInstanceUID: string): void {
  database.run("DELETE FROM face_series WHERE study_uid = ? AND state <> 'waiting'", studyInstanceUID);
  database.run('UPDATE face_series SET plan = NULL, figures = NULL WHERE study_uid = ?', studyInstanceUID);
}

/** Series of which nothing is held any more and nothing was stored; with them their plans, which hold the shape of a head. */
export function forgetEmptySeries({ database }: Gateway): void {
  database.run(
    `DELETE FROM face_series WHERE (plan IS NULL OR study_uid NOT IN (SELECT study_uid FROM study))
     AND batch NOT IN (SELECT batch FROM quarantine WHERE batch IS NOT NULL)`,
  );
}
