/**
 * A look behind a pseudonym (an incidental finding, a request for access after GDPR Art. 15): one person asks and says why, another one
 * approves, and for a short time the one who asked may read. Every step stands in the audit trail; what was read stands nowhere.
 */
import { randomUUID } from 'node:crypto';
import { isOnePerson } from '../access.ts';
import { recordAudit } from '../audit.ts';
import type { Row } from '../database.ts';
import {
  findStudy,
  originalUid,
  patientOfStudy,
  patientOfUid,
  readNote,
  studiesOfPatient,
  writeNote,
  type StudyRow,
} from '../deidentify/crosswalk.ts';
import { isKnownPseudonym } from '../deidentify/patients.ts';
import { recordsOf } from '../deidentify/merge.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';

export type DisclosureState = 'ASKED' | 'APPROVED' | 'REFUSED' | 'ENDED';

export interface Disclosure {
  readonly id: string;
  readonly project: string;
  /** The pseudonym that was asked about: of a patient, a study, or any UID of theirs. */
  readonly subject: string;
  /** In the words of the one who asks; sealed at rest, gone when the patient is erased. */
  readonly reason: string;
  readonly askedBy: string;
  readonly askedAt: number;
  readonly state: DisclosureState;
  readonly decidedBy: string | undefined;
  readonly decidedAt: number | undefined;
  /** ASKED: when the question lapses; APPROVED: when the answer can no longer be read. */
  readonly endsAt: number;
  readonly readings: number;
}

/** What the crosswalk holds of a pseudonym. */
export interface Originals {
  readonly patient: { readonly pseudonym: string; readonly attributes: Readonly<Record<string, string>> }[];
  readonly studies: {
    readonly pseudonym: string;
    readonly studyInstanceUID: string;
    readonly attributes: Readonly<Record<string, string>>;
  }[];
  /** Of the UID that was asked about. */
  readonly uid: string | undefined;
}

const QUESTION_DAYS = 7;
const DAY_MS = 86_400_000;
const MOST_REASON = 500;

/** @throws Refusal NotFound when the project has no such pseudonym; BadRequest */
export function askDisclosure(
  gateway: Gateway,
  question: { readonly project: string; readonly subject: string; readonly reason: string },
  actor: string,
): Disclosure {
  const { project, subject } = question;
  const reason = question.reason.trim();
  if (reason.length < 10 || reason.length > MOST_REASON)
    throw new Refusal(
      'BadRequest',
      `a reason of 10 to ${MOST_REASON} characters is needed; ${reason.length} were given`,
    );
  const patient = patientOfSubject(gateway, project, subject);
  if (patient === undefined) throw new Refusal('NotFound', 'the project has no such pseudonym');
  const id = randomUUID();
  const now = gateway.now();
  gateway.database.transaction(() => {
    writeNote(gateway.wall, project, { id, patient, text: reason });
    gateway.database.run(
      `INSERT INTO disclosure (id, project, patient, subject, asked_by, asked_at, state, ends_at)
       VALUES (?, ?, ?, ?, ?, ?, 'ASKED', ?)`,
      id,
      project,
      patient,
      subject,
      actor,
      now,
      now + QUESTION_DAYS * DAY_MS,
    );
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'ask disclosure', disclosure: id, project });
  });
  return readDisclosure(gateway, id);
}

/** @throws Refusal NotFound; NotAuthorized when it is the one who asked; Conflict when it has been decided or has lapsed */
export function decideDisclosure(gateway: Gateway, id: string, approve: boolean, actor: string): Disclosure {
  gateway.database.transaction(() => {
    const { askedBy, state } = readDisclosure(gateway, id);
    if (isOnePerson(gateway.config.tokens, askedBy, actor))
      throw new Refusal('NotAuthorized', 'another person than the one who asked must decide');
    if (state !== 'ASKED') throw new Refusal('Conflict', `the question is ${state}, not ASKED`);
    const now = gateway.now();
    gateway.database.run(
      'UPDATE disclosure SET state = ?, decided_by = ?, decided_at = ?, ends_at = ? WHERE id = ?',
      approve ? 'APPROVED' : 'REFUSED',
      actor,
      now,
      approve ? now + gateway.config.disclosure.minutes * 60_000 : now,
      id,
    );
    const action = approve ? 'approve disclosure' : 'refuse disclosure';
    recordAudit(gateway.audit, 'Application Activity', actor, { action, disclosure: id });
  });
  return readDisclosure(gateway, id);
}

/** @throws Refusal NotFound; NotAuthorized for anybody but the one who asked, and before approval or after its time */
export function discloseOriginals(gateway: Gateway, id: string, actor: string): Originals {
  return gateway.database.transaction(() => {
    const { askedBy, state, project, subject } = readDisclosure(gateway, id);
    if (askedBy !== actor) throw new Refusal('NotAuthorized', 'only the one who asked may read');
    if (state !== 'APPROVED') throw new Refusal('NotAuthorized', `the question is ${state}, not APPROVED`);
    const patient = patientOfSubject(gateway, project, subject);
    if (patient === undefined) throw new Refusal('NotFound', 'the project has no such pseudonym any more');
    gateway.database.run('UPDATE disclosure SET readings = readings + 1 WHERE id = ?', id);
    recordAudit(gateway.audit, 'Export', actor, { action: 'read original', disclosure: id, project });
    return originalsOf(gateway, project, patient, subject);
  });
}

function originalsOf(gateway: Gateway, project: string, patient: string, subject: string): Originals {
  const { wall } = gateway;
  const isPatient = isKnownPseudonym(wall, project, subject);
  const records = isPatient ? recordsOf(wall, project, patient) : [patient];
  const rows = records.flatMap((record) =>
    studiesOfPatient(wall, project, record)
      .filter((study) => isPatient || !isStudy(gateway, project, subject) || study === subject)
      .flatMap((study) => {
        const row = findStudy(wall, project, study);
        return row === undefined ? [] : [{ record, study, row }];
      }),
  );
  return {
    patient: records.flatMap((record) => {
      const row = rows.find((one) => one.record === record)?.row;
      return row === undefined ? [] : [{ pseudonym: record, attributes: ofPatient(row) }];
    }),
    studies: rows.map(({ study, row }) => ({
      pseudonym: study,
      studyInstanceUID: row.originalStudyInstanceUID,
      attributes: row.attributes,
    })),
    uid: originalUid(wall, project, subject),
  };
}

/** Group 0010: what is the patient's and not one study's. */
function ofPatient(row: StudyRow): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(row.attributes).filter(([tag]) => tag.startsWith('0010')));
}

function isStudy({ wall }: Gateway, project: string, subject: string): boolean {
  return patientOfStudy(wall, project, subject) !== undefined;
}

function patientOfSubject({ wall }: Gateway, project: string, subject: string): string | undefined {
  if (isKnownPseudonym(wall, project, subject)) return subject;
  return patientOfStudy(wall, project, subject) ?? patientOfUid(wall, project, subject);
}

/** Newest first. */
export function listDisclosures(gateway: Gateway, limit: number): Disclosure[] {
  return gateway.database
    .all('SELECT * FROM disclosure ORDER BY asked_at DESC, id LIMIT ?', limit)
    .map((row) => disclosureOf(gateway, row));
}

/** @throws Refusal NotFound */
function readDisclosure(gateway: Gateway, id: string): Disclosure {
  const row = gateway.database.get('SELECT * FROM disclosure WHERE id = ?', id);
  if (row === undefined) throw new Refusal('NotFound', 'there is no disclosure of this id');
  return disclosureOf(gateway, row);
}

/** When the patient is erased, the questions about them go too. */
export function forgetDisclosuresOf(gateway: Gateway, project: string, patient: string): void {
  gateway.database.run('DELETE FROM disclosure WHERE project = ? AND patient = ?', project, patient);
}

function disclosureOf(gateway: Gateway, row: Row): Disclosure {
  const id = String(row['id']);
  const project = String(row['project']);
  const endsAt = Number(row['ends_at']);
  const state = String(row['state']) as DisclosureState;
  return {
    id,
    project,
    subject: String(row['subject']),
    reason: readNote(gateway.wall, project, id) ?? '',
    askedBy: String(row['asked_by']),
    askedAt: Number(row['asked_at']),
    state: (state === 'ASKED' || state === 'APPROVED') && gateway.now() >= endsAt ? 'ENDED' : state,
    decidedBy: row['decided_by'] === null ? undefined : String(row['decided_by']),
    decidedAt: row['decided_at'] === null ? undefined : Number(row['decided_at']),
    endsAt,
    readings: Number(row['readings']),
  };
}
