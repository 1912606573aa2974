/**
 * De-identification of one object (PS3.15 Annex E): header rewritten by the compiled profile, pixel data cleaned as it streams by,
 * pseudonyms remembered in the crosswalk. What cannot be made safe is refused, never passed.
 */
import { asciiValue, findElement, numberValue, textValue, valueBytes, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Deidentified, Head, Identified, PixelDataHeader } from '../dicom/object.ts';
import type { ImageLayout } from '../dicom/image-layout.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { isUid, parseUid } from '../dicom/uid.ts';
import type { Vr } from '../dicom/vr.ts';
import { openSink, sinkBytes, writeElement, writeHeader, writeNumbers, writeText, type Sink } from '../dicom/writer.ts';
import { yearOfDate, yearsBetween, ageInYears } from './actions.ts';
import { cleanBody, isOffsetTable, nativePlan, planBody, type BodyPlan } from './body.ts';
import { dateOffsetDays, pseudonymOfUid } from './pseudonyms.ts';
import { domainOf, type Domain, type Wall } from './wall.ts';
import { patientInStudy, rememberRows, settleWritten, type Originals, type StudyRow } from './crosswalk.ts';
import { patientPseudonym, type PatientPseudonym } from './patients.ts';
import { cleanClinicalDocument, readClinicalDocument, saysOf, type DocumentTools } from './cda.ts';
import { writeFileMeta } from '../dicom/file-meta.ts';
import { openCleaner } from './free-text.ts';
import { identityOf, rawIdentityOf, retained, withSaid, type RawIdentity } from './identity.ts';
import { learnKin, saveKin, settleKin, wholeIdentity, type KinOfObject } from './kin.ts';
import type { DefacedPixels } from './faces/defacer.ts';
import { planeOf } from './faces/stack.ts';
import type { PatientRecord } from './merge.ts';
import { oneTimeDomain, openOneTimeKeys, type OneTimeKeys } from './one-time.ts';
import type { CompiledProfile } from './profile.ts';
import { cleanPixels, type CleanedPixels } from './pixels/clean.ts';
import { planPixels, type PixelPlan } from './pixels/policy.ts';
import type { PixelTools } from './pixels/tools.ts';
import { changedDate } from './value-rules.ts';
import { noCounts, type Counts, type Insert, type Rewriting, type Trace } from './rewriting.ts';
import { pseudonymFor } from './value-outcomes.ts';
import { rewriteDataSet } from './rewrite.ts';
import { findResidue, needlesOf, type Known } from './residue.ts';
import { CDA_STORAGE, faceRisk, isSliceClass, uncleanable } from './risk.ts';
import { digested, sourceMark, type SourceMark } from './source-mark.ts';
import { defacedInserts, stampInserts, type Verdict } from './stamps.ts';

export interface DeidentifySettings {
  readonly project: string;
  readonly profile: CompiledProfile;
  /** Who receives what comes out, where a profile names who may; the project when not given. */
  readonly recipient?: string;
  /** Told of every attribute, for a dry run. */
  readonly trace?: Trace;
  /** Of the process or batch; needed by profiles with `keys: once`. */
  readonly oneTimeKeys?: OneTimeKeys;
  readonly now?: () => number;
  /** What profiles that clean pixels need; without it they hold back what they would clean. */
  readonly pixels?: PixelTools | undefined;
  /** Of an object whose pixels `faces/defacer` has made: without it a face is held back by profiles that want it out. */
  readonly defaced?: DefacedPixels | undefined;
}

export interface Deidentification {
  readonly object: Deidentified;
  /**
   * Writes the crosswalk rows of this object; part of the caller's transaction when there is one.
   * @returns whether it tells of its patient what may stand in texts that are stored already
   */
  readonly remember: () => boolean;
  readonly counts: Counts;
  /** By which the same object is known again; to be asked while the source's head still lies in memory. */
  readonly source: () => SourceMark;
  /** Of pixels that were looked at. */
  readonly pixels?: { readonly boxes: number; readonly changed: boolean };
}

const UNDEFINED_LENGTH = 0xffffffff;
const PIXEL_VRS: ReadonlySet<Vr> = new Set(['OB', 'OW', 'OF', 'OD']);
const EXTENDED_OFFSET_TABLE = tag('ExtendedOffsetTable');
const EXTENDED_OFFSET_TABLE_LENGTHS = tag('ExtendedOffsetTableLengths');

/**
 * The result's head is complete; its body is cleaned while it is read and throws a Refusal when that fails.
 * @throws Refusal Quarantined
 */
export async function deidentify(
  wall: Wall,
  object: Identified,
  settings: DeidentifySettings,
): Promise<Deidentification> {
  const { head } = object;
  const { dataSet } = head;
  const { project, profile } = settings;
  const now = settings.now ?? Date.now;
  assertInForce(profile, settings.recipient ?? project, now());
  const names = namesOf(dataSet);
  const { pixelPlan, face } = admit(head, names.sopClassUID, settings);
  const bitsAllocated = numberValue(dataSet, tag('BitsAllocated'));
  const arrived = planBody(head, bitsAllocated);
  const pixels = await cleaned(object, arrived, pixelPlan, settings);
  const plan = pixels.native === undefined ? arrived : nativePlan(pixels.native.lengthBytes);
  const verdict: Verdict = {
    pixelsAtRisk: pixelPlan.kind === 'leave' && pixelPlan.atRisk,
    pixelsCleaned: pixelPlan.kind === 'clean',
    // Of what is no image nobody asks.
    faceVisible: face === 'visible' && head.pixelData !== undefined,
    faceRemoved: face === 'removed',
  };

  const domain =
    profile.file.keys === 'once'
      ? oneTimeDomain(settings.oneTimeKeys ?? ONE_TIME_KEYS, project, now())
      : domainOf(wall, project);
  const study = pseudonymFor(profile, domain, names.study);
  const patient = patientInStudy(wall, domain, study, patientOf(wall, domain, dataSet, names.study));
  const document = names.sopClassUID === CDA_STORAGE ? readClinicalDocument(documentOf(dataSet)) : undefined;
  const said =
    document === undefined ? [] : saysOf(document).filter(([keyword]) => !retained(profile.options)(tag(keyword)));
  const raw = withSaid(rawIdentityOf(dataSet, profile.options), said);
  const whose = { patient: patient.pseudonym, study };
  const kin = learnKin(wall, domain, whose, raw);
  const { dates } = profile.file;
  const offsetDays = dates.mode === 'shift' ? dateOffsetDays(domain, patient.salt, dates.windowDays) : 0;
  const sink = openSink(dataSet.end - dataSet.start + 2048);
  const known = knownOf(wall, profile, dataSet, raw, kin);
  const run: Rewriting = {
    sink,
    profile,
    domain,
    sopClassUID: names.sopClassUID,
    patient: patient.pseudonym,
    originalPatientId: patientIdOf(dataSet),
    offsetDays,
    birthYear: birthYear(dataSet),
    identifyingWords: withKin(identifyingWords(dataSet), kin),
    cleaner: () => known.cleaner,
    root: dataSet,
    conditions: new Map(),
    vetoes: undefined,
    trace: settings.trace,
    encapsulated: plan.kind !== 'native',
    pixelRepresentation: numberValue(dataSet, tag('PixelRepresentation')),
    bitsAllocated,
    counts: noCounts(),
    uids: new Map(),
  };
  const sopInstanceUID = pseudonymFor(profile, domain, names.instance);
  writeFileMeta(sink, { sopClassUID: names.sopClassUID, sopInstanceUID, transferSyntaxUID: plan.transferSyntaxUID });
  const clean = document && cleanClinicalDocument(document, documentTools(run));
  const facts = { native: pixels.native?.layout, defaced: face === 'removed' ? settings.defaced : undefined };
  rewriteDataSet(run, dataSet, [...inserts(run, dataSet, verdict, facts), ...documentInserts(clean)]);
  writePixelDataHeader(sink, dataSet, pixelDataOf(head, pixels), {
    ...plan,
    framesChanged: pixels.changed || facts.defaced !== undefined,
  });
  const left = findResidue(sinkBytes(sink), known.needles, { uids: mapped(run.uids), profile });
  refuse(left === undefined ? undefined : `something that identifies is left in ${left} after de-identification`);

  if (domain.lasting) {
    settleWritten(wall, domain, study, run.uids.keys());
    settleKin(wall, domain, kin);
  }
  const studyRow = (): StudyRow => ({
    originalStudyInstanceUID: names.study,
    patient: patient.pseudonym,
    attributes: originalsOf(dataSet),
    // Dates that stay are dates moved by nothing.
    dateMode: dates.mode === 'keep' ? 'shift' : dates.mode,
    offsetDays,
  });
  return {
    object: {
      head: sinkBytes(sink),
      body: pixels.body,
      bodyLengthBytes: plan.lengthBytes === undefined ? undefined : plan.lengthBytes + (plan.lengthBytes & 1),
      studyInstanceUID: parseUid(study, 'Study Instance UID'),
      seriesInstanceUID: parseUid(pseudonymFor(profile, domain, names.series), 'Series Instance UID'),
      sopInstanceUID: parseUid(sopInstanceUID, 'SOP Instance UID'),
      sopClassUID: names.sopClassUID,
      transferSyntaxUID: plan.transferSyntaxUID,
      project,
    } as Deidentified,
    remember: () => {
      if (!domain.lasting) return false;
      rememberRows(wall, domain, { study, studyRow, patient: patient.pseudonym, uids: run.uids });
      return saveKin(wall, domain, whose, kin);
    },
    counts: run.counts,
    source: () => sourceMark(domain, dataSet, pixels.digest),
    ...(pixelPlan.kind === 'clean' ? { pixels: { boxes: pixels.boxes, changed: pixels.changed } } : {}),
  };
}

/** Originals that something else stands for now. */
function mapped(uids: ReadonlyMap<string, string>): string[] {
  return [...uids].filter(([pseudonym, original]) => pseudonym !== original).map(([, original]) => original);
}

/** What the object's study will be called. */
export function studyPseudonym(
  wall: Wall,
  { head }: Identified,
  { project, profile, now = Date.now }: Pick<DeidentifySettings, 'project' | 'profile' | 'now'>,
): string {
  const domain = profile.file.keys === 'once' ? oneTimeDomain(ONE_TIME_KEYS, project, now()) : domainOf(wall, project);
  return pseudonymFor(profile, domain, namesOf(head.dataSet).study);
}

/** Of a gateway: one process, one set. */
const ONE_TIME_KEYS = openOneTimeKeys();

/**
 * Expert determination, 45 CFR 164.514(b)(1): it holds for a time and for those it was made for.
 * @throws Refusal Quarantined
 */
export function assertInForce(profile: CompiledProfile, recipient: string, now: number): void {
  const { determination } = profile.file;
  if (determination === undefined) return;
  // To the end of the day, wherever on earth.
  if (now >= Date.parse(`${determination.expires}T00:00:00Z`) + 36 * 3_600_000)
    throw new Refusal(
      'Quarantined',
      `the expert determination of profile ${profile.name} expired on ${determination.expires}; it has to be renewed`,
    );
  if (!determination.recipients.includes(recipient))
    throw new Refusal(
      'Quarantined',
      `${recipient} is no recipient of the expert determination of profile ${profile.name}; allowed: ${determination.recipients.join(', ') || 'nobody'}`,
    );
}

/** The last few are kept in memory, since instances of a series say the same of their patient. */
function knownOf(wall: Wall, profile: CompiledProfile, dataSet: DataSet, raw: RawIdentity, kin: KinOfObject): Known {
  const { known: remembered } = wall;
  const key = `${profile.hash} ${kin.patient.name} ${kin.patient.said.size} ${kin.study.name} ${kin.study.said.size} ${raw.key}`;
  const known = remembered.get(key) ?? {
    cleaner: openCleaner(wholeIdentity(raw, kin, retained(profile.options)), profile.file.freeText ?? 'words'),
    needles: needlesOf(
      identityOf(raw),
      raw,
      MAKERS.map((maker) => textValue(dataSet, maker) ?? ''),
    ),
  };
  remembered.delete(key);
  remembered.set(key, known);
  const [oldest] = remembered.keys();
  if (remembered.size > MAX_KNOWN && oldest !== undefined) remembered.delete(oldest);
  return known;
}

const MAKERS = ['Manufacturer', 'ManufacturerModelName'].map(tag);
const MAX_KNOWN = 8;

/** What the profile lets pass, and what is done to its pixels. @throws Refusal Quarantined */
function admit(
  head: Head,
  sopClassUID: string,
  { profile, pixels, defaced }: DeidentifySettings,
): { readonly pixelPlan: PixelPlan; readonly face: 'none' | 'visible' | 'removed' } {
  refuse(uncleanable(sopClassUID, profile.file.documents));
  const pixelPlan = planPixels(head, sopClassUID, profile.file, pixels);
  const face = faceRisk(head, sopClassUID);
  if (face === undefined) return { pixelPlan, face: 'none' };
  if (profile.file.faces === 'quarantine') refuse(face);
  if (profile.file.faces === 'deface' && defaced === undefined)
    refuse(`${face}; it is taken out of the series as a whole, not of a single image`);
  return { pixelPlan, face: profile.file.faces === 'deface' ? 'removed' : 'visible' };
}

/**
 * Whether the object has to wait until its series is whole and its face is taken out.
 * @throws Refusal Quarantined when it shows a face that cannot be taken out of a volume
 */
export function awaitsDefacing({ head }: Identified, { file }: CompiledProfile): boolean {
  if (file.faces !== 'deface') return false;
  const sopClassUID = asciiValue(head.dataSet, 0x00080016) ?? '';
  refuse(uncleanable(sopClassUID, file.documents));
  const face = faceRisk(head, sopClassUID);
  if (face === undefined) return false;
  if (!isSliceClass(sopClassUID)) refuse(face);
  namesOf(head.dataSet);
  planeOf(head, 0);
  return true;
}

type CleanedBody = Pick<CleanedPixels, 'body' | 'boxes' | 'changed' | 'native'> & {
  /** Of the pixels as they came, where they do not pass as they are. */
  readonly digest: Buffer | undefined;
};

async function cleaned(
  { head, body }: Identified,
  plan: BodyPlan,
  pixelPlan: PixelPlan,
  { pixels }: DeidentifySettings,
): Promise<CleanedBody> {
  const passed = cleanBody(body, plan);
  const { dataSet, pixelData } = head;
  if (pixelPlan.kind === 'leave' || pixelData === undefined || pixels === undefined)
    return { body: passed, boxes: 0, changed: false, digest: undefined };
  const { body: read, digest } = digested(passed);
  const clean = await cleanPixels({ dataSet, tag: pixelData.tag, plan, body: read }, pixelPlan, pixels);
  return { ...clean, digest: digest() };
}

/** Whose object it is as the hospital writes it; undefined when it names no patient. */
export function recordOf(dataSet: DataSet): PatientRecord | undefined {
  const id = patientIdOf(dataSet);
  return id === '' ? undefined : { issuer: textValue(dataSet, tag('IssuerOfPatientID'))?.trim() ?? '', id };
}

function patientIdOf(dataSet: DataSet): string {
  return textValue(dataSet, tag('PatientID'))?.trim() ?? '';
}

/** Without an ID nobody knows whether two studies are one patient's: each stands for itself. */
function patientOf(wall: Wall, domain: Domain, dataSet: DataSet, study: string): PatientPseudonym {
  const record = recordOf(dataSet);
  return record === undefined
    ? patientPseudonym(wall, domain, 'no patient id', study)
    : patientPseudonym(wall, domain, record.issuer, record.id);
}

function refuse(why: string | undefined): void {
  if (why !== undefined) throw new Refusal('Quarantined', why);
}

interface Names {
  readonly study: string;
  readonly series: string;
  readonly instance: string;
  readonly sopClassUID: string;
}

function namesOf(dataSet: DataSet): Names {
  const uid = (attribute: number, name: string): string => {
    const text = asciiValue(dataSet, attribute);
    if (text === undefined || !isUid(text))
      throw new Refusal('Quarantined', `${name} is ${text === undefined ? 'missing' : 'no UID'}`);
    return text;
  };
  return {
    sopClassUID: uid(0x00080016, 'SOP Class UID (0008,0016)'),
    instance: uid(0x00080018, 'SOP Instance UID (0008,0018)'),
    study: uid(0x0020000d, 'Study Instance UID (0020,000D)'),
    series: uid(0x0020000e, 'Series Instance UID (0020,000E)'),
  };
}

/** What pixels became that are not what they were. */
interface ChangedPixels {
  /** Of frames whose compression was undone: what their samples mean. */
  readonly native: ImageLayout | undefined;
  readonly defaced: DefacedPixels | undefined;
}

/** What the output has whether the input had it or not. Ascending. */
function inserts(run: Rewriting, dataSet: DataSet, verdict: Verdict, { native, defaced }: ChangedPixels): Insert[] {
  const all: Insert[] = [
    [0x00080005, (sink) => writeText(sink, 0x00080005, 'CS', 'ISO_IR 192')],
    [0x00100010, (sink) => writeText(sink, 0x00100010, 'PN', run.patient)],
    [0x00100020, (sink) => writeText(sink, 0x00100020, 'LO', run.patient)],
    ...stampInserts(run, dataSet, verdict),
    ...(defaced === undefined ? [] : defacedInserts(run, dataSet, defaced)),
  ];
  if (native !== undefined) {
    all.push([0x00280004, (sink) => writeText(sink, 0x00280004, 'CS', native.photometricInterpretation)]);
    // PS3.3 C.7.6.3.1.3: pixel after pixel.
    if (native.samplesPerPixel > 1)
      all.push([0x00280006, (sink) => writeElement(sink, 0x00280006, 'US', Buffer.alloc(2))]);
  }
  return all.sort(([a], [b]) => a - b);
}

/** PS3.5 A.2: native samples of up to 8 bits may be OB, longer ones are OW. */
function pixelDataOf({ pixelData }: Head, { native }: CleanedBody): PixelDataHeader | undefined {
  if (pixelData === undefined || native === undefined) return pixelData;
  return { ...pixelData, vr: native.layout.bitsAllocated > 8 ? 'OW' : 'OB' };
}

const ENCAPSULATED_DOCUMENT = tag('EncapsulatedDocument');
const ENCAPSULATED_DOCUMENT_LENGTH = tag('EncapsulatedDocumentLength');

/** Without the padding, where the object says how long it is. */
function documentOf(dataSet: DataSet): Buffer {
  const element = findElement(dataSet, ENCAPSULATED_DOCUMENT);
  if (element === undefined) return Buffer.alloc(0);
  const bytes = valueBytes(dataSet, element);
  const length = numberValue(dataSet, ENCAPSULATED_DOCUMENT_LENGTH) ?? bytes.length;
  return bytes.length - length === 1 ? bytes.subarray(0, length) : bytes;
}

function documentTools(run: Rewriting): DocumentTools {
  const uid = (original: string): string => {
    if (isWellKnownUid(original)) return original;
    const pseudonym = pseudonymFor(run.profile, run.domain, original);
    if (isUid(original)) run.uids.set(pseudonym, original);
    return pseudonym;
  };
  return {
    clean: (text) => run.cleaner().clean(text),
    time: (value) => changedDate(run, value, 'DT'),
    uid,
    // Never kept, whatever UIDs are: the extension is a number of somebody's.
    identifier: (root, extension) => pseudonymOfUid(run.domain, `${root}^${extension}`),
    retainsPatient: run.profile.options.has('retain-patient-characteristics'),
  };
}

function documentInserts(document: Buffer | undefined): Insert[] {
  if (document === undefined) return [];
  return [
    [ENCAPSULATED_DOCUMENT, (sink) => writeElement(sink, ENCAPSULATED_DOCUMENT, 'OB', document)],
    [ENCAPSULATED_DOCUMENT_LENGTH, (sink) => writeNumbers(sink, ENCAPSULATED_DOCUMENT_LENGTH, 'UL', [document.length])],
  ];
}

/** The first of January of the birth year, for patients up to 89 years old at the time of the study; else undefined. */
function birthYear(dataSet: DataSet): string | undefined {
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
function identifyingWords(dataSet: DataSet): Set<string> {
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

function withKin(words: Set<string>, kin: KinOfObject): Set<string> {
  for (const word of kin.patient.words) words.add(word);
  for (const word of kin.study.words) words.add(word);
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
function originalsOf(dataSet: DataSet): Originals {
  const originals: Record<string, string> = {};
  for (const attribute of ORIGINALS) {
    const text = textValue(dataSet, attribute);
    if (text !== undefined) originals[attribute.toString(16).padStart(8, '0')] = text;
  }
  return originals;
}

function writePixelDataHeader(
  sink: Sink,
  dataSet: DataSet,
  pixelData: PixelDataHeader | undefined,
  plan: BodyPlan & { readonly framesChanged: boolean },
): void {
  if (pixelData === undefined) return;
  if (plan.lengthBytes === undefined) {
    // Frames that were written anew have other lengths; the table may be left out.
    if (!plan.framesChanged) writeExtendedOffsetTable(sink, dataSet);
    writeHeader(sink, pixelData.tag, 'OB', UNDEFINED_LENGTH);
  } else {
    const vr = PIXEL_VRS.has(pixelData.vr) ? pixelData.vr : 'OW';
    writeHeader(sink, pixelData.tag, vr, plan.lengthBytes + (plan.lengthBytes & 1));
  }
}

/** Where frames are as they came, a table that was true still is; what is no table at all goes. */
function writeExtendedOffsetTable(sink: Sink, dataSet: DataSet): void {
  const offsets = findElement(dataSet, EXTENDED_OFFSET_TABLE);
  const lengths = findElement(dataSet, EXTENDED_OFFSET_TABLE_LENGTHS);
  if (offsets === undefined || lengths === undefined) return;
  const offsetBytes = valueBytes(dataSet, offsets);
  const lengthBytes = valueBytes(dataSet, lengths);
  if (offsetBytes.length !== lengthBytes.length || !isOffsetTable(offsetBytes, 8)) return;
  // Each frame lies between its offset and the next one, after an item header of 8 bytes.
  for (let at = 0; at < lengthBytes.length; at += 8) {
    const end = offsetBytes.readBigUInt64LE(at) + 8n + lengthBytes.readBigUInt64LE(at);
    const next = at + 8 < offsetBytes.length ? offsetBytes.readBigUInt64LE(at + 8) : undefined;
    if (next !== undefined && end > next) return;
    if (lengthBytes.readBigUInt64LE(at) > 0xffffffffn) return;
  }
  writeElement(sink, EXTENDED_OFFSET_TABLE, 'OV', offsetBytes);
  writeElement(sink, EXTENDED_OFFSET_TABLE_LENGTHS, 'OV', lengthBytes);
}
