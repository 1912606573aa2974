/**
 * What every derived object says about where it comes from: patient and study of its sources, the equipment that made it, the
 * algorithm (PS3.3 10.16, C.12.1), and references to what it was made from.
 */
import { asciiValue, characterSetOf, itemsOf, textValue, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { MANUFACTURER } from '../dicom/implementation.ts';
import { uidFrom, type SeriesInstanceUID, type SOPInstanceUID, type StudyInstanceUID } from '../dicom/uid.ts';
import {
  copyAsIs,
  copyNamed,
  drop,
  hasValue,
  put,
  putEmptyUnlessPresent,
  type Attributes,
  type Item,
} from './attributes.ts';
import type { Reference } from './references.ts';

/** A finished object: Part 10 up to the pixel data's value, and that value (empty where there is none). */
export interface DerivedObject {
  readonly head: Buffer;
  readonly body: Buffer;
  readonly studyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
}

export interface Code {
  readonly value: string;
  readonly scheme: string;
  readonly meaning: string;
}

/** Which algorithm, exactly. */
export interface AlgorithmIdentity {
  readonly name: string;
  readonly version: string;
  /** PS3.16 CID 7162, e.g. `ARTIFICIAL_INTELLIGENCE`. */
  readonly family: Code;
  /** Everything that was set, in words. */
  readonly parameters: string;
  /** Of the model file. */
  readonly sha256: string;
}

export interface QualityFigure {
  readonly name: string;
  readonly value: number;
  /** UCUM, e.g. `mm`; absent for a plain number. */
  readonly unit?: string;
}

/** What all kinds of derived objects are told. */
export interface Provenance {
  readonly algorithm: AlgorithmIdentity;
  /** Release of this software. */
  readonly softwareVersion: string;
  /** What was done, in words; no patient's value. */
  readonly description: string;
  readonly figures: readonly QualityFigure[];
  readonly seriesNumber: number;
  /** Put behind the source's Series Description, e.g. `[AI-DENOISED]`. */
  readonly seriesSuffix: string;
}

// PS3.16 2024d: CID 7162, 7203, 7202, 7005, 7100.
export const ARTIFICIAL_INTELLIGENCE: Code = dcm('123110', 'Artificial Intelligence');
export const DEFORMABLE_MODELS: Code = dcm('123111', 'Deformable Models');
export const SMOOTHING: Code = dcm('113087', 'Smoothing');
export const SPATIAL_RESAMPLING: Code = dcm('113085', 'Spatial resampling');
export const SUBTRACTION: Code = dcm('113062', 'Pixel by pixel subtraction');
export const SOURCE_IMAGE: Code = dcm('121322', 'Source image for image processing operation');
const ACQUISITION_EQUIPMENT: Code = dcm('109101', 'Acquisition Equipment');
const PROCESSING_EQUIPMENT: Code = dcm('109102', 'Processing Equipment');
export const CONTENT_BASED_ALIGNMENT: Code = dcm('125024', 'Image Content-based Alignment');

function dcm(value: string, meaning: string): Code {
  return { value, scheme: 'DCM', meaning };
}

export function codeItem(code: Code): Item {
  return { CodeValue: code.value, CodingSchemeDesignator: code.scheme, CodeMeaning: code.meaning };
}

export const MODEL_NAME = 'Isthmus gateway';

/** Patient, Clinical Trial, General Study and Patient Study modules (PS3.3 C.7.1, C.7.2), and the stamps of de-identification. */
const PATIENT_AND_STUDY = new Set(
  [
    'StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName StudyDescription',
    'ProcedureCodeSequence PhysiciansOfRecord NameOfPhysiciansReadingStudy ReferencedStudySequence StudyInstanceUID StudyID',
    'AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence TimezoneOffsetFromUTC AdmissionID',
    'LongitudinalTemporalInformationModified',
  ]
    .join(' ')
    .split(' ')
    .map(tag),
);

function isPatientOrStudy(element: DataElement): boolean {
  if (isPrivate(element.tag)) return false;
  const group = element.tag >>> 16;
  return group === 0x0010 || group === 0x0012 || PATIENT_AND_STUDY.has(element.tag);
}

/** The modules that place an object in its patient and study; type 2 attributes present (PS3.3 C.7.1.1, C.7.2.1). */
export function copyPatientAndStudy(attributes: Attributes, source: DataSet): void {
  copyAsIs(attributes, source, isPatientOrStudy);
  const type2 =
    'PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber';
  for (const keyword of type2.split(' '))
    if (!attributes.entries.has(tag(keyword))) attributes.entries.set(tag(keyword), '');
  // Type 3, and of at least one item where they are there (PS3.3 C.7.2.1, C.7.2.2).
  drop(
    attributes,
    ['ReferencedStudySequence', 'ProcedureCodeSequence', 'AdmittingDiagnosesCodeSequence'].filter(
      (keyword) => !hasValue(attributes, keyword),
    ),
  );
  // Of an animal (PS3.3 C.7.2.2).
  if (['PatientSpeciesDescription', 'PatientSpeciesCodeSequence'].some((keyword) => hasValue(attributes, keyword)))
    putEmptyUnlessPresent(attributes, ['PatientSexNeutered']);
  put(attributes, { SpecificCharacterSet: 'ISO_IR 192' });
}

// Of the terms that PS3.16 Table L-1 defines for Body Part Examined, those that exist on both sides.
const PAIRED =
  'ADRENAL ANKLE ARM AXILLA BREAST CALCANEUS CLAVICLE EAR ELBOW EYE FEMUR FINGER FOOT FOREARM HAND HIP HUMERUS KIDNEY KNEE LEG OVARY PATELLA SHOULDER SCAPULA TESTIS THIGH THUMB TOE WRIST'.split(
    ' ',
  );

/** Body part and side (PS3.3 C.7.3.1): Laterality is there, if empty, unless the part or the region is known. */
export function putBodyPart(attributes: Attributes, source: DataSet): void {
  copyNamed(attributes, source, ['BodyPartExamined', 'Laterality', 'ImageLaterality']);
  const part = asciiValue(source, tag('BodyPartExamined'));
  const sided = ['Laterality', 'ImageLaterality', 'AnatomicRegionSequence'].some((keyword) =>
    attributes.entries.has(tag(keyword)),
  );
  if (!sided && (part === undefined || PAIRED.includes(part))) put(attributes, { Laterality: '' });
}

/** General Equipment and Contributing Equipment: ours made the object, the source's acquired what it was made from. */
export function putEquipment(attributes: Attributes, source: DataSet, provenance: Provenance): void {
  const acquisition: Record<string, string> = {};
  for (const keyword of ['Manufacturer', 'ManufacturerModelName', 'SoftwareVersions', 'InstitutionName']) {
    const text = textValue(source, tag(keyword));
    if (text !== undefined) acquisition[keyword] = text;
  }
  put(attributes, {
    Manufacturer: MANUFACTURER,
    ManufacturerModelName: MODEL_NAME,
    SoftwareVersions: provenance.softwareVersion,
    // Type 1 in Enhanced General Equipment (PS3.3 C.7.5.2); a program has a release, not a number engraved.
    DeviceSerialNumber: provenance.softwareVersion,
    ContributingEquipmentSequence: [
      ...itemsOf(source, tag('ContributingEquipmentSequence')).map(equipmentItem),
      {
        PurposeOfReferenceCodeSequence: [codeItem(ACQUISITION_EQUIPMENT)],
        Manufacturer: 'unknown',
        ...acquisition,
      },
      {
        PurposeOfReferenceCodeSequence: [codeItem(PROCESSING_EQUIPMENT)],
        Manufacturer: MANUFACTURER,
        ManufacturerModelName: MODEL_NAME,
        SoftwareVersions: [provenance.softwareVersion, `${provenance.algorithm.name} ${provenance.algorithm.version}`],
        ContributionDescription: bounded(algorithmText(provenance.algorithm), 1024),
      },
    ],
  });
}

/** An earlier contribution (a de-identifier's, say) as far as it names purpose and make; its text is kept in UTF-8. */
function equipmentItem(item: DataSet): Item {
  const set = characterSetOf(item);
  const kept: Record<string, Item[string]> = {};
  for (const keyword of ['Manufacturer', 'ManufacturerModelName', 'SoftwareVersions', 'ContributionDescription']) {
    const text = textValue(item, tag(keyword), set);
    if (text !== undefined) kept[keyword] = text;
  }
  const [purpose] = itemsOf(item, tag('PurposeOfReferenceCodeSequence'));
  if (purpose !== undefined)
    kept['PurposeOfReferenceCodeSequence'] = [
      codeItem({
        value: asciiValue(purpose, tag('CodeValue')) ?? '',
        scheme: asciiValue(purpose, tag('CodingSchemeDesignator')) ?? '',
        meaning: textValue(purpose, tag('CodeMeaning'), set) ?? '',
      }),
    ];
  return { Manufacturer: 'unknown', ...kept };
}

/** Algorithm Identification Macro (PS3.3 10.16). */
export function algorithmItem(algorithm: AlgorithmIdentity): Item {
  return {
    AlgorithmFamilyCodeSequence: [codeItem(algorithm.family)],
    AlgorithmName: bounded(algorithm.name, 64),
    AlgorithmVersion: bounded(algorithm.version, 64),
    AlgorithmParameters: bounded(`${algorithm.parameters}; model SHA-256 ${algorithm.sha256}`, 1024),
    AlgorithmSource: MANUFACTURER,
  };
}

export function algorithmText(algorithm: AlgorithmIdentity): string {
  return `${algorithm.name} ${algorithm.version}; ${algorithm.family.meaning}; model SHA-256 ${algorithm.sha256}; ${algorithm.parameters}`;
}

/** Derivation Description: what was done, by what, how well; what does not fit are the last figures. */
export function derivationText(provenance: Provenance): string {
  const figures = provenance.figures.map(
    ({ name, value, unit }) => `${name} ${Number(value.toPrecision(4))}${unit === undefined ? '' : ` ${unit}`}`,
  );
  return bounded([provenance.description, algorithmText(provenance.algorithm), ...figures].join('; '), 1024);
}

/** Cut to what the VR holds, in characters (PS3.5 6.2). */
export function bounded(text: string, characters: number): string {
  const points = [...text];
  return points.length <= characters ? text : `${points.slice(0, characters - 3).join('')}...`;
}

/** The source's description with a suffix, within the 64 characters of an LO. */
export function describeSeries(source: DataSet, suffix: string): string {
  const description = textValue(source, tag('SeriesDescription'));
  if (description === undefined) return bounded(suffix, 64);
  return `${bounded(description.replaceAll('\\', ' '), Math.max(4, 63 - [...suffix].length))} ${bounded(suffix, 59)}`;
}

/**
 * One key for a run: the same sources, model and settings give the same UIDs, so that a repeated run makes the same instances and
 * nothing is doubled.
 */
export function runKey(kind: string, references: readonly Reference[], provenance: Provenance): string {
  const { name, version, parameters, sha256 } = provenance.algorithm;
  return uidFrom(
    kind,
    name,
    version,
    parameters,
    sha256,
    ...references.map((reference) => reference.sopInstanceUID).sort(),
  );
}

/** Content Date and Time in the study's own (pseudonymous) time; delivery knows when it really was. */
export function contentTime(source: DataSet): Item {
  const date = asciiValue(source, 0x00080023) ?? asciiValue(source, 0x00080021) ?? asciiValue(source, 0x00080020);
  const time = asciiValue(source, 0x00080033) ?? asciiValue(source, 0x00080031) ?? asciiValue(source, 0x00080030);
  return { ContentDate: date ?? '19000101', ContentTime: time ?? '000000' };
}
