/** Recommended Display CIELab Value (PS3.3 C.10.7.1.1): sRGB (IEC 61966-2-1) to CIELab at D50, each component over 16 bits. */

// sRGB to XYZ, chromatically adapted to D50 after Bradford (ICC.1:2022, Annex E).
const TO_XYZ = [
  [0.4360747, 0.3850649, 0.1430804],
  [0.2225045, 0.7168786, 0.0606169],
  [0.0139322, 0.0971045, 0.7141733],
] as const;
const D50 = [0.96422, 1, 0.82521] as const;

/** Red, green and blue from 0 to 255. */
export function displayLab(colour: readonly [number, number, number]): number[] {
  const linear = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const [x, y, z] = TO_XYZ.map((row, axis) => {
    const part = row.reduce((sum, weight, n) => sum + weight * linear[n]!, 0) / D50[axis]!;
    return part > (6 / 29) ** 3 ? Math.cbrt(part) : part / (3 * (6 / 29) ** 2) + 4 / 29;
  });
  const [l, a, b] = [116 * y! - 16, 500 * (x! - y!), 200 * (y! - z!)];
  const scaled = (value: number): number => Math.min(65535, Math.max(0, Math.round(value * 65535)));
  return [scaled(l / 100), scaled((a + 128) / 255), scaled((b + 128) / 255)];
}

/** For segments whose card names no colour: far apart, and none the grey of the image. */
const PALETTE = [
  [0, 174, 239],
  [247, 148, 29],
  [0, 166, 81],
  [236, 0, 140],
  [255, 222, 23],
  [146, 84, 222],
  [237, 28, 36],
  [0, 210, 190],
] as const;

export function colourOf(index: number, colour?: readonly [number, number, number]): readonly [number, number, number] {
  return colour ?? PALETTE[index % PALETTE.length] ?? PALETTE[0];
}
