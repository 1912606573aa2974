/** Objects that a header rule cannot make safe: burned-in text, faces, documents, speech. Fails closed: what is not known safe is named. */
import {
  asciiValue,
  asciiValues,
  findElement,
  itemsOf,
  numberValue,
  textValue,
  type DataSet,
} from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { tag } from '../dicom/dictionary.ts';
import { storageSopClass } from '../dicom/sop-class.ts';

const CLASS = '1.2.840.10008.5.1.4.1.1';

/** Encapsulated CDA Storage: text in a known structure. */
export const CDA_STORAGE = `${CLASS}.104.2`;
/** Documents inside the object: PDF, CDA, STL, OBJ, MTL. */
const DOCUMENT_PREFIX = `${CLASS}.104.`;
/** Basic Voice Audio and General Audio Waveform. */
const SPEECH = new Set([`${CLASS}.9.4.1`, `${CLASS}.9.4.2`]);

/**
 * Made by a machine that writes no text into its pixels. Everything else with pixels is risky: ultrasound, secondary capture, XA and RF
 * (screen saves), endoscopy, photographs, video, retired and unknown classes.
 */
const PLAIN_PIXELS = new Set(
  [
    '1', // CR
    '1.1',
    '1.1.1', // DX
    '1.2',
    '1.2.1', // mammography
    '1.3',
    '1.3.1', // intra-oral
    '2',
    '2.1',
    '2.2', // CT
    '4',
    '4.1',
    '4.2',
    '4.3',
    '4.4', // MR
    '13.1.1',
    '13.1.2',
    '13.1.3',
    '13.1.4',
    '13.1.5', // X-ray 3D, breast tomosynthesis and projection
    '20', // NM
    '30',
    '66.4',
    '66.7',
    '66.8', // segmentation
    '77.1.5.4', // ophthalmic tomography
    '77.1.6', // whole slide, see below
    '128',
    '128.1',
    '130', // PET
    '481.1',
    '481.2', // RT image and dose
  ].map((suffix) => `${CLASS}.${suffix}`),
);

/** VL Photographic Image and Video Photographic Image. */
const PHOTOGRAPHS = new Set([`${CLASS}.77.1.4`, `${CLASS}.77.1.4.1`]);
const RENDERED = /^(VOLREN|VRT|SSD|VOLUME[ _]?RENDER\w*|SURFACE\w*|3D[ _]?RENDER\w*)$/;

const HAS_A_FACE_CLASS = new Set(['2', '2.1', '2.2', '4', '4.1', '4.3', '4.4'].map((suffix) => `${CLASS}.${suffix}`));

/** CT and MR, whose images are slices; of the enhanced ones it is told apart why their face stays. */
export function isSliceClass(sopClassUID: string): boolean {
  return HAS_A_FACE_CLASS.has(sopClassUID);
}

const SCREEN_WORDS = /SCREEN|SAVE|CAPTURE|REPORT|DOSE|PROTOCOL|PASTED|PATIENT ?INFO|CHART|TABLE|TEXT|POSDISP|SUMMARY/;

/** Why no rule for attributes makes this object safe, whatever the profile; undefined when one does. */
export function uncleanable(sopClassUID: string, documents: 'clean' | 'quarantine' = 'quarantine'): string | undefined {
  if (storageSopClass(sopClassUID) === undefined)
    return 'SOP Class UID (0008,0016) is no Storage SOP Class of PS3.4 B.5';
  if (sopClassUID === CDA_STORAGE) {
    if (documents === 'clean') return undefined;
    return 'the profile has documents wait for a person (documents: quarantine)';
  }
  if (sopClassUID.startsWith(DOCUMENT_PREFIX))
    return 'an encapsulated document that is no CDA (PDF, STL, OBJ, MTL) cannot be cleaned under any profile';
  if (SPEECH.has(sopClassUID)) return 'recorded speech cannot be cleaned';
  return undefined;
}

/** Why the pixels may hold text; undefined when they do not. */
export function pixelRisk(head: Head, sopClassUID: string): string | undefined {
  const { dataSet, pixelData } = head;
  if (pixelData === undefined) return undefined;
  if (asciiValue(dataSet, tag('BurnedInAnnotation'))?.toUpperCase() === 'YES') {
    return 'Burned In Annotation (0028,0301) is YES';
  }
  if (!PLAIN_PIXELS.has(sopClassUID)) return 'the SOP Class is one whose pixels may hold text';
  const imageType = asciiValues(dataSet, tag('ImageType')).map((value) => value.toUpperCase());
  if (imageType.slice(2).some((value) => SCREEN_WORDS.test(value)))
    return 'Image Type (0008,0008) names a screen or report';
  if (findElement(dataSet, tag('ConversionType')) !== undefined)
    return 'Conversion Type (0008,0064) says that the image was captured';
  if (NUMBERS_NOT_SHADES.has(sopClassUID) && looksLikeAScreen(dataSet))
    return 'samples of 8 bits or in colour are no measured CT or MR image, but a picture of one';
  if (sopClassUID === `${CLASS}.77.1.6` && imageType.some((value) => value === 'LABEL' || value === 'OVERVIEW')) {
    return 'a slide label or overview shows what is written on the slide';
  }
  return undefined;
}

/** Scanned documents and film, drawings: Conversion Type (0008,0064), PS3.3 C.8.6.1. */
const WRITTEN_BY_HAND = new Set(['DF', 'SD', 'SI', 'DRW']);

/** Why the pixels may hold writing that the detector of printed text was not made for; undefined when they do not. */
export function unreadableWriting(head: Head, sopClassUID: string): string | undefined {
  const { dataSet } = head;
  const conversion = asciiValue(dataSet, tag('ConversionType'))?.toUpperCase() ?? '';
  if (WRITTEN_BY_HAND.has(conversion))
    return 'Conversion Type (0008,0064) names a scan, whose handwriting is not found';
  const imageType = asciiValues(dataSet, tag('ImageType')).map((value) => value.toUpperCase());
  if (sopClassUID === `${CLASS}.77.1.6` && imageType.some((value) => value === 'LABEL' || value === 'OVERVIEW'))
    return 'a slide label or overview shows handwriting and barcodes';
  return undefined;
}

/** CT and MR, whose scanners write 12 bits and more of one sample. */
const NUMBERS_NOT_SHADES = new Set([`${CLASS}.2`, `${CLASS}.4`]);

function looksLikeAScreen(dataSet: DataSet): boolean {
  const samples = numberValue(dataSet, tag('SamplesPerPixel')) ?? 1;
  return samples > 1 || (numberValue(dataSet, tag('BitsStored')) ?? 16) <= 8;
}

const FACE_WORDS =
  /\b(HEAD|BRAIN|SKULL|FACE|FACIAL|ORBITS?|EYES?|SINUS(ES)?|MAXILLA|MANDIBLE|JAW|DENTAL|NOSE|EARS?|IAC|PITUITARY|SELLA|TMJ|CRANI\w*|CEREB\w*|NEURO\w*|KOPF|SCHADEL|SCHAEDEL|CERVEAU|TETE|TESTA|CABEZA|NECK|HALS|CSPINE|WHOLE ?BODY|BODY|WHOLEBODY)\b|^(HEADNECK|HEAD_NECK|HN)$/;
const OTHER_PARTS =
  /\b(CHEST|THORAX|LUNGS?|HEART|CARDIAC|CORONARY|BREASTS?|ABDOMEN|ABDOMINAL|PELVIS|LIVER|KIDNEYS?|PROSTATE|BLADDER|UTERUS|COLON|PANCREAS|SPLEEN|SPINE|TSPINE|LSPINE|LSSPINE|SSPINE|TLSPINE|LUMBAR|KNEES?|HIPS?|ANKLES?|FOOT|FEET|LEGS?|ARMS?|HANDS?|WRISTS?|ELBOWS?|SHOULDERS?|FEMUR|TIBIA\w*|FIBULA|HUMERUS|RADIUS\w*|EXTREMITY|AORTA|PHANTOM|CHESTABDPELVIS|CHESTABDOMEN|ABDOMENPELVIS|CAP)\b/;
/** SNOMED CT and its older form: head, face, skull, brain, orbit, paranasal sinus, neck. */
const FACE_CODES = new Set(
  (
    '69536005 89545001 89546000 12738006 371398005 363654007 2095001 45048000 774007 361078006 81745001 88348008 110522009 ' +
    'T-D1100 T-D1200 T-11100 T-A0100 T-D1480 T-22000 T-D1600 T-D1000 T-D1460 T-AA000'
  ).split(' '),
);
const PART_WORDS = [
  'BodyPartExamined',
  'SeriesDescription',
  'ProtocolName',
  'StudyDescription',
  'RequestedProcedureDescription',
].map(tag);

/**
 * Why a face could be reconstructed from this series; undefined when it cannot. A CT or MR that does not say what it shows may show a
 * head: it counts as one.
 */
export function faceRisk(head: Head, sopClassUID: string): string | undefined {
  const { dataSet, pixelData } = head;
  if (pixelData === undefined) return undefined;
  if (asciiValue(dataSet, tag('RecognizableVisualFeatures'))?.toUpperCase() === 'YES') {
    return 'Recognizable Visual Features (0028,0302) is YES';
  }
  if (PHOTOGRAPHS.has(sopClassUID)) return 'a photograph may show a face';
  if (asciiValues(dataSet, tag('ImageType')).some((value) => RENDERED.test(value.toUpperCase())))
    return 'Image Type (0008,0008) names a rendered surface, which may be a face';
  const isCapture = CAPTURES.has(sopClassUID);
  if (!HAS_A_FACE_CLASS.has(sopClassUID) && !isCapture) return undefined;
  if (isCapture) return namesHead(dataSet) && !isSheet(dataSet) ? 'a capture of the head may show a face' : undefined;
  if (regionCodes(dataSet).some((code) => FACE_CODES.has(code))) return 'the anatomic region is the head';
  const words = partWords(dataSet);
  if (words.some((text) => FACE_WORDS.test(text))) return 'body part or descriptions name the head';
  if (words.some((text) => OTHER_PARTS.test(text))) return undefined;
  return 'nothing says which part of the body it shows, so that it may be the head';
}

/** Multi-frame ones too: PS3.4 B.5. */
const CAPTURES = new Set(['7', '7.1', '7.2', '7.3', '7.4'].map((suffix) => `${CLASS}.${suffix}`));

function namesHead(dataSet: DataSet): boolean {
  return (
    regionCodes(dataSet).some((code) => FACE_CODES.has(code)) ||
    partWords(dataSet).some((text) => FACE_WORDS.test(text))
  );
}

/** Numbers and text, no picture of the patient. */
function isSheet(dataSet: DataSet): boolean {
  const words = [
    ...asciiValues(dataSet, tag('ImageType')).map((value) => value.toUpperCase()),
    ...partWords(dataSet).slice(0, 2),
  ];
  return words.some((text) => /\b(DOSE|REPORT|PROTOCOL|CHART|SUMMARY)\b/.test(text));
}

/** Body part and series description first. */
function partWords(dataSet: DataSet): string[] {
  return PART_WORDS.map(
    (attribute) =>
      textValue(dataSet, attribute)
        ?.toUpperCase()
        .replaceAll(/[_^.,;/-]+/g, ' ') ?? '',
  );
}

function regionCodes(dataSet: DataSet): string[] {
  return itemsOf(dataSet, tag('AnatomicRegionSequence')).flatMap((item) => asciiValues(item, tag('CodeValue')));
}
