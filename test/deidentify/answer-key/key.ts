/**
 * The answer key in the manner of MIDI-B (CBIIT/MIDI_validation_script): what must have happened to which attribute of which object, by
 * action and by who asks for it. This key is our own; the data and the key of the challenge are not public.
 */
export type Action =
  | 'tag_retained'
  | 'text_notnull'
  | 'text_retained'
  | 'text_removed'
  | 'date_shifted'
  | 'uid_changed'
  | 'uid_consistent'
  | 'patid_consistent'
  | 'pixels_hidden'
  | 'pixels_retained';

/** HIPAA by letter of 45 CFR 164.514(b)(2)(i), the standard, or the practice of a public archive. */
export type Category =
  | `HIPAA-${string}`
  | 'DICOM-IOD-1'
  | 'DICOM-IOD-2'
  | 'DICOM-P15-BASIC-C'
  | 'DICOM-P15-BASIC-U'
  | 'TCIA-P15-BASIC'
  | 'TCIA-P15-DESC-C'
  | 'TCIA-P15-PAT-K'
  | 'TCIA-P15-DEV-K'
  | 'TCIA-P15-PIX-K'
  | 'TCIA-PTKB-K'
  | 'TCIA-PTKB-X'
  | 'TCIA-REV';

export interface KeyRow {
  readonly object: KeyObject;
  /** The validation script's path: `<(0040,a730)>[<0000>]<(0040,a160)>`. */
  readonly path: string;
  readonly keyword: string;
  readonly action: Action;
  /** The value as planted. */
  readonly value: string;
  /** What has to stay or go of it. */
  readonly text: string;
  readonly category: Category;
}

export interface KeyObject {
  /** Name of the file. */
  readonly name: string;
  readonly bytes: Buffer;
  readonly patientID: string;
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly sopClassUID: string;
  readonly modality: string;
}

export interface AnswerKey {
  readonly objects: readonly KeyObject[];
  readonly rows: readonly KeyRow[];
}

/** (gggg,eeee) as the script writes it; private tags by creator. */
export function pathOf(prefix: string, tag: number, creator?: string): string {
  const hex = tag.toString(16).padStart(8, '0');
  const [group, element] = [hex.slice(0, 4), hex.slice(4)];
  if (creator === undefined) return `${prefix}<(${group},${element})>`;
  return `${prefix}<(${group},"${creator.toUpperCase()}",${element.slice(2)})>`;
}

/** Prefix of what stands in item `index`, from 0, of the sequence at `path`. */
export function insideOf(path: string, index: number): string {
  return `${path}[<${String(index).padStart(4, '0')}>]`;
}

const STOP_WORDS = new Set(
  'a an and are as at be by for from has he in is it its of on or that the to was were will with she her his no not'.split(
    ' ',
  ),
);

/** Words as the script compares them. */
export function tokensOf(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[\s,;:()[\]"'^_=\\/]+|(?<=\p{L})\.(?=\s|$)|\.$/u)
    .filter((token) => token !== '' && !STOP_WORDS.has(token) && /[\p{L}\p{N}]/u.test(token));
}
