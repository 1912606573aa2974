/** What is measured of a picture without its speckle. */
export const SIDE = 160;
export const SEEDS = Array.from({ length: 8 }, (_, n) => 7000 + n);

/** dB to 255, against the picture that was made without speckle. */
export function psnr(values: Float32Array, clean: Float32Array): number {
  const sum = values.reduce((all, value, n) => all + (value - clean[n]!) ** 2, 0);
  return 10 * Math.log10(255 ** 2 / (sum / clean.length));
}

/** Where the clean picture is flat over 7 x 7 pixels: variance of the noisy grey values over that of the result, the looks gained. */
export function looks(noisy: Float32Array, result: Float32Array, clean: Float32Array): number {
  let [before, after] = [0, 0];
  for (let y = 3; y < SIDE - 3; y += 7)
    for (let x = 3; x < SIDE - 3; x += 7) {
      const places = Array.from({ length: 49 }, (_, n) => (y - 3 + Math.floor(n / 7)) * SIDE + x - 3 + (n % 7));
      const spread = (of: Float32Array): number => {
        const values = places.map((at) => of[at]!);
        const mean = values.reduce((sum, one) => sum + one, 0) / 49;
        return values.reduce((sum, one) => sum + (one - mean) ** 2, 0) / 49;
      };
      if (spread(clean) > 1 || clean[y * SIDE + x]! < 20) continue;
      before += spread(noisy);
      after += spread(result);
    }
  return before / after;
}

/** Correlation of gradient magnitudes with those of the clean picture at its strongest 5 per cent of edges: 1 keeps every edge. */
export function edges(values: Float32Array, clean: Float32Array): number {
  const steep = (of: Float32Array, n: number): number =>
    Math.hypot(of[n + 1]! - of[n - 1]!, of[n + SIDE]! - of[n - SIDE]!);
  const inner = Array.from({ length: SIDE * SIDE }, (_, n) => n).filter((n) => {
    const [x, y] = [n % SIDE, Math.floor(n / SIDE)];
    return x > 0 && y > 0 && x < SIDE - 1 && y < SIDE - 1;
  });
  const strength = inner.map((n) => steep(clean, n));
  const limit = strength.toSorted((a, b) => b - a)[Math.floor(inner.length / 20)] ?? 0;
  let [n, a, b, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
  inner.forEach((at, index) => {
    const near = strength[index]! >= limit || index % 10 === 0;
    if (!near) return;
    const [p, q] = [steep(values, at), strength[index]!];
    n++;
    a += p;
    b += q;
    aa += p * p;
    bb += q * q;
    ab += p * q;
  });
  return (n * ab - a * b) / Math.sqrt((n * aa - a * a) * (n * bb - b * b));
}
