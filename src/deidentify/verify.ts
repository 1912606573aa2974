/**
 * Whether a study may leave: everything that was stored of it is looked at once more, with what the vault knows of the patient, apart from
 * the rules that wrote it. What cannot be verified is not released.
 */
import { keywordOf } from '../dicom/dictionary.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { domainOf, type Wall } from './wall.ts';
import { findStudy, isMinted, originalsOf, patientOfUid, studiesOfPatient, type StudyRow } from './crosswalk.ts';
import { retained, type Identity } from './identity.ts';
import { inspect, type Stamped } from './inspect.ts';
import { knownKin, NOTHING_SAID, peopleOf } from './kin.ts';
import { recordsOf } from './merge.ts';
import { formatPath } from './path.ts';
import type { CompiledProfile } from './profile.ts';
import type { Lost } from './required.ts';
import { candidatesIn, findResidue, needlesOf, type Exceptions, type Needles } from './residue.ts';
import type { Counts } from './rewriting.ts';

export interface RuleSet {
  readonly profile: string;
  /** SHA-256 over the rules and the choices; its first eight digits stand in (0012,0063). */
  readonly hash: string;
  /** Of Table E.1-1. */
  readonly edition: string;
  readonly instances: number;
}

/** What the door saw in pixels: after a second look that found nothing more, or the object is not here. */
export interface DoorPixels {
  /** Objects whose pixels were searched for text. */
  readonly looked: number;
  /** Places that were blanked. */
  readonly boxes: number;
}

/** What the door knows of a study and nobody can read from its result. */
export interface DoorFacts {
  readonly ruleSets: readonly RuleSet[];
  readonly counts: Counts;
  readonly lost: readonly Lost[];
  readonly pixels: DoorPixels;
  /** Objects of the study that wait for a person. */
  readonly sealed: number;
}

export interface TextKept {
  readonly path: string;
  readonly keyword: string;
  /** How many different values; `atLeast` when counting was given up. */
  readonly distinct: number;
  readonly atLeast: boolean;
  /** The first few. */
  readonly values: readonly string[];
}

export interface Found {
  readonly sopInstanceUID: string;
  readonly path: string;
}

export interface Verification {
  readonly studyInstanceUID: string;
  readonly project: string;
  readonly verifiedAt: string;
  readonly verdict: 'RELEASE' | 'QUARANTINE';
  /** Why not; empty for RELEASE. */
  readonly reasons: readonly string[];
  /** What a person should know and what holds nothing back. */
  readonly remarks: readonly string[];
  readonly instances: number;
  /** Of the instances, those that pipelines have made. */
  readonly derived: number;
  readonly ruleSets: readonly RuleSet[];
  readonly counts: Counts;
  readonly textKept: readonly TextKept[];
  readonly residue: {
    /** False where no way leads back, so that nothing is known to search for. */
    readonly searched: boolean;
    /** How many forms of names, numbers and places, and how many UIDs. */
    readonly forms: number;
    readonly originalUids: number;
    readonly found: readonly Found[];
    readonly foundIn: number;
  };
  readonly uids: {
    readonly inStudy: number;
    readonly elsewhere: number;
    /** Known to the crosswalk, not here: objects that have not been sent. */
    readonly external: number;
    readonly unknown: number;
    /** Never the UID: it may be an original. */
    readonly unknownAt: readonly Found[];
  };
  /** Types 1 and 2 that the source had, of the first instance of each series. */
  readonly iodDelta: readonly Lost[];
  readonly pixels: DoorPixels & {
    readonly images: number;
    /** Clean Pixel Data Option, code 113101 of CID 7050. */
    readonly textCleaned: number;
    /** Clean Recognizable Visual Features Option, 113102. */
    readonly facesCleaned: number;
    readonly burnedIn: Readonly<Record<string, number>>;
    readonly recognizable: Readonly<Record<string, number>>;
    /** Objects that say themselves that identity may not be removed. */
    readonly identityNotRemoved: number;
  };
  readonly sealed: number;
}

const MOST_DISTINCT = 1000;
const MOST_VALUES = 20;
const MOST_CHARACTERS = 200;
const MOST_FOUND = 50;

export interface Verifier {
  /** One object's bytes up to its pixel data, or what was read from them already. */
  take(
    head: Buffer | HeadAndBody,
    object: { readonly sopInstanceUID: string; readonly derived: boolean; readonly image: boolean },
  ): void;
  /** What was seen since the last cut, to be concluded with what others saw of the same study. */
  cut(): Seen;
  end(door: DoorFacts): Verification;
}

export interface Surroundings {
  readonly project: string;
  readonly studyInstanceUID: string;
  /** Those that may have written the study. */
  readonly profiles: readonly CompiledProfile[];
  /** Study, its series and its instances. */
  readonly ofStudy: ReadonlySet<string>;
  /** Whether something of this UID is stored here. */
  readonly isStored: (uid: string) => boolean;
  readonly now: Date;
}

/** What was seen of objects; plain data. */
export interface Seen {
  readonly reasons: Set<string>;
  readonly texts: Map<string, Text>;
  readonly uids: Map<string, UidKind>;
  readonly found: Found[];
  readonly unknownAt: Found[];
  readonly pixels: { -readonly [Key in keyof Verification['pixels']]: Verification['pixels'][Key] };
  readonly stamps: Set<string>;
  /** How much was searched for; undefined where nothing is known any more. */
  readonly searched: { readonly forms: number; readonly originalUids: number } | undefined;
  instances: number;
  derived: number;
  foundIn: number;
}

function nothingSeen(searched: Seen['searched']): Seen {
  return {
    searched,
    reasons: new Set(),
    texts: new Map(),
    uids: new Map(),
    found: [],
    unknownAt: [],
    pixels: {
      looked: 0,
      boxes: 0,
      images: 0,
      textCleaned: 0,
      facesCleaned: 0,
      burnedIn: {},
      recognizable: {},
      identityNotRemoved: 0,
    },
    stamps: new Set(),
    instances: 0,
    derived: 0,
    foundIn: 0,
  };
}

/** The search itself and what became of it. */
interface Look extends Seen {
  readonly wall: Wall;
  readonly around: Surroundings;
  readonly secrets: Secrets | undefined;
}

type UidKind = 'inStudy' | 'elsewhere' | 'external' | 'unknown';

/** What is looked for. */
interface Secrets {
  /** What a profile retains is no secret. */
  readonly needlesFor: (profile: CompiledProfile | undefined) => Needles;
  readonly uids: ReadonlySet<string>;
}

/** Reads the vault. Nothing of a study is known where its keys were destroyed: then `lasting` rule sets are a contradiction. */
export async function openVerification(wall: Wall, around: Surroundings): Promise<Verifier> {
  const secrets = await secretsOf(wall, around);
  const searched = secrets && { forms: secrets.needlesFor(undefined).texts.length, originalUids: secrets.uids.size };
  let look: Look = { wall, around, secrets, ...nothingSeen(searched) };
  const cut = (): Seen => {
    const { wall: _wall, around: _around, secrets: _secrets, ...seen } = look;
    look = { wall, around, secrets, ...nothingSeen(searched) };
    return seen;
  };
  return {
    take: (head, object) => {
      look.instances++;
      if (object.derived) look.derived++;
      try {
        takeObject(look, head, object);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        look.reasons.add(`an object could not be read: ${error.message}`);
      }
    },
    cut,
    end: (door) => concludeVerification(around, [cut()], door),
  };
}

/** @param parts in the order of the objects, whoever saw them: then the report is the same as if one had seen them all */
export function concludeVerification(around: Surroundings, parts: readonly Seen[], door: DoorFacts): Verification {
  const all = nothingSeen(parts[0]?.searched);
  for (const part of parts) addSeen(all, part);
  return conclude(around, all, door);
}

function addSeen(all: Seen, seen: Seen): void {
  for (const reason of seen.reasons) all.reasons.add(reason);
  for (const stamp of seen.stamps) all.stamps.add(stamp);
  for (const [path, { keyword, values, atLeast }] of seen.texts) {
    const text = textAt(all, path, () => keyword);
    for (const value of values) noteValue(text, value);
    text.atLeast ||= atLeast;
  }
  for (const [uid, kind] of seen.uids) all.uids.set(uid, kind);
  all.found.push(...seen.found.slice(0, MOST_FOUND - all.found.length));
  all.unknownAt.push(...seen.unknownAt.slice(0, MOST_FOUND - all.unknownAt.length));
  addPixels(all.pixels, seen.pixels);
  all.instances += seen.instances;
  all.derived += seen.derived;
  all.foundIn += seen.foundIn;
}

function addPixels(all: Seen['pixels'], more: Seen['pixels']): void {
  for (const key of ['looked', 'boxes', 'images', 'textCleaned', 'facesCleaned', 'identityNotRemoved'] as const)
    all[key] += more[key];
  for (const key of ['burnedIn', 'recognizable'] as const)
    for (const [value, count] of Object.entries(more[key])) all[key] = countedIn(all[key], value, count);
}

async function secretsOf(wall: Wall, { project, studyInstanceUID }: Surroundings): Promise<Secrets | undefined> {
  const own = findStudy(wall, project, studyInstanceUID);
  if (own === undefined) return undefined;
  const records = recordsOf(wall, project, own.patient);
  const rows = records
    .flatMap((record) => studiesOfPatient(wall, project, record))
    .flatMap((study) => (study === studyInstanceUID ? [] : (findStudy(wall, project, study) ?? [])));
  const uids = new Set<string>();
  for (const record of records) {
    for await (const [pseudonym, original] of originalsOf(wall, project, record)) {
      if (pseudonym !== original) uids.add(original);
    }
  }
  const kin = knownKin(wall, domainOf(wall, project), { patient: own.patient, study: studyInstanceUID });
  const ofRows = identityOfRows(own, rows);
  const needles = new Map<CompiledProfile | undefined, Needles>();
  const needlesFor = (profile: CompiledProfile | undefined): Needles => {
    const known =
      needles.get(profile) ?? needlesOf(joined(ofRows, peopleOf(kin, retainedBy(profile))), NOTHING_SAID, []);
    needles.set(profile, known);
    return known;
  };
  return { needlesFor, uids };
}

function retainedBy(profile: CompiledProfile | undefined): (attribute: number) => boolean {
  return profile === undefined ? () => false : retained(profile.options);
}

function joined(one: Identity, other: Identity): Identity {
  return {
    names: new Set([...one.names, ...other.names]),
    ids: new Set([...one.ids, ...other.ids]),
    numbers: new Set([...one.numbers, ...other.numbers]),
    places: new Set([...one.places, ...other.places]),
  };
}

const NAMES = ['00100010', '00101001', '00080090'];
const IDS = ['00100020', '00101000', '00080050'];

/** Study ID is the study's own number alone: those of other studies are as short as any other number. */
function identityOfRows(own: StudyRow, others: readonly StudyRow[]): Identity {
  const valuesOf = (rows: readonly StudyRow[], keys: readonly string[]): Set<string> =>
    new Set(
      rows
        .flatMap(({ attributes }) => keys.flatMap((key) => (attributes[key] ?? '').split('\\')))
        .map((value) => value.trim())
        .filter((value) => value !== ''),
    );
  const all = [own, ...others];
  return {
    names: valuesOf(all, NAMES),
    ids: valuesOf(all, IDS),
    numbers: valuesOf([own], ['00200010']),
    places: valuesOf(all, ['00100021']),
  };
}

function takeObject(look: Look, given: Buffer | HeadAndBody, object: Parameters<Verifier['take']>[1]): void {
  const read = Buffer.isBuffer(given) ? readHead(given) : given;
  const { dataSet } = read.head;
  const { texts, uids, says } = inspect(dataSet);
  const { sopInstanceUID } = object;
  for (const { path, value } of texts) noteText(look, path, value);
  for (const { path, uid } of uids) {
    if (isWellKnownUid(uid)) continue;
    if (kindOf(look, uid) === 'unknown' && look.unknownAt.length < MOST_FOUND)
      look.unknownAt.push({ sopInstanceUID, path: formatPath(path) });
  }
  if (object.image) notePixels(look, says);
  if (says.identityRemoved === 'NO') look.pixels.identityNotRemoved++;
  // What a pipeline writes is made of what the door has written.
  const [newest] = says.ruleSets;
  if (newest !== undefined) look.stamps.add(newest);
  else if (!object.derived) look.reasons.add('an object does not say which rule set de-identified it');
  if (object.image) judgeFace(look, says, newest);
  search(look, dataSet.bytes.subarray(0, read.bodyStart), sopInstanceUID, newest);
}

/** What an object says of its face is what its profile promises: nothing else is believed. */
function judgeFace({ around, reasons }: Look, { codes, recognizable }: Stamped, stamp: string | undefined): void {
  if (codes.includes('113102') && recognizable === 'YES')
    reasons.add('an object says that its face was taken out and that it may show one');
  const profile = around.profiles.find(({ hash }) => stamp !== undefined && hash.startsWith(stamp));
  if (profile !== undefined && profile.file.faces !== 'allow' && recognizable === 'YES')
    reasons.add('an object may show a face, which its profile does not let pass');
}

function search(look: Look, head: Buffer, sopInstanceUID: string, stamp: string | undefined): void {
  const { secrets, around } = look;
  if (secrets === undefined) return;
  const profile = around.profiles.find(({ hash }) => stamp !== undefined && hash.startsWith(stamp));
  const path = findResidue(head, secrets.needlesFor(profile), {
    uids: candidatesIn(head, secrets.uids),
    profile: profile ?? NO_EXCEPTIONS,
  });
  if (path === undefined) return;
  look.foundIn++;
  if (look.found.length < MOST_FOUND) look.found.push({ sopInstanceUID, path });
}

/** The profile that wrote an object is gone: nothing stands there by its leave. */
const NO_EXCEPTIONS: Exceptions = { rules: new Map(), overrides: new Map() };

interface Text {
  readonly keyword: string;
  readonly values: Set<string>;
  atLeast: boolean;
}

function textAt({ texts }: Seen, path: string, keyword: () => string): Text {
  let seen = texts.get(path);
  if (seen === undefined) texts.set(path, (seen = { keyword: keyword(), values: new Set(), atLeast: false }));
  return seen;
}

function noteText(look: Look, path: readonly number[], value: string): void {
  const text = textAt(look, formatPath(path), () => keywordOf(path.at(-1) ?? 0));
  noteValue(text, value);
}

function noteValue(text: Text, value: string): void {
  if (text.values.size < MOST_DISTINCT || text.values.has(value)) text.values.add(value);
  else text.atLeast = true;
}

function kindOf({ wall, around, uids }: Look, uid: string): UidKind {
  const known = uids.get(uid);
  if (known !== undefined) return known;
  const { project, ofStudy, isStored } = around;
  const isOurs = patientOfUid(wall, project, uid) !== undefined || isMinted(wall, project, uid);
  const kind = ofStudy.has(uid) ? 'inStudy' : isStored(uid) ? 'elsewhere' : isOurs ? 'external' : 'unknown';
  uids.set(uid, kind);
  return kind;
}

function notePixels({ pixels }: Look, { codes, burnedIn, recognizable }: Stamped): void {
  pixels.images++;
  if (codes.includes('113101')) pixels.textCleaned++;
  if (codes.includes('113102')) pixels.facesCleaned++;
  pixels.burnedIn = countedIn(pixels.burnedIn, burnedIn);
  pixels.recognizable = countedIn(pixels.recognizable, recognizable);
}

function countedIn(counts: Readonly<Record<string, number>>, value: string, more = 1): Record<string, number> {
  const key = value === '' ? 'not said' : value;
  return { ...counts, [key]: (counts[key] ?? 0) + more };
}

function conclude(around: Surroundings, look: Seen, door: DoorFacts): Verification {
  const { found, foundIn, pixels, searched, unknownAt } = look;
  const { project, studyInstanceUID } = around;
  const uids = { inStudy: 0, elsewhere: 0, external: 0, unknown: 0 };
  for (const kind of look.uids.values()) uids[kind]++;
  const reasons = reasonsOf(around, look, door, uids.unknown);
  return {
    studyInstanceUID,
    project,
    verifiedAt: around.now.toISOString(),
    verdict: reasons.length === 0 ? 'RELEASE' : 'QUARANTINE',
    reasons,
    remarks: remarksOf(around, look, door),
    instances: look.instances,
    derived: look.derived,
    ruleSets: door.ruleSets,
    counts: door.counts,
    textKept: [...look.texts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, seen]) => textKept(path, seen)),
    residue: {
      searched: searched !== undefined,
      forms: searched?.forms ?? 0,
      originalUids: searched?.originalUids ?? 0,
      found,
      foundIn,
    },
    uids: { ...uids, unknownAt },
    iodDelta: door.lost,
    pixels: { ...pixels, ...door.pixels },
    sealed: door.sealed,
  };
}

function textKept(path: string, seen: Text): TextKept {
  const values = [...seen.values].slice(0, MOST_VALUES).map((value) => value.slice(0, MOST_CHARACTERS));
  return { path, keyword: seen.keyword, distinct: seen.values.size, atLeast: seen.atLeast, values };
}

function reasonsOf(around: Surroundings, look: Seen, door: DoorFacts, unknown: number): string[] {
  const { foundIn, instances, derived, searched, stamps } = look;
  const reasons = new Set(look.reasons);
  if (instances === 0) reasons.add('nothing of the study is stored');
  if (foundIn > 0) reasons.add(`something that identifies stands in ${foundIn} of ${instances} objects`);
  const once = door.ruleSets.length > 0 && door.ruleSets.every((rules) => isOnce(around.profiles, rules));
  // With the keys destroyed nobody can tell, which is what they were destroyed for.
  if (searched === undefined && !once)
    reasons.add('the crosswalk does not know the study: there is nothing to search for');
  if (unknown > 0 && !once) reasons.add(`${unknown} UIDs are neither ours nor known to the crosswalk`);
  if (door.ruleSets.length === 0 && instances > derived)
    reasons.add('the door has no record of what it did to the study');
  for (const stamp of stamps) {
    if (door.ruleSets.length > 0 && !door.ruleSets.some(({ hash }) => hash.startsWith(stamp)))
      reasons.add(`objects name the rule set ${stamp}, with which the door did not treat the study`);
  }
  return [...reasons];
}

function isOnce(profiles: readonly CompiledProfile[], { hash }: RuleSet): boolean {
  return profiles.some((profile) => profile.hash === hash && profile.file.keys === 'once');
}

function remarksOf(around: Surroundings, { pixels, searched }: Seen, door: DoorFacts): string[] {
  const remarks: string[] = [];
  if (searched === undefined)
    remarks.push(
      'the keys of these pseudonyms were destroyed: the search at the door was the only one that could be made',
    );
  if (pixels.identityNotRemoved > 0)
    remarks.push(
      `${pixels.identityNotRemoved} objects may hold text in their pixels, which their profile lets pass; they say so (Patient Identity Removed is NO)`,
    );
  if ((pixels.recognizable['YES'] ?? 0) > 0)
    remarks.push(`${pixels.recognizable['YES']} objects may show a face, which their profile lets pass`);
  if (door.sealed > 0) remarks.push(`${door.sealed} objects of the study wait in quarantine: it is not complete`);
  if (door.lost.length > 0)
    remarks.push(`${door.lost.length} attributes that the IOD requires were in the source and are not in the result`);
  for (const { profile, hash } of door.ruleSets) {
    if (!around.profiles.some((one) => one.hash === hash))
      remarks.push(`profile ${profile} has been changed since: its exceptions of then are not known, none was made`);
  }
  return remarks;
}
