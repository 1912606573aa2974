/** Photometric Interpretation (0028,0004) before and after compression. Nothing here loads a codec. */
import type { ImageLayout } from './image.ts';
import { codingOf, type Coding } from './syntaxes.ts';

/** PS3.5 8.2.1 to 8.2.4: what the colours are once the compression is undone. */
export function decodedPhotometric(
  { samplesPerPixel, photometricInterpretation }: ImageLayout,
  coding: Coding,
): string {
  if (samplesPerPixel !== 3) return photometricInterpretation;
  switch (coding) {
    case 'jpeg baseline':
    case 'jpeg extended':
      return 'RGB';
    case 'jpeg lossless':
      return photometricInterpretation.startsWith('YBR') ? 'RGB' : photometricInterpretation;
    case 'jpeg 2000':
    case 'htj2k':
      return ['YBR_RCT', 'YBR_ICT'].includes(photometricInterpretation) ? 'RGB' : photometricInterpretation;
    default:
      return photometricInterpretation === 'YBR_FULL_422' ? 'YBR_FULL' : photometricInterpretation;
  }
}

/** A frame of this syntax as `decodeFrame` gives it. */
export function decodedLayout(layout: ImageLayout, transferSyntaxUID: string): ImageLayout {
  const coding = codingOf(transferSyntaxUID);
  const photometricInterpretation =
    coding === undefined ? layout.photometricInterpretation : decodedPhotometric(layout, coding);
  return { ...layout, planar: false, photometricInterpretation };
}

/** What Photometric Interpretation says once a native frame is written so: the reversible transformation of JPEG 2000 has its own name. */
export function encodedPhotometric({ photometricInterpretation }: ImageLayout, coding: Coding): string {
  const transformed = coding === 'jpeg 2000' || coding === 'htj2k';
  return transformed && photometricInterpretation === 'RGB' ? 'YBR_RCT' : photometricInterpretation;
}
