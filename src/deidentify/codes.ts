/** Coding schemes that are published, so that a code of theirs means what a book says and not what somebody wrote (PS3.16 section 8). */
import { tag } from '../dicom/dictionary.ts';
import { beginItem, beginSequence, endItem, endSequence, writeText, type Sink } from '../dicom/writer.ts';

const PUBLIC_SCHEMES = new Set(
  (
    'DCM SCT SRT SNM3 99SDM SNM LN UCUM FMA NCIt NCIT UMLS RADLEX RADELEMENT BI BARI ACR I9 I9C I10 I10P IBSI ISO3166_1 ISO639_1 ISO639_2 ' +
    'ISO_OID ITIS_TSN MDNS MDC MSH NDC NICIP NEU PHENX RXNORM UNS UPC ICDO3 ICD10 ICD11 CPT4 C4 HPC CADSR CD2 EYU DOI CID DICOM ' +
    'MAYOASRG IHERADTF POS NYUMCCG XNAT CORID CTCAE FRAC PUBCHEM_CID MGI NCBI'
  ).split(' '),
);

export function isPublicScheme(designator: string): boolean {
  return PUBLIC_SCHEMES.has(designator) || /^DICOM[A-Z0-9]{0,8}$/.test(designator);
}

/** A code is one short word without blanks. */
export function isPlainCode(text: string): boolean {
  return /^[!-~]{1,64}$/.test(text);
}

const CODE_VALUE = tag('CodeValue');
export const CODING_SCHEME_DESIGNATOR = tag('CodingSchemeDesignator');
const CODE_MEANING = tag('CodeMeaning');

/** One code that says nothing, and the same of everybody. */
export function writeDummyCode(sink: Sink, sequenceTag: number): void {
  writeCodeSequence(sink, sequenceTag, () => writeCode(sink, 'REMOVED', '99LOCAL', 'REMOVED'));
}

export function writeCodeSequence(sink: Sink, sequenceTag: number, writeItems: () => void): void {
  const sequence = beginSequence(sink, sequenceTag);
  writeItems();
  endSequence(sink, sequence);
}

/** One item of a code sequence (PS3.3 8.8). */
export function writeCode(sink: Sink, value: string, designator: string, meaning: string): void {
  const mark = beginItem(sink);
  writeText(sink, CODE_VALUE, 'SH', value);
  writeText(sink, CODING_SCHEME_DESIGNATOR, 'SH', designator);
  writeText(sink, CODE_MEANING, 'LO', meaning);
  endItem(sink, mark);
}
