/**
 * De-identification of one object (PS3.15 Annex E): header rewritten by the compiled profile, pixel data cleaned as it streams by,
 * pseudonyms remembered in the crosswalk. What cannot be made safe is refused, never passed.
 */
import { numberValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { writeFileMeta } from '../dicom/file-meta.ts';
import type { ImageLayout } from '../dicom/image-layout.ts';
import type { Deidentified, Head, Identified, PixelDataHeader } from '../dicom/object.ts';
import { parseUid } from '../dicom/uid.ts';
import { openSink, sinkBytes, writeElement, writeText } from '../dicom/writer.ts';
import { rewriteInstance } from './alike.ts';
import { admit, assertInForce, namesOf, refuse } from './admit.ts';
import { cleanBody, nativePlan, planBody, type BodyPlan } from './body.ts';
import { cleanClinicalDocument, readClinicalDocument } from './cda.ts';
import { rememberRows, settleWritten, type StudyRow } from './crosswalk.ts';
import { documentInserts, documentOf, documentTools, saidBy } from './encapsulated-document.ts';
import type { DefacedPixels } from './faces/defacer.ts';
import { saveKin, settleKin, type KinOfObject } from './kin.ts';
import type { OneTimeKeys } from './one-time.ts';
import { birthYear, identifyingWords, originalsOf, patientIdOf } from './patient-facts.ts';
import { writePixelDataHeader } from './pixel-data-header.ts';
import { cleanPixels, type CleanedPixels } from './pixels/clean.ts';
import type { PixelPlan } from './pixels/policy.ts';
import type { PixelTools } from './pixels/tools.ts';
import type { CompiledProfile } from './profile.ts';
import { findResidue } from './residue.ts';
import { noCounts, type Counts, type Insert, type Rewriting, type Trace } from './rewriting.ts';
import { CDA_STORAGE } from './risk.ts';
import { digested, sourceMark, type SourceMark } from './source-mark.ts';
import { defacedInserts, defacedItemInserts, stampInserts, type Verdict } from './stamps.ts';
import { subjectOf, type Subject } from './subject.ts';
import { pseudonymFor } from './value-outcomes.ts';
import type { Wall } from './wall.ts';

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
  assertInForce(profile, settings.recipient ?? project, (settings.now ?? Date.now)());
  const names = namesOf(dataSet);
  const { pixelPlan, face } = admit(head, names.sopClassUID, settings);
  const arrived = planBody(head, numberValue(dataSet, tag('BitsAllocated')));
  const pixels = await cleaned(object, arrived, pixelPlan, settings);
  const plan = pixels.native === undefined ? arrived : nativePlan(pixels.native.lengthBytes);
  const verdict: Verdict = {
    pixelsAtRisk: pixelPlan.kind === 'leave' && pixelPlan.atRisk,
    pixelsCleaned: pixelPlan.kind === 'clean',
    // Of what is no image nobody asks.
    faceVisible: face === 'visible' && head.pixelData !== undefined,
    faceRemoved: face === 'removed',
  };

  const document = names.sopClassUID === CDA_STORAGE ? readClinicalDocument(documentOf(dataSet)) : undefined;
  const subject = subjectOf(wall, dataSet, { settings, study: names.study, said: saidBy(document, profile.options) });
  const { domain, study, patient, kin } = subject;
  const defaced = face === 'removed' ? settings.defaced : undefined;
  const encapsulated = plan.kind !== 'native';
  const run = openRewriting(head, names.sopClassUID, { subject, settings: { ...settings, defaced }, encapsulated });
  const { sink } = run;
  const sopInstanceUID = pseudonymFor(profile, domain, names.instance);
  writeFileMeta(sink, { sopClassUID: names.sopClassUID, sopInstanceUID, transferSyntaxUID: plan.transferSyntaxUID });
  const clean = document && cleanClinicalDocument(document, documentTools(run));
  const facts = { native: pixels.native?.layout, defaced };
  rewriteInstance(run, dataSet, [...inserts(run, dataSet, verdict, facts), ...documentInserts(clean)], {
    alike: subject.known.alike,
    series: names.series,
  });
  writePixelDataHeader(sink, dataSet, pixelDataOf(head, pixels), {
    ...plan,
    framesChanged: pixels.changed || defaced !== undefined,
  });
  const left = findResidue(sinkBytes(sink), subject.known.needles, { uids: mapped(run.uids), profile });
  refuse(left === undefined ? undefined : `something that identifies is left in ${left} after de-identification`);

  if (domain.lasting) {
    settleWritten(wall, domain, study, run.uids.keys());
    settleKin(wall, domain, kin);
  }
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
      const studyRow = (): StudyRow => studyRowOf(dataSet, names.study, run);
      rememberRows(wall, domain, { study, studyRow, patient: patient.pseudonym, uids: run.uids });
      return saveKin(wall, domain, { patient: patient.pseudonym, study }, kin);
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

function openRewriting(
  { dataSet }: Head,
  sopClassUID: string,
  {
    subject,
    settings,
    encapsulated,
  }: { readonly subject: Subject; readonly settings: DeidentifySettings; readonly encapsulated: boolean },
): Rewriting {
  const { known, kin } = subject;
  const words = withKin(identifyingWords(dataSet), kin);
  return {
    sink: openSink(dataSet.end - dataSet.start + 2048),
    profile: settings.profile,
    domain: subject.domain,
    sopClassUID,
    patient: subject.patient.pseudonym,
    originalPatientId: patientIdOf(dataSet),
    offsetDays: subject.offsetDays,
    birthYear: birthYear(dataSet),
    identifyingWords: words,
    cleaner: () => known.cleaner,
    root: dataSet,
    conditions: new Map(),
    vetoes: undefined,
    trace: settings.trace,
    itemInserts: settings.defaced && ((sequence, item) => defacedItemInserts(words, sequence, item)),
    encapsulated,
    pixelRepresentation: numberValue(dataSet, tag('PixelRepresentation')),
    bitsAllocated: numberValue(dataSet, tag('BitsAllocated')),
    counts: noCounts(),
    uids: new Map(),
  };
}

function studyRowOf(dataSet: DataSet, originalStudyInstanceUID: string, run: Rewriting): StudyRow {
  const { mode } = run.profile.file.dates;
  return {
    originalStudyInstanceUID,
    patient: run.patient,
    attributes: originalsOf(dataSet),
    // Dates that stay are dates moved by nothing.
    dateMode: mode === 'keep' ? 'shift' : mode,
    offsetDays: run.offsetDays,
  };
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

function withKin(words: Set<string>, kin: KinOfObject): Set<string> {
  for (const word of kin.patient.words) words.add(word);
  for (const word of kin.study.words) words.add(word);
  return words;
}
