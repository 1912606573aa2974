/**
 * What the other objects of a study and a patient say of their people, places and numbers: a description may name somebody whom its own
 * object does not. Learned from every object that passes, kept sealed in the vault with the patient and destroyed with them.
 */
import { createHmac } from 'node:crypto';
import { tag, vrOf } from '../dicom/dictionary.ts';
import { patientOfStudy, findStudy, studiesOfPatient } from './crosswalk.ts';
import { seal, unseal, type Domain, type Wall } from './wall.ts';
import { addPiece, decodePieces, isTelling, kindOf, noIdentity, type Identity, type RawIdentity } from './identity.ts';
import { recordsOf } from './merge.ts';

/** An attribute that names somebody or something, and its text. */
type Said = readonly [attribute: number, text: string];

/** What is known of one patient or one study. */
export interface Kin {
  /** Of whom, among all projects. */
  readonly name: string;
  /** By attribute and text. */
  readonly said: Map<string, Said>;
  /** Words of names and of the patient's numbers, upper case, from four characters on: no kept text may hold them. */
  readonly words: Set<string>;
  /** Keys of raw identities that hold nothing beyond `said`. */
  readonly seen: Set<string>;
  /** Rows handed to no transaction whose end was seen: id -> content. */
  readonly unsaved: Map<string, readonly Said[]>;
}

/** One object's view: what its study and its patient are known to say. */
export interface KinOfObject {
  readonly patient: Kin;
  readonly study: Kin;
}

/** Patients and studies at hand; the rest is read from the vault again. */
const MAX_KIN = 128;
/** Longer lists are no names of one person any more. */
const MAX_SAID = 2000;
const MAX_SEEN = 5000;

/** Reads what is known, and adds what this object says; `saveKin` makes it last. */
export function learnKin(
  wall: Wall,
  domain: Domain,
  names: { readonly patient: string; readonly study: string },
  raw: RawIdentity,
): KinOfObject {
  const { patient, study } = knownKin(wall, domain, names);
  if (patient.seen.has(raw.key) && study.seen.has(raw.key)) return { patient, study };
  const said = decodePieces(raw);
  const news = said.filter((one) => !patient.said.has(keyOf(one)) || !study.said.has(keyOf(one)));
  for (const kin of [patient, study]) {
    for (const one of said) add(kin, one);
    if (kin.seen.size >= MAX_SEEN) kin.seen.clear();
    kin.seen.add(raw.key);
  }
  if (domain.lasting && news.length > 0 && patient.said.size < MAX_SAID)
    patient.unsaved.set(rowId(domain, names, news), news);
  return { patient, study };
}

/** What is known so far. */
export function knownKin(
  wall: Wall,
  domain: Domain,
  names: { readonly patient: string; readonly study: string },
): KinOfObject {
  return {
    patient: kinOf(wall, domain, `patient:${names.patient}`, (kin) => loadPatient(wall, domain, kin, names.patient)),
    study: kinOf(wall, domain, `study:${names.study}`, (kin) => loadStudy(wall, domain, kin, names.study)),
  };
}

function add(kin: Kin, one: Said): void {
  if (kin.said.size >= MAX_SAID) return;
  kin.said.set(keyOf(one), one);
  const [attribute, text] = one;
  if (!PATIENT_NUMBERS.has(attribute) && vrOf(attribute) !== 'PN') return;
  for (const word of text.toUpperCase().split(/[\s^=\\,;:()]+/)) if (word.length >= 4) kin.words.add(word);
}

const PATIENT_NUMBERS = new Set(['PatientID', 'OtherPatientIDs'].map(tag));

function keyOf([attribute, text]: Said): string {
  return `${attribute} ${text}`;
}

/** Keyed, so that a row's name tells nothing of what is in it. */
function rowId(domain: Domain, { patient, study }: { patient: string; study: string }, said: readonly Said[]): string {
  const words = JSON.stringify([patient, study, said]);
  return createHmac('sha256', domain.keys.text).update(words).digest('hex').slice(0, 32);
}

function kinOf(wall: Wall, domain: Domain, name: string, load: (kin: Kin) => void): Kin {
  const key = `${domain.lasting ? 'lasting' : 'once'} ${domain.project} ${name}`;
  let kin = wall.kin.get(key);
  if (kin === undefined) {
    kin = { name: key, said: new Map(), words: new Set(), seen: new Set(), unsaved: new Map() };
    // A key that nobody keeps has no rows.
    if (domain.lasting) load(kin);
  }
  if (wall.kin.size > MAX_KIN) {
    const [oldest] = wall.kin.keys();
    if (oldest !== undefined && oldest !== key) wall.kin.delete(oldest);
  }
  // Last used, last to go.
  wall.kin.delete(key);
  wall.kin.set(key, kin);
  return kin;
}

function loadPatient(wall: Wall, domain: Domain, kin: Kin, patient: string): void {
  for (const record of recordsOf(wall, domain.project, patient)) {
    addRows(wall, domain, kin, 'patient', record);
    for (const study of studiesOfPatient(wall, domain.project, record)) addOriginals(wall, domain, kin, study);
  }
}

function loadStudy(wall: Wall, domain: Domain, kin: Kin, study: string): void {
  addRows(wall, domain, kin, 'study', study);
  addOriginals(wall, domain, kin, study);
  const patient = patientOfStudy(wall, domain.project, study);
  if (patient !== undefined) addRows(wall, domain, kin, 'patient', patient);
}

function addRows(wall: Wall, domain: Domain, kin: Kin, column: 'patient' | 'study', pseudonym: string): void {
  const rows = wall.database.all(
    `SELECT pseudonym, sealed, generation FROM crosswalk_kin WHERE project = ? AND ${column} = ?`,
    domain.project,
    pseudonym,
  );
  for (const row of rows) {
    const clear = unseal(wall, domain, `kin:${String(row['pseudonym'])}`, row).toString('utf8');
    for (const one of JSON.parse(clear) as Said[]) add(kin, one);
  }
}

/** What the study's row keeps for the way back names its people too. */
function addOriginals(wall: Wall, domain: Domain, kin: Kin, study: string): void {
  for (const [key, text] of Object.entries(findStudy(wall, domain.project, study)?.attributes ?? {})) {
    const attribute = Number.parseInt(key, 16);
    if (!isTelling(attribute)) continue;
    for (const value of text.split('\\')) if (value.trim() !== '') add(kin, [attribute, value.trim()]);
  }
}

/**
 * Part of the caller's transaction when there is one; written again when that was rolled back.
 * @returns whether the vault did not know it, and it may stand in texts of other studies: a name or a place, no study's own number
 */
export function saveKin(
  wall: Wall,
  domain: Domain,
  names: { readonly patient: string; readonly study: string },
  { patient }: KinOfObject,
): boolean {
  let tellsMore = false;
  for (const [id, said] of patient.unsaved) {
    const { sealed, generation } = seal(wall, domain, `kin:${id}`, Buffer.from(JSON.stringify(said), 'utf8'));
    const { changes } = wall.database.run(
      'INSERT OR IGNORE INTO crosswalk_kin (project, pseudonym, patient, study, sealed, generation) VALUES (?, ?, ?, ?, ?, ?)',
      domain.project,
      id,
      names.patient,
      names.study,
      sealed,
      generation,
    );
    if (changes > 0 && said.some(([attribute]) => tellsOfPatient(attribute))) tellsMore = true;
  }
  return tellsMore;
}

function tellsOfPatient(attribute: number): boolean {
  return PATIENT_NUMBERS.has(attribute) || kindOf(attribute) === 'names' || kindOf(attribute) === 'places';
}

/** Between transactions: what is in the vault now need not be written again. */
export function settleKin(wall: Wall, domain: Domain, { patient }: KinOfObject): void {
  for (const id of patient.unsaved.keys()) {
    const row = wall.database.get(
      'SELECT 1 FROM crosswalk_kin WHERE project = ? AND pseudonym = ?',
      domain.project,
      id,
    );
    if (row !== undefined) patient.unsaved.delete(id);
  }
}

/** Of names, the patient's numbers and places alone: what other studies and machines are called stands everywhere by chance. */
export function peopleOf(kin: KinOfObject, skips: (attribute: number) => boolean): Identity {
  return { ...wholeIdentity(NOTHING_SAID, kin, skips), numbers: new Set() };
}

export const NOTHING_SAID: RawIdentity = { key: '', pieces: [] };

/** Own and learned, without what the profile retains. */
export function wholeIdentity(raw: RawIdentity, kin: KinOfObject, skips: (attribute: number) => boolean): Identity {
  const identity = noIdentity();
  for (const one of decodePieces(raw)) addPiece(identity, one);
  for (const { said } of [kin.patient, kin.study]) {
    for (const one of said.values()) if (!skips(one[0])) addPiece(identity, one);
  }
  return identity;
}
