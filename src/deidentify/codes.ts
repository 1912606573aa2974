/** Coding schemes that are published, so that a code of theirs means what a book says and not what somebody wrote (PS3.16 section 8). */

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
