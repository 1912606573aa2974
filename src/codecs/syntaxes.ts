/** Which transfer syntaxes are decoded and which are written (PS3.5 Annex A). Nothing here loads a codec. */

export type Coding =
  | 'native'
  | 'deflated'
  | 'rle'
  | 'jpeg baseline'
  | 'jpeg extended'
  | 'jpeg lossless'
  | 'jpeg-ls'
  | 'jpeg 2000'
  | 'htj2k';

const CODINGS: ReadonlyMap<string, Coding> = new Map([
  ['1.2.840.10008.1.2.1', 'native'],
  // Each fragment is a native frame (PS3.5 A.4.11).
  ['1.2.840.10008.1.2.1.98', 'native'],
  ['1.2.840.10008.1.2.8.1', 'deflated'],
  ['1.2.840.10008.1.2.5', 'rle'],
  ['1.2.840.10008.1.2.4.50', 'jpeg baseline'],
  ['1.2.840.10008.1.2.4.51', 'jpeg extended'],
  ['1.2.840.10008.1.2.4.57', 'jpeg lossless'],
  ['1.2.840.10008.1.2.4.70', 'jpeg lossless'],
  ['1.2.840.10008.1.2.4.80', 'jpeg-ls'],
  ['1.2.840.10008.1.2.4.81', 'jpeg-ls'],
  ['1.2.840.10008.1.2.4.90', 'jpeg 2000'],
  ['1.2.840.10008.1.2.4.91', 'jpeg 2000'],
  ['1.2.840.10008.1.2.4.201', 'htj2k'],
  ['1.2.840.10008.1.2.4.202', 'htj2k'],
  ['1.2.840.10008.1.2.4.203', 'htj2k'],
]);

/** Undefined for what is passed on only as it is: video, retired JPEG processes, JPEG XL, multi-component JPEG 2000. */
export function codingOf(transferSyntaxUID: string): Coding | undefined {
  return CODINGS.get(transferSyntaxUID);
}

/** Written without loss from any frame of 8 or 16 bits. */
export const LOSSLESS_TARGETS: readonly string[] = [
  '1.2.840.10008.1.2.5',
  '1.2.840.10008.1.2.4.70',
  '1.2.840.10008.1.2.4.80',
  '1.2.840.10008.1.2.4.90',
  '1.2.840.10008.1.2.4.201',
];

export const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
