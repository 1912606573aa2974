/**
 * Which transfer syntaxes an object and its frames can be had in (PS3.18 8.7.3). Nothing is ever lost on the way: a lossless object goes
 * out native or under a lossless syntax, an object that was compressed with loss as it is, and labelled so.
 */
import type { InstanceRow } from '../archive/instances.ts';
import { codingOf, JPEG_BASELINE, LOSSLESS_TARGETS } from '../codecs/syntaxes.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import type { Offer, Syntax } from './media-type.ts';

/**
 * The syntaxes that a whole object can be had in, the stored one first. Where none is named Explicit VR Little Endian is meant; of an
 * object that there is only lossily compressed, that (PS3.18 8.7.3.4).
 */
export function objectSyntaxes({ transferSyntaxUID: uid, frameCount }: InstanceRow): Syntax[] {
  const native = uid === EXPLICIT_VR_LITTLE_ENDIAN;
  const { compression } = transferSyntax(uid) ?? {};
  if (compression === 'lossy') return [{ uid, answers: ['default', EXPLICIT_VR_LITTLE_ENDIAN] }];
  const stored: Syntax = { uid, answers: native ? ['default'] : [] };
  if (frameCount === 0 || codingOf(uid) === undefined) return [stored];
  const others = LOSSLESS_TARGETS.filter((target) => target !== uid).map(converted);
  return native
    ? [stored, ...others]
    : [stored, { ...converted(EXPLICIT_VR_LITTLE_ENDIAN), answers: ['default'] }, ...others];
}

const converted = (uid: string): Syntax => ({ uid, answers: [], converted: true });

/** The syntax that a type of image means by itself, PS3.18 table 8.7.3-5. */
const DEFAULT_SYNTAXES: Readonly<Record<string, string>> = {
  'image/jpeg': '1.2.840.10008.1.2.4.70',
  'image/dicom-rle': '1.2.840.10008.1.2.5',
  'image/jls': '1.2.840.10008.1.2.4.80',
  'image/jp2': '1.2.840.10008.1.2.4.90',
  'image/jpx': '1.2.840.10008.1.2.4.92',
  'image/jphc': '1.2.840.10008.1.2.4.201',
};

/**
 * The forms of a frame: native where it can be decoded, in the image type of its compression, which may also be had as mere bytes by
 * who names the syntax, and in others. A frame by itself has no UID to keep, so JPEG baseline is made for who names it.
 */
export function frameOffers({ transferSyntaxUID: uid }: InstanceRow, single: boolean): Offer[] {
  const encapsulated = transferSyntax(uid)?.encapsulated === true;
  const decodable = codingOf(uid) !== undefined;
  const images = new Map<string, Syntax[]>();
  const offerImage = (syntax: Syntax): void => {
    const type = transferSyntax(syntax.uid)?.mediaType;
    if (type === undefined || type === '' || type === 'application/octet-stream') return;
    const answers = DEFAULT_SYNTAXES[type] === syntax.uid ? ['default'] : [];
    images.set(type, [...(images.get(type) ?? []), { ...syntax, answers }]);
  };
  if (encapsulated) offerImage({ uid, answers: [] });
  if (decodable && transferSyntax(uid)?.compression !== 'lossy')
    for (const target of [...LOSSLESS_TARGETS, JPEG_BASELINE]) if (target !== uid) offerImage(converted(target));
  const octets = (syntax: Syntax): Omit<Offer, 'multipart'> => ({
    type: 'application/octet-stream',
    syntaxes: [syntax],
  });
  const forms: Omit<Offer, 'multipart'>[] = [...images].map(([type, syntaxes]) => ({ type, syntaxes }));
  if (!encapsulated) forms.unshift(octets({ uid, answers: ['default'] }));
  else {
    if (decodable) forms.unshift(octets({ ...converted(EXPLICIT_VR_LITTLE_ENDIAN), answers: ['default'] }));
    forms.push(octets({ uid, answers: [] }));
  }
  return [true, ...(single ? [false] : [])].flatMap((multipart) => forms.map((form) => ({ multipart, ...form })));
}
