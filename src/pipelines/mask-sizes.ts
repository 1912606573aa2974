/** How many channels, segments and bytes the masks of a card make. */
import type { Volume } from '../dicom/volume.ts';
import { orderTo, turns } from './zoo-steps.ts';
import type { Emit, ManifestCard, ManifestSegment, Step } from './zoo-manifest.ts';

/** The segments of a card that makes masks. */
export function segmentsOf({ emit }: ManifestCard): readonly ManifestSegment[] {
  return emit.kind === 'segmentation' ? emit.segments : [];
}

/** Channels of the graph's output that the segments name at least. */
export function channelsOf(emit: Emit): number {
  return emit.kind === 'segmentation' ? Math.max(...emit.segments.map(({ channel }) => channel)) + 1 : 1;
}

/**
 * Bytes beyond the source and what the steps made of it: labels, the fractional masks, and of another grid than the source's all channels
 * there, on the source's one of them on its way back. The certainty has the place of the source, which is given back by then.
 */
export function maskBytes(card: ManifestCard, { geometry }: Volume): number {
  if (card.emit.kind !== 'segmentation') return 0;
  const { columns, rows, slices, spacingMm } = geometry;
  const source = columns * rows * slices;
  const fractional = card.emit.segmentation === 'fractional' ? card.emit.segments.length : 0;
  const others = (card.pre ?? []).filter((step) =>
    step.op === 'orient' ? turns(orderTo(step.axes, geometry)) : OTHER_GRID.has(step.op),
  );
  const here = source * (1 + fractional + PARTS);
  if (others.length === 0) return here;
  const share = others.reduce((product, step) => {
    if (step.op === 'fit') return (step.pixels[0] * step.pixels[1]) / (columns * rows);
    if (step.op !== 'resample') return product;
    const to = typeof step.spacingMm === 'number' ? [step.spacingMm, step.spacingMm, step.spacingMm] : step.spacingMm;
    return spacingMm.reduce((part, mm, axis) => (part * mm) / to[axis as 0]!, product);
  }, 1);
  return here + source * 4 + source * share * 4 * channelsOf(card.emit);
}

/** Stretches of masks, where they are as crumbled as noise. */
const PARTS = 1;
const OTHER_GRID: ReadonlySet<Step['op']> = new Set(['resample', 'fit', 'stand', 'phaseDown']);
