/**
 * Attributes that Table E.1-1 does not name. The table is a list of what is known to be dangerous, no proof that the rest is safe:
 * numbers, codes and geometry stay, free text goes unless it is listed here, retired and unknown attributes go.
 */
import { lookUp, tag } from '../dicom/dictionary.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';

export interface Plan {
  readonly kind:
    'drop' | 'sequence' | 'uid' | 'date' | 'number' | 'code-string' | 'coded' | 'kept-text' | 'free-text' | 'data';
  /** The dictionary's VR, and all of them where it names several. */
  readonly vr: Vr;
  readonly vrs: readonly Vr[];
  /** The only values a code string may have. */
  readonly terms: ReadonlySet<string> | undefined;
}

/** Text that describes a machine or a method: written by the manufacturer, not about a person. */
const KEPT_TEXT = new Set(
  (
    'Manufacturer ManufacturerModelName ManufacturerModelVersion SoftwareVersions DetectorManufacturerName DetectorManufacturerModelName ' +
    'SecondaryCaptureDeviceManufacturer SecondaryCaptureDeviceManufacturerModelName SecondaryCaptureDeviceSoftwareVersions ' +
    'DigitalImageFormatAcquired ConvolutionKernel SequenceName ImagedNucleus FilterType CollimatorGridName ' +
    'Radiopharmaceutical RadiopharmaceuticalRoute ContrastBolusRoute AttenuationCorrectionMethod ReconstructionMethod ' +
    'ScatterCorrectionMethod DetectorLinesOfResponseUsed RescaleType ModalityLUTType SourceIsotopeName ' +
    'AlgorithmName AlgorithmVersion SegmentAlgorithmName DimensionDescriptionLabel ' +
    'MIMETypeOfEncapsulatedDocument TransducerData ProcessingFunction'
  )
    .split(' ')
    .map(tag),
);

const CODED = new Set(
  ['CodeValue', 'CodingSchemeDesignator', 'CodingSchemeVersion', 'CodeMeaning', 'LongCodeValue', 'URNCodeValue'].map(
    tag,
  ),
);

/** Bytes of a known meaning. Others may be documents. */
const KEPT_BYTES = new Set(
  (
    'ICCProfile FillPattern WaveformData WaveformPaddingValue ChannelMinimumValue ChannelMaximumValue ThreatROIBitmap ' +
    'DarkCurrentCounts AirCounts BadPixelImage DetectorCalibrationData CoordinateSystemAxisValues'
  )
    .split(' ')
    .map(tag),
);

/** Defined terms where the standard leaves the list open and operators fill in what they like (PS3.3 C.8). */
const TERMS = new Map<number, ReadonlySet<string>>([
  [
    tag('FilterMaterial'),
    new Set(
      (
        'MOLYBDENUM ALUMINUM COPPER RHODIUM NIOBIUM EUROPIUM LEAD SILVER TIN TANTALUM TITANIUM GADOLINIUM ERBIUM HOLMIUM ' +
        'BRASS IRON CARBON PMMA NONE MIXED TUNGSTEN ZINC NICKEL YTTRIUM'
      ).split(' '),
    ),
  ],
]);

const plans = new Map<number, Plan>();
const MAX_PLANS = 10_000;

export function planOf(attribute: number): Plan {
  const known = plans.get(attribute);
  if (known !== undefined) return known;
  const plan = makePlan(attribute);
  if (plans.size < MAX_PLANS) plans.set(attribute, plan);
  return plan;
}

function makePlan(attribute: number): Plan {
  const entry = lookUp(attribute);
  const [vr] = entry?.vrs ?? [];
  if (entry === undefined || vr === undefined || entry.retired) {
    return { kind: 'drop', vr: vr ?? 'UN', vrs: entry?.vrs ?? [], terms: undefined };
  }
  return { kind: kindOf(attribute, vr), vr, vrs: entry.vrs, terms: TERMS.get(attribute) };
}

function kindOf(attribute: number, vr: Vr): Plan['kind'] {
  if (CODED.has(attribute)) return 'coded';
  if (KEPT_TEXT.has(attribute)) return 'kept-text';
  if (KEPT_BYTES.has(attribute)) return 'data';
  switch (vr) {
    case 'SQ':
      return 'sequence';
    case 'UI':
      return 'uid';
    case 'DA':
    case 'DT':
    case 'TM':
      return 'date';
    case 'DS':
    case 'IS':
      return 'number';
    case 'CS':
      return 'code-string';
    case 'OB':
    case 'UN':
      return 'drop';
    default:
      return VR_TRAITS[vr].text === false ? 'data' : 'free-text';
  }
}
