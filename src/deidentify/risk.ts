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
/** X-Ray 3D Angiographic: cone beams, which show skin as a CT does. */
const CONE_BEAM = `${CLASS}.13.1.1`;
/** X-Ray 3D Craniofacial. */
const CRANIOFACIAL = `${CLASS}.13.1.2`;
/** Surface Scan Mesh and Point Cloud: the skin, by a camera. */
const SURFACE_SCANS = new Set([`${CLASS}.68.1`, `${CLASS}.68.2`]);
/** Segmentation, Surface, Label Map and Height Map Segmentation. */
const SEGMENTATIONS = new Set(['66.4', '66.5', '66.7', '66.8'].map((suffix) => `${CLASS}.${suffix}`));
const RT_STRUCTURE_SET = `${CLASS}.481.3`;

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

const SHARED_GROUPS = tag('SharedFunctionalGroupsSequence');
const PER_FRAME_GROUPS = tag('PerFrameFunctionalGroupsSequence');
const FRAME_ANATOMY = tag('FrameAnatomySequence');

const HEAD =
  'HEAD|BRAIN|SKULL|FACE|FACIAL|ORBITS?|EYES?|SINUS(ES)?|MAXILLA|MANDIBLE|JAW|DENTAL|NOSE|EARS?|IAC|PITUITARY|SELLA|TMJ|CRANI\\w*|CEREB\\w*|NEURO\\w*|KOPF|SCHADEL|SCHAEDEL|CERVEAU|TETE|TESTA|CABEZA|NECK|HALS';
const FACE_WORDS = new RegExp(`\\b(${HEAD}|CSPINE|WHOLE ?BODY|BODY|WHOLEBODY)\\b|^(HEADNECK|HEAD_NECK|HN)$`);
/** Of outlines, every one of which is a body's. */
const OF_THE_HEAD = new RegExp(`\\b(${HEAD}|HEADNECK|HN)\\b`);
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
  if (SURFACE_SCANS.has(sopClassUID)) return 'a scan of the surface of the body may be one of a face';
  const outline = outlineOf(dataSet, sopClassUID);
  if (outline !== undefined && mayBeHead([...outline.names, ...partWords(dataSet)], dataSet))
    return `${outline.what} holds the outline of a body, which may be that of a face`;
  if (pixelData === undefined) return undefined;
  if (asciiValue(dataSet, tag('RecognizableVisualFeatures'))?.toUpperCase() === 'YES') {
    return 'Recognizable Visual Features (0028,0302) is YES';
  }
  if (PHOTOGRAPHS.has(sopClassUID)) return 'a photograph may show a face';
  if (asciiValues(dataSet, tag('ImageType')).some((value) => RENDERED.test(value.toUpperCase())))
    return 'Image Type (0008,0008) names a rendered surface, which may be a face';
  const isCapture = CAPTURES.has(sopClassUID);
  if (sopClassUID === CRANIOFACIAL) return 'the SOP Class is one of volumes of the face';
  if (!HAS_A_FACE_CLASS.has(sopClassUID) && sopClassUID !== CONE_BEAM && !isCapture) return undefined;
  if (isCapture) return namesHead(dataSet) && !isSheet(dataSet) ? 'a capture of the head may show a face' : undefined;
  if (regionCodes(dataSet).some((code) => FACE_CODES.has(code))) return 'the anatomic region is the head';
  const words = partWords(dataSet);
  if (words.some((text) => FACE_WORDS.test(text))) return 'body part or descriptions name the head';
  if (words.some((text) => OTHER_PARTS.test(text))) return undefined;
  return 'nothing says which part of the body it shows, so that it may be the head';
}

/** What somebody drew or computed in the images, of which one is the skin; undefined when none is. */
function outlineOf(
  dataSet: DataSet,
  sopClassUID: string,
): { readonly what: string; readonly names: readonly string[] } | undefined {
  if (sopClassUID === RT_STRUCTURE_SET) {
    const names = [
      ...itemsOf(dataSet, tag('StructureSetROISequence')).flatMap((roi) => wordsAt(roi, ROI_WORDS)),
      ...itemsOf(dataSet, tag('RTROIObservationsSequence')).flatMap((roi) => wordsAt(roi, OBSERVATION_WORDS)),
    ];
    const isOutline = names.some((name) => OUTLINE_WORDS.test(name));
    return isOutline
      ? { what: 'the structure set', names: [...names, ...wordsAt(dataSet, STRUCTURE_SET_WORDS)] }
      : undefined;
  }
  if (!SEGMENTATIONS.has(sopClassUID)) return undefined;
  const segments = itemsOf(dataSet, tag('SegmentSequence'));
  const types = segments.flatMap((segment) => itemsOf(segment, tag('SegmentedPropertyTypeCodeSequence')));
  const names = [
    ...segments.flatMap((segment) => wordsAt(segment, SEGMENT_WORDS)),
    ...types.flatMap((type) => wordsAt(type, [tag('CodeMeaning')])),
  ];
  const isOutline =
    names.some((name) => OUTLINE_WORDS.test(name)) ||
    types.some((type) => asciiValues(type, tag('CodeValue')).some((code) => OUTLINE_CODES.has(code)));
  return isOutline ? { what: 'the segmentation', names } : undefined;
}

/**
 * EXTERNAL is the RT ROI Interpreted Type (3006,00A4) of the patient's outline; a capsule, a carotid or an iliac artery is external too, and
 * head and body are parts of a caudate nucleus, a femur, a vertebra.
 */
const OUTLINE_WORDS =
  /\bEXTERNAL\b(?! (CAPSULE|CAROTID|ILIAC|JUGULAR|AUDITORY|ACOUSTIC|OBLIQUE|URETH\w*|SPHINCTER|GLOBUS|PALLID\w*))|\b(SKIN|SCALP|OUTLINE|NOSE|LIPS?|PINNA|EYELIDS?|HAUT|PEAU|PIEL)\b|^(WHOLE ?)?(BODY|HEAD|FACE|PATIENT|KOPF|EARS?)( (AND )?NECK| (SURFACE|CONTOUR|REGION|STRUCTURE|LEFT|RIGHT|[LR]|\d+))*$/;
/** SNOMED CT and its older form: skin, face, head, body, external ear, nose. */
const OUTLINE_CODES = new Set(
  '39937001 T-01000 89545001 69536005 38266002 123037004 28347008 45206002 181469002 T-D1100 T-D1200 T-D0010'.split(
    ' ',
  ),
);
const ROI_WORDS = ['ROIName', 'ROIDescription'].map(tag);
const OBSERVATION_WORDS = ['RTROIInterpretedType', 'ROIObservationLabel'].map(tag);
const STRUCTURE_SET_WORDS = ['StructureSetLabel', 'StructureSetName', 'StructureSetDescription'].map(tag);
const SEGMENT_WORDS = ['SegmentLabel', 'SegmentDescription'].map(tag);

/** By name or code; or nothing names another part of the body. */
function mayBeHead(words: readonly string[], dataSet: DataSet): boolean {
  if (regionCodes(dataSet).some((code) => FACE_CODES.has(code))) return true;
  const parts = words.map((text) => text.replaceAll(OTHER_HEADS, 'FEMUR'));
  return parts.some((text) => OF_THE_HEAD.test(text)) || !parts.some((text) => OTHER_PARTS.test(text));
}

const OTHER_HEADS =
  /\b(FEMOR\w*|FEMUR|HUMER\w*|RADI\w*|FIBUL\w*|PANCREA\w*)( LEFT| RIGHT| [LR])? HEADS?\b|\bHEADS?( OF)?( THE)? (FEMOR\w*|FEMUR|HUMER\w*|RADI\w*|FIBUL\w*|PANCREA\w*)/g;

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
  return wordsAt(dataSet, PART_WORDS);
}

function wordsAt(dataSet: DataSet, attributes: readonly number[]): string[] {
  return attributes.map(
    (attribute) =>
      textValue(dataSet, attribute)
        ?.toUpperCase()
        .replaceAll(/[_^.,;/-]+/g, ' ') ?? '',
  );
}

function regionCodes(dataSet: DataSet): string[] {
  return [dataSet, ...framesAnatomy(dataSet)].flatMap((place) =>
    itemsOf(place, tag('AnatomicRegionSequence')).flatMap((item) => asciiValues(item, tag('CodeValue'))),
  );
}

/** Of enhanced images: said of all frames, or of each (PS3.3 C.7.6.16.2.8). */
function framesAnatomy(dataSet: DataSet): DataSet[] {
  const groups = [SHARED_GROUPS, PER_FRAME_GROUPS].flatMap((group) => itemsOf(dataSet, group));
  return groups.flatMap((group) => itemsOf(group, FRAME_ANATOMY));
}
