/** Value Representations, PS3.5 section 6.2, and how each is laid out in Explicit VR (PS3.5 7.1.2). */

interface VrTraits {
  /** 32-bit length after two reserved bytes. */
  readonly longForm: boolean;
  /** Bytes of one number that a change of byte order turns round; 1 for text and bytes. */
  readonly wordBytes: 1 | 2 | 4 | 8;
  /** The byte that makes an odd value even. */
  readonly padding: 0x00 | 0x20;
  /** Characters come under Specific Character Set (PS3.5 6.1.2.2), are plain ASCII, or there are none. */
  readonly text: 'charset' | 'ascii' | false;
  /** Several values are separated by a backslash. */
  readonly multiValued: boolean;
}

const binary = (wordBytes: 1 | 2 | 4 | 8, longForm: boolean, multiValued = true): VrTraits => ({
  longForm,
  wordBytes,
  padding: 0x00,
  text: false,
  multiValued,
});
const text = (kind: 'charset' | 'ascii', multiValued: boolean, longForm = false): VrTraits => ({
  longForm,
  wordBytes: 1,
  padding: 0x20,
  text: kind,
  multiValued,
});

export const VR_TRAITS = {
  AE: text('ascii', true),
  AS: text('ascii', true),
  AT: binary(2, false),
  CS: text('ascii', true),
  DA: text('ascii', true),
  DS: text('ascii', true),
  DT: text('ascii', true),
  FL: binary(4, false),
  FD: binary(8, false),
  IS: text('ascii', true),
  LO: text('charset', true),
  LT: text('charset', false),
  OB: binary(1, true, false),
  OD: binary(8, true, false),
  OF: binary(4, true, false),
  OL: binary(4, true, false),
  OV: binary(8, true, false),
  OW: binary(2, true, false),
  PN: text('charset', true),
  SH: text('charset', true),
  SL: binary(4, false),
  SQ: binary(1, true, false),
  SS: binary(2, false),
  ST: text('charset', false),
  SV: binary(8, true),
  TM: text('ascii', true),
  UC: text('charset', true, true),
  UI: { ...text('ascii', true), padding: 0x00 },
  UL: binary(4, false),
  UN: binary(1, true, false),
  UR: text('ascii', false, true),
  US: binary(2, false),
  UT: text('charset', false, true),
  UV: binary(8, true),
} as const satisfies Record<string, VrTraits>;

export type Vr = keyof typeof VR_TRAITS;

const BY_CODE = new Map<number, Vr>();
for (const vr of Object.keys(VR_TRAITS) as Vr[]) BY_CODE.set((vr.charCodeAt(0) << 8) | vr.charCodeAt(1), vr);

/** The VR whose two letters have these codes, or undefined. */
export function vrFromBytes(first: number, second: number): Vr | undefined {
  return BY_CODE.get((first << 8) | second);
}

export function isLongForm(vr: Vr): boolean {
  return VR_TRAITS[vr].longForm;
}
