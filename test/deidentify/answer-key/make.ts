/** Makes the studies of the answer key: one of every class for each patient, identifiers planted wherever people and machines put them. */
import { createHash } from 'node:crypto';
import { tag as tagOf, vrOf } from '../../../src/dicom/dictionary.ts';
import type { Vr } from '../../../src/dicom/vr.ts';
import { seeded, type Random } from '../../phantom/random.ts';
import {
  CHARACTER_SETS,
  fitsIn,
  words,
  writePart10,
  type CharacterSetName,
  type Item,
  type Planted,
  type Syntax,
} from '../../phantom/part10.ts';
import {
  address,
  COUNTRIES,
  digits,
  LONG,
  mail,
  person,
  phone,
  pick,
  SHORT,
  site,
  STRANGERS,
  whole,
  written,
  writtenDate,
  type Person,
  type Slot,
} from './bank.ts';
import {
  insideOf,
  pathOf,
  tokensOf,
  type Action,
  type AnswerKey,
  type Category,
  type KeyObject,
  type KeyRow,
} from './key.ts';

const CLASS = '1.2.840.10008.5.1.4.1.1';
/** Name, SOP Class, modality, bits of a pixel (0: none). */
const CLASSES: readonly (readonly [name: string, suffix: string, modality: string, bits: 0 | 8 | 16])[] = [
  ['ct', '2', 'CT', 16],
  ['enhanced-ct', '2.1', 'CT', 16],
  ['mr', '4', 'MR', 16],
  ['enhanced-mr', '4.1', 'MR', 16],
  ['pt', '128', 'PT', 16],
  ['nm', '20', 'NM', 16],
  ['us', '6.1', 'US', 8],
  ['us-multi-frame', '3.1', 'US', 8],
  ['xa', '12.1', 'XA', 8],
  ['rf', '12.2', 'RF', 8],
  ['cr', '1', 'CR', 16],
  ['dx', '1.1', 'DX', 16],
  ['mg', '1.2', 'MG', 16],
  ['sc', '7', 'OT', 8],
  ['rtimage', '481.1', 'RTIMAGE', 16],
  ['seg', '66.4', 'SEG', 8],
  ['rtstruct', '481.3', 'RTSTRUCT', 0],
  ['rtplan', '481.5', 'RTPLAN', 0],
  ['rtdose', '481.2', 'RTDOSE', 16],
  ['sr', '88.33', 'SR', 0],
  ['enhanced-sr', '88.22', 'SR', 0],
  ['ko', '88.59', 'KO', 0],
  ['pr', '11.1', 'PR', 0],
  ['reg', '66.1', 'REG', 0],
  ['ecg', '9.1.1', 'ECG', 0],
  ['vl', '77.1.4', 'XC', 8],
  ['pdf', '104.1', 'DOC', 0],
];

const HIPAA: Readonly<Record<Slot, Category>> = {
  who: 'HIPAA-A',
  doc: 'HIPAA-A',
  stranger: 'HIPAA-A',
  address: 'HIPAA-B',
  site: 'TCIA-P15-DESC-C',
  date: 'HIPAA-C',
  age: 'HIPAA-C',
  phone: 'HIPAA-D',
  mail: 'HIPAA-F',
  ssn: 'HIPAA-G',
  id: 'HIPAA-H',
  acc: 'HIPAA-R',
  url: 'HIPAA-N',
  ip: 'HIPAA-O',
};

/** Descriptions that the table lets Clean Descriptors keep, in any object. */
const DESCRIPTIONS =
  'StudyDescription SeriesDescription ProtocolName ImageComments PatientComments AdditionalPatientHistory RequestedProcedureDescription PerformedProcedureStepDescription ' +
  'CommentsOnThePerformedProcedureStep ReasonForTheRequestedProcedure AdmittingDiagnosesDescription DerivationDescription AcquisitionProtocolDescription MedicalAlerts Allergies ' +
  'PatientState RequestedProcedureComments ImagingServiceRequestComments VisitComments CommentsOnRadiationDose ScheduledProcedureStepDescription ServiceEpisodeDescription ' +
  'ContrastBolusAgent FrameComments ClinicalTrialSeriesDescription RequestedContrastAgent ReasonForVisit AcquisitionDeviceProcessingDescription BolusDescription';

interface Patient {
  readonly random: Random;
  readonly characterSet: CharacterSetName;
  readonly who: Person;
  readonly mother: Person;
  readonly doctors: readonly Person[];
  readonly id: string;
  readonly issuer: string;
  readonly acc: string;
  readonly ssn: string;
  readonly phone: string;
  readonly address: string;
  readonly site: string;
  readonly siteAddress: string;
  readonly studyDate: string;
  readonly birthDate: string;
  readonly priorDate: string;
  readonly study: string;
  readonly frame: string;
  readonly names: readonly {
    readonly name: string;
    readonly sopClassUID: string;
    readonly series: string;
    readonly instance: string;
  }[];
}

/** Collects what an object says and what has to become of it. */
interface Draft {
  readonly patient: Patient;
  readonly rows: Omit<KeyRow, 'object'>[];
}

/** Elements of one item, with the path that leads into it. */
interface Place {
  readonly draft: Draft;
  readonly prefix: string;
  readonly elements: Planted[];
}

export function makeAnswerKey(seed: number, patients: number): AnswerKey {
  const objects: KeyObject[] = [];
  const rows: KeyRow[] = [];
  for (let index = 0; index < patients; index++) {
    const random = seeded(seed * 7919 + index * 104_729);
    const patient = makePatient(random, index);
    for (const [number, [name, , modality, bits]] of CLASSES.entries()) {
      const made = makeObject(patient, number, {
        name: `${String(index).padStart(4, '0')}-${name}.dcm`,
        modality,
        bits,
      });
      objects.push(made.object);
      for (const row of made.rows) rows.push({ ...row, object: made.object });
    }
  }
  return { objects, rows };
}

function makePatient(random: Random, index: number): Patient {
  const country = COUNTRIES[index % COUNTRIES.length] ?? pick(random, COUNTRIES);
  const english = COUNTRIES[0] ?? country;
  const root = pick(random, [
    '1.2.276.0.7230010.3.1.4.',
    '1.3.12.2.1107.5.1.4.',
    '1.2.840.113619.2.55.3.',
    '1.3.6.1.4.1.14519.5.2.1.',
  ]);
  const uid = (): string => `${root}${digits(random, 6)}.${digits(random, 9)}.${digits(random, 5)}`;
  const day = (from: number, to: number): string =>
    `${whole(random, from, to)}${String(whole(random, 1, 12)).padStart(2, '0')}${String(whole(random, 13, 28)).padStart(2, '0')}`;
  const doctorOf = (): Person => person(random, random.next() < 0.5 ? country : english);
  return {
    random,
    characterSet: random.next() < 0.3 ? 'utf-8' : country.characterSet,
    who: person(random, country),
    mother: person(random, country),
    doctors: [doctorOf(), doctorOf(), doctorOf()],
    id: pick(random, [
      digits(random, 8),
      `PID-${digits(random, 6)}`,
      `K${digits(random, 7)}`,
      `MR${digits(random, 6)}X`,
    ]),
    issuer: `ISSUER${digits(random, 4)}`,
    acc: pick(random, [`ACC${digits(random, 7)}`, digits(random, 9), `A-${digits(random, 3)}-${digits(random, 5)}`]),
    ssn: `${digits(random, 3)}-${digits(random, 2)}-${digits(random, 4)}`,
    phone: phone(random),
    address: address(random),
    site: site(random),
    siteAddress: address(random),
    studyDate: day(2011, 2023),
    birthDate: day(1936, 1999),
    priorDate: day(2001, 2010),
    study: uid(),
    frame: uid(),
    names: CLASSES.map(([name, suffix]) => ({
      name,
      sopClassUID: `${CLASS}.${suffix}`,
      series: uid(),
      instance: uid(),
    })),
  };
}

interface Made {
  readonly object: KeyObject;
  readonly rows: readonly Omit<KeyRow, 'object'>[];
}

function makeObject(
  patient: Patient,
  number: number,
  { name, modality, bits }: { name: string; modality: string; bits: 0 | 8 | 16 },
): Made {
  const self = patient.names[number];
  if (self === undefined) throw new Error('no such class');
  const draft: Draft = { patient, rows: [] };
  const top: Place = { draft, prefix: '', elements: [] };
  const isHeld = self.name === 'pdf';
  addHeader(top, self, modality);
  addDescriptions(top);
  addNested(top, number);
  addPrivate(top);
  addByClass(top, number);
  const pixels = bits === 0 ? undefined : addPixels(top, bits);
  const syntax = pick<Syntax>(patient.random, ['explicit-le', 'explicit-le', 'implicit-le', 'deflated']);
  const bytes = writePart10(
    { sopClassUID: self.sopClassUID, sopInstanceUID: self.instance, elements: top.elements, pixels },
    { syntax, characterSet: patient.characterSet, undefinedLength: () => patient.random.next() < 0.4 },
  );
  const object: KeyObject = {
    name,
    bytes,
    patientID: patient.id,
    studyInstanceUID: patient.study,
    seriesInstanceUID: self.series,
    sopInstanceUID: self.instance,
    sopClassUID: self.sopClassUID,
    modality,
  };
  // A document cannot be cleaned and is held back: nothing of it may come out, nothing of it can be kept.
  const rows = isHeld
    ? draft.rows.filter(({ action }) => ['text_removed', 'date_shifted', 'uid_changed'].includes(action))
    : draft.rows;
  return { object, rows };
}

/** Writes the element and, with it, what has to become of it. */
function add(
  place: Place,
  keyword: string,
  value: Planted['value'],
  expected: readonly (readonly [Action, Category, string?])[] = [],
): void {
  const tag = tagOf(keyword);
  const vr = vrOf(tag) ?? 'UN';
  const isUnknown = typeof value === 'string' && vr !== 'UI' && place.draft.patient.random.next() < 0.03;
  place.elements.push({ tag, vr, value, unknown: isUnknown });
  const shown = typeof value === 'string' ? value : '';
  for (const [action, category, text] of expected)
    place.draft.rows.push({
      path: pathOf(place.prefix, tag),
      keyword,
      action,
      value: shown,
      text: text ?? shown,
      category,
    });
}

/** Items, each filled in by a function. */
function addItems(place: Place, keyword: string, ...fill: readonly ((item: Place) => void)[]): void {
  const tag = tagOf(keyword);
  const items: Item[] = fill.map((write, index) => {
    const inside: Place = { draft: place.draft, prefix: insideOf(pathOf(place.prefix, tag), index), elements: [] };
    write(inside);
    return inside.elements;
  });
  place.elements.push({ tag, vr: 'SQ', value: items, unknown: place.draft.patient.random.next() < 0.05 });
}

const gone = (category: Category): readonly (readonly [Action, Category])[] => [['text_removed', category]];
const shifted: readonly (readonly [Action, Category])[] = [['date_shifted', 'HIPAA-C']];

function addUid(place: Place, keyword: string, uid: string): void {
  add(place, keyword, uid, [
    ['uid_changed', 'HIPAA-R'],
    ['uid_consistent', 'DICOM-P15-BASIC-U'],
  ]);
}

function addReference(place: Place, number: number): void {
  const target = place.draft.patient.names[number];
  if (target === undefined) return;
  add(place, 'ReferencedSOPClassUID', target.sopClassUID, [['text_retained', 'TCIA-P15-BASIC']]);
  addUid(place, 'ReferencedSOPInstanceUID', target.instance);
}

function addHeader(
  top: Place,
  self: { series: string; instance: string; sopClassUID: string },
  modality: string,
): void {
  const { patient } = top.draft;
  const { random } = patient;
  const [referring, performing, operator] = patient.doctors;
  const required = (level: '1' | '2'): readonly [Action, Category] => [
    level === '1' ? 'text_notnull' : 'tag_retained',
    `DICOM-IOD-${level}`,
  ];
  const nameOf = (who: Person | undefined): string => who?.name ?? '';
  add(top, 'SpecificCharacterSet', CHARACTER_SETS[patient.characterSet]);
  add(top, 'SOPClassUID', self.sopClassUID, [required('1'), ['text_retained', 'TCIA-P15-BASIC']]);
  add(top, 'SOPInstanceUID', self.instance, [
    required('1'),
    ['uid_changed', 'HIPAA-R'],
    ['uid_consistent', 'DICOM-P15-BASIC-U'],
  ]);
  add(top, 'StudyInstanceUID', patient.study, [
    required('1'),
    ['uid_changed', 'HIPAA-R'],
    ['uid_consistent', 'DICOM-P15-BASIC-U'],
  ]);
  add(top, 'SeriesInstanceUID', self.series, [
    required('1'),
    ['uid_changed', 'HIPAA-R'],
    ['uid_consistent', 'DICOM-P15-BASIC-U'],
  ]);
  addUid(top, 'FrameOfReferenceUID', patient.frame);
  add(top, 'Modality', modality, [required('1'), ['text_retained', 'TCIA-P15-BASIC']]);
  add(top, 'StudyDate', patient.studyDate, [required('2'), ...shifted]);
  add(top, 'SeriesDate', patient.studyDate, shifted);
  add(top, 'AcquisitionDate', patient.studyDate, shifted);
  add(top, 'ContentDate', patient.studyDate, shifted);
  add(top, 'AcquisitionDateTime', `${patient.studyDate}${pick(random, ['101112.123456', '1011', ''])}`, [
    ['date_shifted', 'HIPAA-C', patient.studyDate],
  ]);
  add(top, 'StudyTime', `${whole(random, 10, 23)}${whole(random, 10, 59)}${whole(random, 10, 59)}`, [required('2')]);
  add(top, 'AccessionNumber', patient.acc, [required('2'), ['text_removed', 'HIPAA-R']]);
  add(top, 'StudyID', `S${digits(random, 6)}`, [required('2'), ['text_removed', 'HIPAA-R']]);
  add(top, 'SeriesNumber', '3', [required('2'), ['text_retained', 'TCIA-P15-BASIC']]);
  add(top, 'InstanceNumber', '1', [['tag_retained', 'DICOM-IOD-2']]);
  add(top, 'Manufacturer', 'ACME Imaging', [['text_retained', 'TCIA-P15-DEV-K']]);
  add(top, 'ManufacturerModelName', 'Sphere 7', [['text_retained', 'TCIA-P15-DEV-K']]);
  add(top, 'SoftwareVersions', 'VB41', [['text_retained', 'TCIA-P15-DEV-K']]);
  add(top, 'PatientName', patient.who.name, [required('2'), ['text_removed', 'HIPAA-A', partsOf(patient.who)]]);
  add(top, 'PatientID', patient.id, [
    required('1'),
    ['text_removed', 'HIPAA-H'],
    ['patid_consistent', 'DICOM-P15-BASIC-C'],
  ]);
  add(top, 'PatientBirthDate', patient.birthDate, [required('2'), ...shifted]);
  add(top, 'PatientSex', pick(random, ['M', 'F']), [required('2'), ['text_retained', 'TCIA-P15-PAT-K']]);
  add(top, 'PatientAge', `${String(whole(random, 18, 88)).padStart(3, '0')}Y`, [['text_retained', 'TCIA-P15-PAT-K']]);
  add(top, 'PatientWeight', String(whole(random, 50, 99)), [['text_retained', 'TCIA-P15-PAT-K']]);
  add(top, 'PatientSize', `1.${digits(random, 2)}`, [['text_retained', 'TCIA-P15-PAT-K']]);
  add(top, 'OtherPatientIDs', `${digits(random, 7)}\\${patient.ssn}`, [['text_removed', 'HIPAA-H']]);
  add(top, 'OtherPatientNames', patient.mother.name, [['text_removed', 'HIPAA-A', partsOf(patient.mother)]]);
  add(top, 'PatientBirthName', patient.mother.name, [['text_removed', 'HIPAA-A', partsOf(patient.mother)]]);
  add(top, 'PatientMotherBirthName', patient.mother.name, [['text_removed', 'HIPAA-A', partsOf(patient.mother)]]);
  add(top, 'IssuerOfPatientID', patient.issuer, gone('HIPAA-R'));
  if (fits(patient, patient.address)) add(top, 'PatientAddress', patient.address.slice(0, 64), gone('HIPAA-B'));
  add(top, 'PatientTelephoneNumbers', patient.phone.slice(0, 16), gone('HIPAA-D'));
  add(top, 'MilitaryRank', `Sergeant ${digits(random, 4)}`, gone('HIPAA-R'));
  add(top, 'InsurancePlanIdentification', `INS${digits(random, 8)}`, gone('HIPAA-I'));
  add(top, 'MedicalRecordLocator', `LOC${digits(random, 8)}`, gone('HIPAA-H'));
  if (fits(patient, patient.site)) add(top, 'InstitutionName', patient.site, gone('TCIA-P15-BASIC'));
  if (fits(patient, patient.siteAddress)) add(top, 'InstitutionAddress', patient.siteAddress, gone('HIPAA-B'));
  add(top, 'ReferringPhysicianName', nameOf(referring), [
    required('2'),
    ['text_removed', 'HIPAA-A', partsOf(referring)],
  ]);
  add(top, 'PerformingPhysicianName', `${nameOf(performing)}\\${nameOf(referring)}`, [
    ['text_removed', 'HIPAA-A', partsOf(performing)],
  ]);
  add(top, 'NameOfPhysiciansReadingStudy', nameOf(performing), [['text_removed', 'HIPAA-A', partsOf(performing)]]);
  add(top, 'OperatorsName', nameOf(operator), [['text_removed', 'HIPAA-A', partsOf(operator)]]);
  add(top, 'RequestingPhysician', nameOf(referring), [['text_removed', 'HIPAA-A', partsOf(referring)]]);
  add(top, 'ReferringPhysicianTelephoneNumbers', phone(random).slice(0, 16), gone('HIPAA-D'));
  add(top, 'AdmissionID', `ADM${digits(random, 7)}`, gone('HIPAA-R'));
  add(top, 'AdmittingDate', patient.studyDate, shifted);
  add(top, 'RequestedProcedureID', `RP${digits(random, 6)}`, gone('HIPAA-R'));
  add(top, 'PlacerOrderNumberImagingServiceRequest', `PL${digits(random, 6)}`, gone('HIPAA-R'));
  add(top, 'FillerOrderNumberImagingServiceRequest', `FI${digits(random, 6)}`, gone('HIPAA-R'));
  add(top, 'PerformedProcedureStepStartDate', patient.studyDate, shifted);
  add(top, 'BodyPartExamined', 'CHEST', [['text_retained', 'TCIA-P15-BASIC']]);
}

function fits(patient: Patient, text: string): boolean {
  return fitsIn(patient.characterSet, text);
}

function partsOf(who: Person | undefined): string {
  if (who === undefined) return '';
  return [...who.family.split('-'), who.given, ...(who.native === undefined ? [] : [who.native.slice(0, 2)])].join(' ');
}

function addDescriptions(top: Place): void {
  const { random } = top.draft.patient;
  const all = DESCRIPTIONS.split(' ');
  const chosen = new Set(['StudyDescription', 'SeriesDescription', 'ImageComments', 'PatientComments']);
  while (chosen.size < 14) chosen.add(pick(random, all));
  for (const keyword of chosen) addText(top, keyword);
}

const LONG_VRS: ReadonlySet<Vr> = new Set(['ST', 'LT', 'UT']);
const DESCRIPTION_CATEGORY: Category = 'TCIA-P15-DESC-C';

/** A sentence with identifiers in it. */
function addText(place: Place, keyword: string): void {
  const vr = vrOf(tagOf(keyword)) ?? 'LO';
  const { value, identifiers, rest } = sentence(
    place.draft.patient,
    LONG_VRS.has(vr) ? LONG : SHORT,
    LONG_VRS.has(vr) ? 400 : 64,
  );
  add(place, keyword, value, [
    ...identifiers.map(({ category, text }) => ['text_removed', category, text] as const),
    ['text_retained', DESCRIPTION_CATEGORY, rest],
  ]);
}

interface Sentence {
  readonly value: string;
  readonly identifiers: readonly { readonly category: Category; readonly text: string }[];
  /** The words that are nobody's. */
  readonly rest: string;
}

/** Tries until it fits the attribute and the character set, and no part of an identifier is a part of what has to stay. */
function sentence(patient: Patient, bank: readonly string[], maxLength: number): Sentence {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const shouted = patient.random.next() < 0.06;
    const phrase = pick(patient.random, bank);
    const identifiers: { category: Category; text: string }[] = [];
    const filled = phrase.replaceAll(/\{(\w+)\}/g, (_, slot: string) => {
      const { text, gone: parts } = fillSlot(patient, slot as Slot);
      const shown = shouted ? text.toUpperCase().toLowerCase() : text.toLowerCase();
      // Weißenböck in capitals is another word.
      const asShown = parts.map((part) => (shown.includes(part.toLowerCase()) ? part : part.toUpperCase()));
      identifiers.push({ category: HIPAA[slot as Slot], text: asShown.join(' ') });
      return text;
    });
    const value = shouted ? filled.toUpperCase() : filled;
    const rest = tokensOf(phrase.replaceAll(/\{\w+\}/g, ' ')).join(' ');
    const parts = identifiers.flatMap(({ text }) => tokensOf(text));
    if (value.length <= maxLength && fits(patient, value) && !parts.some((part) => rest.includes(part)))
      return { value, identifiers, rest };
  }
  throw new Error('no phrase fits');
}

function fillSlot(patient: Patient, slot: Slot): { text: string; gone: string[] } {
  const { random } = patient;
  const literal = (text: string): { text: string; gone: string[] } => ({ text, gone: [text] });
  switch (slot) {
    case 'who':
      return written(random, patient.who);
    case 'doc': {
      const doctor = written(random, pick(random, patient.doctors));
      return { ...doctor, text: doctor.text.replace(/^Mrs? /, 'Dr. ') };
    }
    case 'stranger': {
      const text = pick(random, STRANGERS);
      return { text, gone: [text.replaceAll(/\b(?:Dr|Prof|Mr|Mrs|Herr|Frau|med)\b\.?|\b\p{Lu}\. /gu, '').trim()] };
    }
    case 'date':
      return writtenDate(random, pick(random, [patient.studyDate, patient.priorDate, patient.birthDate]));
    case 'id':
      return literal(pick(random, [patient.id, patient.id.toLowerCase()]));
    case 'acc':
      return literal(patient.acc);
    case 'phone':
      return literal(pick(random, [patient.phone, phone(random)]));
    case 'address':
      return literal(pick(random, [patient.address, address(random)]));
    case 'site':
      return literal(patient.site);
    case 'mail':
      return literal(mail(random, patient.who));
    case 'url':
      return literal(`https://pacs${digits(random, 2)}.example.org/viewer?pat=${digits(random, 6)}`);
    case 'ssn':
      return literal(patient.ssn);
    case 'ip':
      return literal(`10.${whole(random, 10, 99)}.${whole(random, 10, 250)}.${whole(random, 10, 250)}`);
    case 'age':
      return literal(pick(random, ['93-year-old', '97 year old', '101 y/o']));
  }
}

function addNested(top: Place, number: number): void {
  const { patient } = top.draft;
  const { random } = patient;
  const other = (): number => whole(random, 0, 14);
  addItems(top, 'ReferencedStudySequence', (item) => {
    add(item, 'ReferencedSOPClassUID', '1.2.840.10008.3.1.2.3.1');
    addUid(item, 'ReferencedSOPInstanceUID', patient.study);
  });
  addItems(
    top,
    'ReferencedImageSequence',
    (item) => addReference(item, other()),
    (item) => addReference(item, number),
  );
  addItems(top, 'SourceImageSequence', (item) => {
    addReference(item, other());
    addItems(item, 'PurposeOfReferenceCodeSequence', (code) => {
      add(code, 'CodeValue', '121322', [['text_retained', 'TCIA-P15-BASIC']]);
      add(code, 'CodingSchemeDesignator', 'DCM', [['text_retained', 'TCIA-P15-BASIC']]);
      add(code, 'CodeMeaning', 'Source image for image processing operation', [['text_retained', 'TCIA-P15-BASIC']]);
    });
  });
  addItems(top, 'RequestAttributesSequence', (item) => {
    add(item, 'RequestedProcedureID', `RP${digits(random, 6)}`, gone('HIPAA-R'));
    add(item, 'ScheduledProcedureStepID', `SPS${digits(random, 6)}`, gone('HIPAA-R'));
    addText(item, 'RequestedProcedureDescription');
    addText(item, 'ReasonForTheRequestedProcedure');
    add(item, 'AccessionNumber', patient.acc, gone('HIPAA-R'));
    private_(item, 0x0029, 'ACME NESTED', 0x05, 'LO', patient.who.name, 'text_removed', partsOf(patient.who));
  });
  addItems(top, 'PerformingPhysicianIdentificationSequence', (item) => {
    add(item, 'InstitutionName', fits(patient, patient.site) ? patient.site : 'Sanatorium', gone('TCIA-P15-BASIC'));
    add(item, 'PersonTelephoneNumbers', phone(random), gone('HIPAA-D'));
  });
  addItems(top, 'ContributingEquipmentSequence', (item) => {
    add(item, 'Manufacturer', 'ACME Archive', [['text_retained', 'TCIA-P15-DEV-K']]);
    add(item, 'OperatorsName', patient.doctors[2]?.name ?? '', [
      ['text_removed', 'HIPAA-A', partsOf(patient.doctors[2])],
    ]);
    add(item, 'ContributionDateTime', `${patient.studyDate}120000`, [['date_shifted', 'HIPAA-C', patient.studyDate]]);
  });
}

/** An element of a private block, with its creator; the block's number is drawn. */
function private_(
  place: Place,
  group: number,
  creator: string,
  byte: number,
  vr: Vr,
  value: string,
  action: Action,
  text: string,
): void {
  const isSafe = action === 'text_retained';
  const block = 0x10 + (creator.length % 0x20);
  const creatorTag = ((group << 16) | block) >>> 0;
  const tag = ((group << 16) | (block << 8) | byte) >>> 0;
  if (!place.elements.some((element) => element.tag === creatorTag))
    place.elements.push({ tag: creatorTag, vr: 'LO', value: creator });
  place.elements.push({ tag, vr, value });
  place.draft.rows.push({
    path: pathOf(place.prefix, tag, creator),
    keyword: creator,
    action,
    value,
    text,
    category: isSafe ? 'TCIA-PTKB-K' : 'HIPAA-R',
  });
}

function addPrivate(top: Place): void {
  const { patient } = top.draft;
  const { random } = patient;
  const number = `${digits(random, 2)}.${digits(random, 3)}`;
  private_(top, 0x0019, 'GEMS_ACQU_01', 0x23, 'DS', number, 'text_retained', number);
  private_(top, 0x0019, 'GEMS_ACQU_01', 0x9e, 'LO', 'FSE-XL', 'text_retained', 'FSE-XL');
  private_(top, 0x0019, 'GEMS_ACQU_01', 0x05, 'LO', patient.who.name, 'text_removed', partsOf(patient.who));
  private_(top, 0x7053, 'Philips PET Private Group', 0x00, 'DS', `0.${digits(random, 6)}`, 'tag_retained', '');
  private_(top, 0x7053, 'Philips PET Private Group', 0xf0, 'LO', patient.id, 'text_removed', patient.id);
  private_(
    top,
    0x0029,
    'ACME CSA HEADER',
    0x10,
    'LT',
    `Name ${patient.who.family} id ${patient.id}`,
    'text_removed',
    `${partsOf(patient.who)} ${patient.id}`,
  );
  private_(top, 0x0029, 'ACME CSA HEADER', 0x20, 'PN', patient.mother.name, 'text_removed', partsOf(patient.mother));
  private_(top, 0x0031, 'ACME DATES', 0x30, 'DA', patient.studyDate, 'date_shifted', patient.studyDate);
  // A safe creator in a group that is not its own is not safe.
  private_(top, 0x0033, 'GEMS_ACQU_01', 0x23, 'LO', patient.acc, 'text_removed', patient.acc);
}

function addByClass(top: Place, number: number): void {
  const { patient } = top.draft;
  const { random } = patient;
  const at = (name: string): number => patient.names.findIndex((entry) => entry.name === name);
  switch (patient.names[number]?.name) {
    case 'seg':
      addItems(top, 'ReferencedSeriesSequence', (series) => {
        addUid(series, 'SeriesInstanceUID', patient.names[at('ct')]?.series ?? '');
        addItems(series, 'ReferencedInstanceSequence', (item) => addReference(item, at('ct')));
      });
      addItems(top, 'SegmentSequence', segment, segment);
      return;
    case 'rtstruct':
      add(top, 'StructureSetDate', patient.studyDate, shifted);
      addText(top, 'StructureSetName');
      addText(top, 'StructureSetDescription');
      addItems(top, 'ReferencedFrameOfReferenceSequence', (frame) => {
        addUid(frame, 'FrameOfReferenceUID', patient.frame);
        addItems(frame, 'RTReferencedStudySequence', (study) => {
          addUid(study, 'ReferencedSOPInstanceUID', patient.study);
          addItems(study, 'RTReferencedSeriesSequence', (series) => {
            addUid(series, 'SeriesInstanceUID', patient.names[at('ct')]?.series ?? '');
            addItems(series, 'ContourImageSequence', (item) => addReference(item, at('ct')));
          });
        });
      });
      addItems(top, 'StructureSetROISequence', (roi) => {
        add(roi, 'ROINumber', '1', [['text_retained', 'TCIA-P15-BASIC']]);
        addText(roi, 'ROIName');
        addText(roi, 'ROIDescription');
      });
      return;
    case 'rtplan':
      addText(top, 'RTPlanName');
      addText(top, 'RTPlanDescription');
      add(top, 'RTPlanDate', patient.studyDate, shifted);
      addItems(top, 'ReferencedStructureSetSequence', (item) => addReference(item, at('rtstruct')));
      addItems(top, 'BeamSequence', (beam) => {
        add(beam, 'BeamNumber', '1', [['text_retained', 'TCIA-P15-BASIC']]);
        addText(beam, 'BeamDescription');
        addItems(beam, 'ReferencedReferenceImageSequence', (item) => addReference(item, at('rtimage')));
      });
      return;
    case 'rtdose':
      addItems(top, 'ReferencedRTPlanSequence', (item) => addReference(item, at('rtplan')));
      addItems(top, 'ReferencedStructureSetSequence', (item) => addReference(item, at('rtstruct')));
      add(top, 'DoseUnits', 'GY', [['text_retained', 'TCIA-P15-BASIC']]);
      return;
    case 'sr':
    case 'enhanced-sr':
    case 'ko':
      addItems(top, 'CurrentRequestedProcedureEvidenceSequence', (study) => {
        addUid(study, 'StudyInstanceUID', patient.study);
        addItems(study, 'ReferencedSeriesSequence', (series) => {
          addUid(series, 'SeriesInstanceUID', patient.names[at('mr')]?.series ?? '');
          addItems(
            series,
            'ReferencedSOPSequence',
            (item) => addReference(item, at('mr')),
            (item) => addReference(item, at('ct')),
          );
        });
      });
      addItems(top, 'ContentSequence', finding, finding, container, observer, image(at('mr')), image(at('dx')), when);
      return;
    case 'pr':
      add(top, 'ContentCreatorName', patient.doctors[1]?.name ?? '', [
        ['text_removed', 'HIPAA-A', partsOf(patient.doctors[1])],
      ]);
      add(top, 'PresentationCreationDate', patient.studyDate, shifted);
      addItems(top, 'ReferencedSeriesSequence', (series) => {
        addUid(series, 'SeriesInstanceUID', patient.names[at('dx')]?.series ?? '');
        addItems(series, 'ReferencedImageSequence', (item) => addReference(item, at('dx')));
      });
      addItems(top, 'GraphicAnnotationSequence', (annotation) => {
        add(annotation, 'GraphicLayer', 'LAYER1');
        addItems(annotation, 'TextObjectSequence', (text) => addText(text, 'UnformattedTextValue'));
      });
      return;
    case 'reg':
      addItems(
        top,
        'RegistrationSequence',
        ...['ct', 'mr'].map((name) => (item: Place) => {
          addUid(item, 'FrameOfReferenceUID', patient.frame);
          addItems(item, 'ReferencedImageSequence', (reference) => addReference(reference, at(name)));
        }),
      );
      return;
    case 'pdf':
      add(top, 'EncapsulatedDocument', Buffer.from(`%PDF-1.4 ${patient.id} `.padEnd(40)));
      return;
    default:
      add(top, 'ImageType', 'ORIGINAL\\PRIMARY\\AXIAL', [
        ['text_retained', 'TCIA-P15-BASIC', 'ORIGINAL PRIMARY AXIAL'],
      ]);
      add(top, 'KVP', '120', [['text_retained', 'TCIA-P15-BASIC']]);
      add(top, 'SliceThickness', `1.${digits(random, 2)}`, [['text_retained', 'TCIA-P15-BASIC']]);
      add(top, 'StationName', `STN${digits(random, 4)}`, [['tag_retained', 'TCIA-P15-DEV-K']]);
      addItems(top, 'AnatomicRegionSequence', (code) => {
        add(code, 'CodeValue', '51185008', [['text_retained', 'TCIA-P15-BASIC']]);
        add(code, 'CodingSchemeDesignator', 'SCT', [['text_retained', 'TCIA-P15-BASIC']]);
        add(code, 'CodeMeaning', 'Chest', [['text_retained', 'TCIA-P15-BASIC']]);
      });
  }
}

function segment(item: Place): void {
  add(item, 'SegmentNumber', words(2, 1), [['tag_retained', 'DICOM-IOD-1']]);
  addText(item, 'SegmentLabel');
  addText(item, 'SegmentDescription');
}

const CONCEPTS = [
  ['121071', 'Finding'],
  ['121073', 'Impression'],
  ['121060', 'History'],
  ['121077', 'Conclusion'],
] as const;

function concept(item: Place, value: string, meaning: string): void {
  addItems(item, 'ConceptNameCodeSequence', (code) => {
    add(code, 'CodeValue', value, [['text_retained', 'TCIA-P15-BASIC']]);
    add(code, 'CodingSchemeDesignator', 'DCM', [['text_retained', 'TCIA-P15-BASIC']]);
    add(code, 'CodeMeaning', meaning, [['text_retained', 'TCIA-P15-BASIC']]);
  });
}

function finding(item: Place): void {
  const [value, meaning] = pick(item.draft.patient.random, CONCEPTS);
  add(item, 'RelationshipType', 'CONTAINS', [['text_retained', 'TCIA-P15-BASIC']]);
  add(item, 'ValueType', 'TEXT', [['text_retained', 'TCIA-P15-BASIC']]);
  concept(item, value, meaning);
  addText(item, 'TextValue');
}

function container(item: Place): void {
  add(item, 'RelationshipType', 'CONTAINS');
  add(item, 'ValueType', 'CONTAINER');
  concept(item, '121070', 'Findings');
  addItems(item, 'ContentSequence', finding, (inner) => {
    add(inner, 'RelationshipType', 'CONTAINS');
    add(inner, 'ValueType', 'CONTAINER');
    concept(inner, '121070', 'Findings');
    addItems(inner, 'ContentSequence', finding, observer);
  });
}

function observer(item: Place): void {
  const doctor = item.draft.patient.doctors[0];
  add(item, 'RelationshipType', 'HAS OBS CONTEXT');
  add(item, 'ValueType', 'PNAME');
  concept(item, '121008', 'Person Observer Name');
  add(item, 'PersonName', doctor?.name ?? '', [['text_removed', 'HIPAA-A', partsOf(doctor)]]);
}

function image(number: number): (item: Place) => void {
  return (item) => {
    add(item, 'RelationshipType', 'CONTAINS');
    add(item, 'ValueType', 'IMAGE');
    addItems(item, 'ReferencedSOPSequence', (reference) => addReference(reference, number));
  };
}

function when(item: Place): void {
  const { studyDate } = item.draft.patient;
  add(item, 'RelationshipType', 'HAS OBS CONTEXT');
  add(item, 'ValueType', 'DATETIME');
  concept(item, '121019', 'Subject Age');
  add(item, 'DateTime', `${studyDate}101500`, [['date_shifted', 'HIPAA-C', studyDate]]);
}

function addPixels(top: Place, bits: 8 | 16): Buffer {
  const { random } = top.draft.patient;
  const size = 16;
  for (const [keyword, value] of [
    ['SamplesPerPixel', 1],
    ['Rows', size],
    ['Columns', size],
    ['BitsAllocated', bits],
    ['BitsStored', bits],
    ['HighBit', bits - 1],
    ['PixelRepresentation', 0],
  ] as const)
    add(top, keyword, words(2, value), [['tag_retained', 'DICOM-IOD-1']]);
  add(top, 'PhotometricInterpretation', 'MONOCHROME2', [['text_retained', 'TCIA-P15-BASIC']]);
  const pixels = Buffer.from(Array.from({ length: (size * size * bits) / 8 }, () => whole(random, 0, 255)));
  top.draft.rows.push({
    path: '<(7fe0,0010)>',
    keyword: 'PixelData',
    action: 'pixels_retained',
    value: '',
    text: createHash('md5').update(pixels).digest('hex'),
    category: 'TCIA-P15-PIX-K',
  });
  return pixels;
}
