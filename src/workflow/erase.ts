/**
 * A person is erased (GDPR Art. 17): nothing more of them is let in or sent, running work comes to its end, what is stored, derived and
 * held goes, and last the salt and the rows that lead back. Each step can be done again, so an erasure that was cut off goes on at the
 * next look. What remains is a certificate that names nobody, and lines in the audit trail.
 */
import { randomUUID } from 'node:crypto';
import { forgetChangesOf } from '../archive/changes.ts';
import { forgetPieces } from '../archive/pieces.ts';
import {
  deleteStudy,
  forgetTombstones,
  studiesOfPatient as storedStudies,
  studyOf,
  uidsOfStudy,
} from '../archive/studies.ts';
import { blackOut, recordAudit } from '../audit.ts';
import type { Row } from '../database.ts';
import { findStudy, studiesOfPatient, uidsOfPatient } from '../deidentify/crosswalk.ts';
import {
  forgetPatient,
  isKnownPseudonym,
  knownPseudonym,
  markLeaving,
  projectsOfWall,
} from '../deidentify/patients.ts';
import { subjectMark } from '../deidentify/pseudonyms.ts';
import { recordsOf, type PatientRecord } from '../deidentify/merge.ts';
import { forgetTransactionsOf } from '../delivery/commitment.ts';
import { forgetLedgerOf, readLedger } from '../delivery/ledger.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { countUnattributed, discard, heldOfSubject } from '../quarantine.ts';
import { cancelWorkOf, forgetWorkOf, workItemsOf } from '../workitems.ts';
import { forgetStepsNaming } from '../workitems/steps.ts';
import { forgetDisclosuresOf } from './disclose.ts';
import { forgetFetchesOf } from './fetched.ts';
import { forgetEmptySeries, forgetFacesOf } from './deface.ts';
import { forgetTalliesOf } from './tally.ts';
import { forgetVerificationOf } from './withhold.ts';

const DAY_MS = 86_400_000;

/** Why: a word of this list, and the file number under which the hospital keeps the request. Free text could name the person. */
const ERASURE_REASONS = ['data-subject-request', 'consent-withdrawn', 'sent-by-mistake', 'end-of-project'] as const;
export type ErasureReason = (typeof ERASURE_REASONS)[number];

/** Whom: by a pseudonym of one project, or as the hospital writes them, then in every project. */
export type ErasureSubject =
  { readonly project: string; readonly pseudonym: string } | { readonly record: PatientRecord };

export interface Certificate {
  readonly projects: number;
  readonly studies: number;
  readonly instances: number;
  /** Of the instances, those that pipelines had made. */
  readonly derived: number;
  readonly workItems: number;
  readonly held: number;
  /** Lines of the audit trail whose facts were blacked out, since they named a pseudonym. */
  readonly auditRows: number;
  /** Rows of the crosswalk, the salts among them. */
  readonly crosswalkRows: number;
  /** Objects by node that were sent there under the person's own name, and stay there until that node erases them. */
  readonly delivered: Readonly<Record<string, number>>;
  /** Objects still held that name no patient that can be read: a person has to look whether one is of this patient. */
  readonly heldWithoutName: number;
}

export interface Erasure {
  readonly id: string;
  readonly state: 'RUNNING' | 'DONE';
  readonly actor: string;
  readonly reason: string;
  readonly begunAt: number;
  readonly endedAt: number | undefined;
  readonly certificate: Certificate;
  /** What the erasure of this data folder does not reach. */
  readonly beyond: readonly string[];
}

const NOTHING: Certificate = {
  projects: 0,
  studies: 0,
  instances: 0,
  derived: 0,
  workItems: 0,
  held: 0,
  auditRows: 0,
  crosswalkRows: 0,
  delivered: {},
  heldWithoutName: 0,
};

/**
 * From here on the person is refused at the doors. Nothing is deleted yet: `continueErasures` does.
 * @throws Refusal NotFound when neither crosswalk nor quarantine knows anybody of that name; BadRequest
 */
export function beginErasure(
  gateway: Gateway,
  subject: ErasureSubject,
  request: { readonly actor: string; readonly reason: string; readonly reference: string },
): string {
  checkRequest(request);
  const { wall, database } = gateway;
  const id = randomUUID();
  return database.transaction(() => {
    const found = pseudonymsOf(gateway, subject);
    const marks = marksOf(gateway, subject, found);
    const held = marks.flatMap((mark) => heldOfSubject(gateway.quarantine, mark));
    if (found.length + held.length === 0) throw new Refusal('NotFound', 'nothing is known of such a patient');
    for (const { project, pseudonym } of found) {
      markLeaving(wall, project, pseudonym);
      database.run(
        'INSERT INTO erasure_subject (erasure, project, pseudonym) VALUES (?, ?, ?)',
        id,
        project,
        pseudonym,
      );
    }
    for (const mark of marks) database.run('INSERT INTO erasure_mark (erasure, mark) VALUES (?, ?)', id, mark);
    database.run(
      "INSERT INTO erasure (id, state, actor, reason, begun_at, certificate) VALUES (?, 'RUNNING', ?, ?, ?, ?)",
      id,
      request.actor,
      `${request.reason} ${request.reference}`.trim(),
      gateway.now(),
      JSON.stringify({ ...NOTHING, projects: new Set(found.map(({ project }) => project)).size }),
    );
    recordAudit(gateway.audit, 'Application Activity', request.actor, { action: 'erase', erasure: id });
    return id;
  });
}

function checkRequest({ reason, reference }: { readonly reason: string; readonly reference: string }): void {
  if (!(ERASURE_REASONS as readonly string[]).includes(reason))
    throw new Refusal('BadRequest', `reason must be one of ${ERASURE_REASONS.join(', ')}`);
  if (!/^[A-Za-z0-9][A-Za-z0-9 ./_-]{0,39}$/.test(reference))
    throw new Refusal(
      'BadRequest',
      'reference must be the number of the file that holds the request, up to 40 characters',
    );
}

interface Pseudonym {
  readonly project: string;
  readonly pseudonym: string;
}

/** All records of the person, merged ones too. */
function pseudonymsOf({ wall }: Gateway, subject: ErasureSubject): Pseudonym[] {
  const roots =
    'record' in subject
      ? projectsOfWall(wall).flatMap((project) => {
          const pseudonym = knownPseudonym(wall, project, subject.record.issuer, subject.record.id);
          return pseudonym === undefined ? [] : [{ project, pseudonym }];
        })
      : isKnownPseudonym(wall, subject.project, subject.pseudonym)
        ? [subject]
        : [];
  return roots.flatMap(({ project, pseudonym }) =>
    recordsOf(wall, project, pseudonym).map((one) => ({ project, pseudonym: one })),
  );
}

/** By which quarantine knows them: of the name they were asked for by, and of every name that their studies came with. */
function marksOf({ wall }: Gateway, subject: ErasureSubject, found: readonly Pseudonym[]): Buffer[] {
  const records: PatientRecord[] = 'record' in subject ? [subject.record] : [];
  for (const { project, pseudonym } of found) {
    for (const study of studiesOfPatient(wall, project, pseudonym)) {
      const attributes = findStudy(wall, project, study)?.attributes ?? {};
      const id = attributes['00100020']?.trim() ?? '';
      if (id !== '') records.push({ issuer: attributes['00100021']?.trim() ?? '', id });
    }
  }
  const marks = new Map(records.map(({ issuer, id }) => [`${issuer}\n${id}`, subjectMark(wall, issuer, id)]));
  return [...marks.values()];
}

/** Goes on with every erasure that has begun, as far as running work allows; answers how many were ended. */
export async function continueErasures(gateway: Gateway): Promise<number> {
  const turn = gateway.erasing.turn.then(() => continueAll(gateway));
  gateway.erasing.turn = turn.catch(() => undefined);
  return turn;
}

async function continueAll(gateway: Gateway): Promise<number> {
  let ended = 0;
  for (const row of gateway.database.all("SELECT id FROM erasure WHERE state = 'RUNNING' ORDER BY begun_at")) {
    if (await continueErasure(gateway, String(row['id']))) ended++;
  }
  return ended;
}

/** False: something of the person is still being received or worked on. */
async function continueErasure(gateway: Gateway, id: string): Promise<boolean> {
  const subjects = gateway.database
    .all('SELECT project, pseudonym FROM erasure_subject WHERE erasure = ? ORDER BY project, pseudonym', id)
    .map((row) => ({ project: String(row['project']), pseudonym: String(row['pseudonym']) }));
  const studies = [...new Set(subjects.flatMap((subject) => studiesOf(gateway, subject)))];
  if (!studies.map((study) => isAtRest(gateway, study)).every(Boolean)) return false;
  for (const study of studies) await eraseStudy(gateway, id, study);
  const marks = marksOfErasure(gateway, id);
  for (const { mark } of marks) {
    for (const held of heldOfSubject(gateway.quarantine, mark)) {
      await discard(gateway.quarantine, held, { alongside: () => count(gateway, id, { held: 1 }) });
    }
  }
  forgetEmptySeries(gateway);
  // Neither: the person was forgotten before this was cut off, and only what the files remember of them is left.
  if (subjects.length + marks.length > 0) forgetPerson(gateway, id, subjects);
  await forgetPieces(gateway.archive);
  gateway.database.truncateLog();
  endErasure(gateway, id);
  gateway.log.info('erased', { erasure: id });
  return true;
}

function studiesOf(gateway: Gateway, { project, pseudonym }: Pseudonym): string[] {
  return [
    ...studiesOfPatient(gateway.wall, project, pseudonym),
    ...storedStudies(gateway.archive, project, pseudonym).map(({ studyInstanceUID }) => studyInstanceUID),
  ];
}

/** Cancels what has not begun; what runs is refused at its next step, since the crosswalk lets nothing of the person pass. */
function isAtRest(gateway: Gateway, study: string): boolean {
  cancelWorkOf(gateway.workItems, study, 'Busy: the patient is being erased');
  const running = workItemsOf(gateway.workItems, study).some(({ state }) => state === 'IN PROGRESS');
  return !running && !gateway.arrivals.has(study);
}

async function eraseStudy(gateway: Gateway, id: string, study: string): Promise<void> {
  const summary = studyOf(gateway.archive, study);
  const alongside = (): void => {
    const delivered = new Map<string, number>();
    for (const { node, state } of readLedger(gateway.database, study)) {
      if (state !== 'refused') delivered.set(node, (delivered.get(node) ?? 0) + 1);
    }
    count(gateway, id, {
      studies: summary === undefined ? 0 : 1,
      instances: summary?.instanceCount ?? 0,
      derived: summary?.derivedCount ?? 0,
      workItems: forgetWorkOf(gateway.workItems, study),
      delivered: Object.fromEntries(delivered),
    });
    forgetLedgerOf(gateway.database, study);
    forgetTransactionsOf(gateway.database, study);
    gateway.database.run('DELETE FROM study_clock WHERE study_uid = ?', study);
    forgetTalliesOf(gateway, study);
    forgetFetchesOf(gateway, study);
    forgetFacesOf(gateway, study);
    forgetVerificationOf(gateway, study);
    forgetTombstones(gateway.archive, instances);
    forgetChangesOf(gateway.archive, study);
  };
  // Its UIDs are not kept as deleted ones are: they could be matched with the hospital's own by whoever holds the key.
  const instances = uidsOfStudy(gateway.archive, study);
  await deleteStudy(gateway.archive, study, { alongside });
}

function marksOfErasure(gateway: Gateway, id: string): { readonly mark: Buffer }[] {
  return gateway.database
    .all('SELECT mark FROM erasure_mark WHERE erasure = ?', id)
    .map((row) => ({ mark: row['mark'] as Buffer }));
}

/** In one transaction: rows and salts, and what named the pseudonym here. */
function forgetPerson(gateway: Gateway, id: string, subjects: readonly Pseudonym[]): void {
  const { database, wall } = gateway;
  database.transaction(() => {
    const words = new Set<string>();
    for (const { project, pseudonym } of subjects) {
      forgetDisclosuresOf(gateway, project, pseudonym);
      forgetStepsNaming(gateway.workItems, pseudonym);
      const uids = uidsOfPatient(wall, project, pseudonym);
      // Of what was deleted long before this erasure, too.
      forgetTombstones(gateway.archive, uids);
      for (const word of [pseudonym, ...uids]) words.add(word);
      count(gateway, id, { crosswalkRows: forgetPatient(wall, project, pseudonym) });
    }
    count(gateway, id, { auditRows: blackOut(gateway.audit, words) });
    count(gateway, id, { heldWithoutName: countUnattributed(gateway.quarantine) });
    database.run('DELETE FROM erasure_subject WHERE erasure = ?', id);
    database.run('DELETE FROM erasure_mark WHERE erasure = ?', id);
  });
}

/** Said only when no file remembers the person any more. */
function endErasure(gateway: Gateway, id: string): void {
  gateway.database.transaction(() => {
    gateway.database.run("UPDATE erasure SET state = 'DONE', ended_at = ? WHERE id = ?", gateway.now(), id);
    recordAudit(gateway.audit, 'Application Activity', 'isthmus', { action: 'erased', erasure: id });
  });
}

/** Adds to the certificate, in the transaction that does what is counted: a step done twice is counted once. */
function count(gateway: Gateway, id: string, more: Partial<Certificate>): void {
  const row = gateway.database.get('SELECT certificate FROM erasure WHERE id = ?', id);
  const sum = JSON.parse(String(row?.['certificate'])) as Record<string, number> & {
    delivered: Record<string, number>;
  };
  for (const [name, value] of Object.entries(more)) {
    if (typeof value === 'number') sum[name] = (sum[name] ?? 0) + value;
    else
      for (const [node, objects] of Object.entries(value)) sum.delivered[node] = (sum.delivered[node] ?? 0) + objects;
  }
  gateway.database.run('UPDATE erasure SET certificate = ? WHERE id = ?', JSON.stringify(sum), id);
}

/** Newest first. */
export function listErasures(gateway: Gateway): Erasure[] {
  return gateway.database.all('SELECT * FROM erasure ORDER BY begun_at DESC, id').map((row) => erasureOf(gateway, row));
}

/** @throws Refusal NotFound */
export function readErasure(gateway: Gateway, id: string): Erasure {
  const row = gateway.database.get('SELECT * FROM erasure WHERE id = ?', id);
  if (row === undefined) throw new Refusal('NotFound', 'there is no erasure of this id');
  return erasureOf(gateway, row);
}

function erasureOf(gateway: Gateway, row: Row): Erasure {
  const certificate = JSON.parse(String(row['certificate'])) as Certificate;
  const endedAt = row['ended_at'] === null ? undefined : Number(row['ended_at']);
  return {
    id: String(row['id']),
    state: row['state'] === 'DONE' ? 'DONE' : 'RUNNING',
    actor: String(row['actor']),
    reason: String(row['reason']),
    begunAt: Number(row['begun_at']),
    endedAt,
    certificate,
    beyond: beyondReach(gateway, certificate, endedAt),
  };
}

function beyondReach(gateway: Gateway, certificate: Certificate, endedAt: number | undefined): string[] {
  const { backupDays } = gateway.config.retention;
  const until =
    backupDays === undefined || endedAt === undefined
      ? 'until they are deleted; how long they are kept is not configured (retention.backupDays)'
      : `until ${new Date(endedAt + backupDays * DAY_MS).toISOString().slice(0, 10)}, when the last of them is deleted`;
  return [
    `Backups of the data folder made before the end of this erasure still hold the rows, sealed, ${until}. After bringing one back, erase again.`,
    ...Object.entries(certificate.delivered).map(
      ([node, objects]) => `${objects} results that were sent to ${node} stay there until ${node} deletes them.`,
    ),
    ...(certificate.heldWithoutName > 0
      ? [
          `${certificate.heldWithoutName} objects in quarantine name no patient that can be read: look at them one by one.`,
        ]
      : []),
    'Whoever fetched pseudonymous objects may still have them; nothing here leads from them to the person any more.',
  ];
}
