/** How many channels, segments and bytes the masks of a card make. */
import type { Volume } from '../dicom/volume.ts';
import type { Emit, ManifestCard, ManifestSegment } from './zoo-manifest.ts';

/** The segments of a card that makes masks. */
export function segmentsOf({ emit }: ManifestCard): readonly ManifestSegment[] {
  return emit.kind === 'segmentation' ? emit.segments : [];
}

/** Channels of the graph's output that the segments name at least. */
export function channelsOf(emit: Emit): number {
  return emit.kind === 'segmentation' ? Math.max(...emit.segments.map(({ channel }) => channel)) + 1 : 1;
}

/** Bytes beyond those of an image's run: all channels on the model's grid, one on the source's, labels, certainty, parts. */
export function maskBytes(card: ManifestCard, { geometry: { columns, rows, slices, spacingMm } }: Volume): number {
  if (card.emit.kind !== 'segmentation') return 0;
  const source = columns * rows * slices;
  const share = (card.pre ?? []).reduce((product, step) => {
    if (step.op === 'fit') return (step.pixels[0] * step.pixels[1]) / (columns * rows);
    if (step.op !== 'resample') return product;
    const to = typeof step.spacingMm === 'number' ? [step.spacingMm, step.spacingMm, step.spacingMm] : step.spacingMm;
    return spacingMm.reduce((part, mm, axis) => (part * mm) / to[axis as 0]!, product);
  }, 1);
  const fractional = card.emit.segmentation === 'fractional' ? card.emit.segments.length : 0;
  return source * (4 + 4 + 1 + 8 + 2 * fractional) + source * share * 4 * (channelsOf(card.emit) + 2);
}
