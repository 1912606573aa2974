/**
 * Comprehensive SR (PS3.3 A.35.3) after TID 1500 Measurement Report (PS3.16): what a run measured of itself, by which algorithm, on which
 * series, and whether its result was delivered, delivered with a warning, or refused. A refused run leaves this and nothing else.
 */
import { createHash } from 'node:crypto';
import { asciiValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { IMPLEMENTATION_CLASS_UID, MANUFACTURER } from '../dicom/implementation.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom, type StudyInstanceUID } from '../dicom/uid.ts';
import { put, putEmptyUnlessPresent, type Item, type Value } from './attributes.ts';
import { CODING_SCHEMES, figureCode, figureUnit, SCHEME } from './coded-figures.ts';
import { beginObject, finishObject } from './single-object.ts';
import {
  bounded,
  codeItem,
  contentTime,
  MODEL_NAME,
  runKey,
  type Code,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { evidenceItems, referenceItem, referenceTo, type Reference } from './references.ts';

const COMPREHENSIVE_SR = '1.2.840.10008.5.1.4.1.1.88.33';

export type Outcome = 'pass' | 'warn' | 'refuse';

export interface ReportRequest {
  /** Heads of the series that the result stands for; the report goes into its study. */
  readonly source: readonly Head[];
  /** Heads of the series it was aligned to. */
  readonly fixed?: readonly Head[];
  readonly outcome: Outcome;
  /** Each sentence says what was found and what was expected. */
  readonly reasons: readonly string[];
  readonly provenance: Provenance;
  /** What was measured of each segment of a segmentation. */
  readonly regions?: {
    readonly segmentation: Reference;
    /** One image: areas on frames of the segmentation (TID 1410); a volume: whole segments (TID 1411). */
    readonly planar: boolean;
    readonly measured: readonly MeasuredSegment[];
  };
}

/** A segment that has at least one voxel. */
export interface MeasuredSegment {
  /** Segment Number. */
  readonly number: number;
  /** Number of its first frame in the segmentation, from 1. */
  readonly frame: number;
  readonly label: string;
  readonly type: Code;
  readonly region?: Code | undefined;
  readonly laterality?: Code | undefined;
  /** Pixels where the image does not say how large they are. */
  readonly size: { readonly value: number; readonly unit: 'cm2' | 'mL' | '{pixels}' };
  readonly certainty: number;
}

/** @throws Refusal PipelineRefused when there is no source */
export function deriveMeasurementReport(request: ReportRequest): DerivedObject {
  const { source, fixed = [], provenance } = request;
  const [first] = source;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const references = [...source, ...fixed].map(referenceTo);
  const studyInstanceUID = referenceTo(first).studyInstanceUID;
  const key = runKey('measurement report', references, provenance);
  const said = createHash('sha256')
    .update(JSON.stringify([request.outcome, request.reasons, provenance.figures, request.regions ?? null]))
    .digest('hex');
  const begun = beginObject(first.dataSet, {
    sopClassUID: COMPREHENSIVE_SR,
    modality: 'SR',
    studyInstanceUID,
    key,
    content: said,
    provenance,
  });
  const { attributes } = begun;
  put(attributes, {
    ...contentTime(first.dataSet),
    CodingSchemeIdentificationSequence: CODING_SCHEMES,
    CompletionFlag: 'COMPLETE',
    VerificationFlag: 'UNVERIFIED',
    ...evidence(studyInstanceUID, [
      ...references,
      ...(request.regions === undefined ? [] : [request.regions.segmentation]),
    ]),
    ...rootOf(request, (name) => uidFrom(key, said, name)),
  });
  putEmptyUnlessPresent(attributes, ['ReferencedPerformedProcedureStepSequence', 'PerformedProcedureCodeSequence']);
  return finishObject(begun);
}

/** Every instance the content refers to, by study (PS3.3 C.17.2): of this one, and of others. */
function evidence(study: StudyInstanceUID, references: readonly Reference[]): Item {
  const others = evidenceItems(references.filter(({ studyInstanceUID }) => studyInstanceUID !== study));
  return {
    CurrentRequestedProcedureEvidenceSequence: evidenceItems(
      references.filter(({ studyInstanceUID }) => studyInstanceUID === study),
    ),
    ...(others.length === 0 ? {} : { PertinentOtherEvidenceSequence: others }),
  };
}

type Relationship = 'CONTAINS' | 'HAS OBS CONTEXT' | 'HAS CONCEPT MOD' | 'HAS ACQ CONTEXT';

function rootOf(request: ReportRequest, uidOf: (name: string) => string): Item {
  const { source, fixed = [], provenance } = request;
  return {
    ValueType: 'CONTAINER',
    ConceptNameCodeSequence: [codeItem(dcm('126000', 'Imaging Measurement Report'))],
    ContinuityOfContent: 'SEPARATE',
    ContentTemplateSequence: template('1500'),
    ContentSequence: [
      code('HAS CONCEPT MOD', dcm('121049', 'Language of Content Item and Descendants'), ENGLISH),
      // TID 1001, 1004: a device observed.
      code('HAS OBS CONTEXT', dcm('121005', 'Observer Type'), dcm('121007', 'Device')),
      uid('HAS OBS CONTEXT', dcm('121012', 'Device Observer UID'), IMPLEMENTATION_CLASS_UID),
      text('HAS OBS CONTEXT', dcm('121013', 'Device Observer Name'), MODEL_NAME),
      text('HAS OBS CONTEXT', dcm('121014', 'Device Observer Manufacturer'), MANUFACTURER),
      text('HAS OBS CONTEXT', dcm('121015', 'Device Observer Model Name'), MODEL_NAME),
      text('HAS OBS CONTEXT', dcm('121016', 'Device Observer Serial Number'), provenance.softwareVersion),
      code('HAS CONCEPT MOD', dcm('121058', 'Procedure reported'), IMAGING),
      container('CONTAINS', dcm('111028', 'Image Library'), [
        libraryGroup(source),
        ...(fixed.length === 0 ? [] : [libraryGroup(fixed)]),
      ]),
      container('CONTAINS', dcm('126010', 'Imaging Measurements'), [
        measurementGroup(request, uidOf('tracking')),
        ...(request.regions?.measured ?? []).map((segment) => regionGroup(request, segment, uidOf)),
      ]),
    ],
  };
}

/** TID 1600: a series, image by image. */
function libraryGroup(heads: readonly Head[]): Item {
  const [first] = heads;
  const modality = first === undefined ? undefined : asciiValue(first.dataSet, tag('Modality'));
  const meaning = modality === undefined ? undefined : MODALITIES[modality];
  return container('CONTAINS', dcm('126200', 'Image Library Group'), [
    ...(modality === undefined || meaning === undefined
      ? []
      : [code('HAS ACQ CONTEXT', dcm('121139', 'Modality'), dcm(modality, meaning))]),
    ...heads.map((head) => ({
      RelationshipType: 'CONTAINS',
      ValueType: 'IMAGE',
      ReferencedSOPSequence: [referenceItem(referenceTo(head))],
    })),
  ]);
}

/** TID 1501, with the algorithm after TID 4019. */
function measurementGroup({ outcome, reasons, provenance }: ReportRequest, trackingUID: string): Item {
  const { algorithm, figures } = provenance;
  return {
    ...container('CONTAINS', dcm('125007', 'Measurement Group'), [
      text('HAS OBS CONTEXT', dcm('112039', 'Tracking Identifier'), `${algorithm.name} ${algorithm.version}`),
      uid('HAS OBS CONTEXT', dcm('112040', 'Tracking Unique Identifier'), trackingUID),
      code('HAS CONCEPT MOD', dcm('111000', 'Algorithm Family'), algorithm.family),
      text('HAS CONCEPT MOD', dcm('111001', 'Algorithm Name'), algorithm.name),
      text('HAS CONCEPT MOD', dcm('111003', 'Algorithm Version'), algorithm.version),
      text('HAS CONCEPT MOD', dcm('111002', 'Algorithm Parameters'), algorithm.parameters),
      text('HAS CONCEPT MOD', dcm('111002', 'Algorithm Parameters'), `model SHA-256 ${algorithm.sha256}`),
      text('HAS CONCEPT MOD', dcm('122405', 'Algorithm Manufacturer'), MANUFACTURER),
      ...figures.map(({ name, value, unit }) => number(figureCode(name), value, figureUnit(name, unit))),
      code('CONTAINS', own('VERDICT', 'Verdict of the quality gates'), VERDICTS[outcome]),
      text('CONTAINS', own('DONE', 'What was done'), provenance.description),
      ...reasons.map((reason) => text('CONTAINS', own('REASON', 'Reason of the verdict'), reason)),
    ]),
    ContentTemplateSequence: template('1501'),
  };
}

/** TID 1410, 1411: one segment, found where, how large. */
function regionGroup(
  { source, regions, provenance }: ReportRequest,
  segment: MeasuredSegment,
  uidOf: (name: string) => string,
): Item {
  if (regions === undefined) throw new Error('a segment without its segmentation');
  const { segmentation, planar } = regions;
  const { size, type, region, laterality } = segment;
  const image = (concept: Code, reference: Item): Item =>
    item('CONTAINS', 'IMAGE', concept, { ReferencedSOPSequence: [reference] });
  const [first] = source;
  const from = first === undefined ? undefined : referenceTo(first);
  const lies: Item[] = planar
    ? [
        // PS3.3 10.3: the frame says which segment it is.
        image(dcm('121214', 'Referenced Segmentation Frame'), referenceItem(segmentation, segment.frame)),
        ...(from === undefined ? [] : [image(dcm('121233', 'Source image for segmentation'), referenceItem(from))]),
      ]
    : [
        image(dcm('121191', 'Referenced Segment'), {
          ...referenceItem(segmentation),
          ReferencedSegmentNumber: segment.number,
        }),
        ...(from === undefined
          ? []
          : [uid('CONTAINS', dcm('121232', 'Source series for segmentation'), from.seriesInstanceUID)]),
      ];
  const quantity = size.unit === 'mL' ? sct('118565006', 'Volume') : sct('42798000', 'Area');
  return {
    ...container('CONTAINS', dcm('125007', 'Measurement Group'), [
      text('HAS OBS CONTEXT', dcm('112039', 'Tracking Identifier'), `${provenance.algorithm.name} ${segment.label}`),
      uid('HAS OBS CONTEXT', dcm('112040', 'Tracking Unique Identifier'), uidOf(`segment ${segment.number}`)),
      code('CONTAINS', dcm('121071', 'Finding'), type),
      ...lies,
      ...(region === undefined ? [] : [site(region, laterality)]),
      number(quantity, size.value, figureUnit('', size.unit)),
      number(own('SEG-CERTAINTY', 'Mean probability within the segments'), segment.certainty, figureUnit('')),
    ]),
    ContentTemplateSequence: template(planar ? '1410' : '1411'),
  };
}

function site(region: Code, laterality: Code | undefined): Item {
  const found = code('HAS CONCEPT MOD', sct('363698007', 'Finding Site'), region);
  if (laterality === undefined) return found;
  return { ...found, ContentSequence: [code('HAS CONCEPT MOD', sct('272741003', 'Laterality'), laterality)] };
}

function sct(value: string, meaning: string): Code {
  return { value, scheme: 'SCT', meaning };
}

const ENGLISH: Code = { value: 'en', scheme: 'RFC5646', meaning: 'English' };
const IMAGING: Code = { value: '363679005', scheme: 'SCT', meaning: 'Imaging procedure' };

// PS3.16 CID 29.
const MODALITIES: Readonly<Record<string, string>> = {
  CT: 'Computed Tomography',
  MR: 'Magnetic Resonance',
  PT: 'Positron emission tomography',
  NM: 'Nuclear Medicine',
  CR: 'Computed Radiography',
  DX: 'Digital Radiography',
  US: 'Ultrasound',
};

const VERDICTS: Readonly<Record<Outcome, Code>> = {
  pass: own('PASS', 'Passed'),
  warn: own('WARN', 'Passed with a warning'),
  refuse: own('REFUSE', 'Refused'),
};

function dcm(value: string, meaning: string): Code {
  return { value, scheme: 'DCM', meaning };
}

function own(value: string, meaning: string): Code {
  return { value, scheme: SCHEME, meaning };
}

function template(identifier: string): Item[] {
  return [{ MappingResource: 'DCMR', TemplateIdentifier: identifier }];
}

function item(relationship: Relationship, type: string, concept: Code, values: Readonly<Record<string, Value>>): Item {
  return {
    RelationshipType: relationship,
    ValueType: type,
    ConceptNameCodeSequence: [codeItem(concept)],
    ...values,
  };
}

function container(relationship: Relationship, concept: Code, content: readonly Item[]): Item {
  return item(relationship, 'CONTAINER', concept, { ContinuityOfContent: 'SEPARATE', ContentSequence: content });
}

function text(relationship: Relationship, concept: Code, value: string): Item {
  return item(relationship, 'TEXT', concept, { TextValue: bounded(value, 1024) });
}

function code(relationship: Relationship, concept: Code, value: Code): Item {
  return item(relationship, 'CODE', concept, { ConceptCodeSequence: [codeItem(value)] });
}

function uid(relationship: Relationship, concept: Code, value: string): Item {
  return item(relationship, 'UIDREF', concept, { UID: value });
}

function number(concept: Code, value: number, unit: Code): Item {
  return item('CONTAINS', 'NUM', concept, {
    MeasuredValueSequence: [
      {
        NumericValue: Number(value.toPrecision(6)),
        FloatingPointValue: value,
        MeasurementUnitsCodeSequence: [codeItem(unit)],
      },
    ],
  });
}
