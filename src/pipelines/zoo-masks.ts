/**
 * Runs a model that makes masks by its manifest: the same steps before the graph as for images, then one channel for each class back
 * to the grid of the source, and there the decision, so that edges are as smooth as the source is fine.
 */
import { Refusal } from '../dicom/refusal.ts';
import { judge, type Verdict } from './gates.ts';
import { countParts, maskFigures } from './mask-figures.ts';
import { fillHoles, keepLargest } from './mask-parts.ts';
import {
  checkApplies,
  lossFigure,
  preparedFor,
  refuseNoNumbers,
  runBySlabs,
  type OpenedModel,
  type ZooInput,
} from './zoo.ts';
import { segmentsOf } from './mask-sizes.ts';
import type { ManifestCard } from './zoo-manifest.ts';
import { standing } from './zoo-steps.ts';
import type { Slab } from './zoo-tiles.ts';

export interface MaskResult {
  /** Number of the segment that each voxel belongs to, 0 for none; voxels in the order of the source. */
  readonly labels: Uint8Array;
  /** Segment after segment, 255 for certain; only where the card asks for fractional masks. */
  readonly probabilities: Uint8Array | undefined;
  /** Voxels of each segment. */
  readonly voxels: readonly number[];
  readonly quality: Readonly<Record<string, number>>;
  readonly verdict: Verdict;
}

/**
 * @param spent told of arrays that are not needed any more, whose memory may be given back at once
 * @throws Refusal PipelineRefused for what the model does not apply to and for masks beyond the gates
 */
export async function runMasks(
  opened: OpenedModel,
  input: ZooInput,
  progress: (step: string, share: number) => void = () => undefined,
  spent: (voxels: Float32Array) => void = () => undefined,
): Promise<MaskResult> {
  const { card } = opened.model;
  checkApplies(card, input);
  const post = card.post ?? [];
  const segments = segmentsOf(card);
  const { labels, certainty, probabilities, own } = await decided(opened, input, progress, spent);
  const { columns, rows, slices } = input.volume.geometry;
  const size = [columns, rows, slices] as const;
  const parts = countParts({ labels, size }, segments.length);
  for (const step of post) {
    if (step.op === 'largest')
      for (let segment = 1; segment <= segments.length; segment++) keepLargest(labels, size, segment, step.parts);
    if (step.op === 'fillHoles') fillHoles(labels, size);
  }
  const quality = {
    ...own,
    ...maskFigures(
      { labels, certainty, size },
      segments.map(({ name }) => name),
      parts,
      flippedBy(card, input),
    ),
    ...lossFigure(card, input),
  };
  const verdict = judge(card.gates ?? {}, quality);
  const voxels = segments.map(() => 0);
  for (const label of labels) if (label > 0) voxels[label - 1]!++;
  return { labels, probabilities, voxels, quality, verdict };
}

function flippedBy(card: ManifestCard, { attributes = {} }: ZooInput): readonly [boolean, boolean] {
  if (card.pre?.some(({ op }) => op === 'stand') !== true) return [false, false];
  const { flipped } = standing(attributes['PatientOrientation'] ?? []);
  return [flipped[0], flipped[1]];
}

/** In place: what the graph gives becomes probabilities. @throws Refusal PipelineRefused for what is none */
function activate(card: ManifestCard, channels: readonly Float32Array[]): void {
  refuseNoNumbers(card, channels);
  const post = card.post ?? [];
  if (post.some(({ op }) => op === 'sigmoid'))
    for (const values of channels) for (let n = 0; n < values.length; n++) values[n] = 1 / (1 + Math.exp(-values[n]!));
  if (post.some(({ op }) => op === 'softmax')) {
    const voxels = channels[0]?.length ?? 0;
    for (let n = 0; n < voxels; n++) {
      let most = -Infinity;
      for (const values of channels) most = Math.max(most, values[n]!);
      let sum = 0;
      for (const values of channels) sum += values[n] = Math.exp(values[n]! - most);
      for (const values of channels) values[n]! /= sum;
    }
  }
  const slack = 1e-3;
  for (const values of channels)
    for (const value of values)
      if (!(value >= -slack && value <= 1 + slack))
        throw new Refusal(
          'PipelineRefused',
          `${card.id} gave ${Number(value.toPrecision(4))} where probabilities are expected; post lacks softmax or sigmoid`,
        );
}

interface Decided {
  readonly labels: Uint8Array;
  /** Of the chosen channel, background included. */
  readonly certainty: Float32Array;
  readonly probabilities: Uint8Array | undefined;
}

/**
 * Of which segment each voxel of the source is. What the graph gives on the source's own grid is decided slab by slab; where the grid is
 * another one, channel after channel goes back to the source's, so that no more than one of them is there at that size.
 */
async function decided(
  opened: OpenedModel,
  input: ZooInput,
  progress: (step: string, share: number) => void,
  spent: (voxels: Float32Array) => void,
): Promise<Decided & { readonly own: Readonly<Record<string, number>> }> {
  const { card } = opened.model;
  const { geometry, voxels: source } = input.volume;
  const voxels = source.length;
  const { grid, gridBack } = preparedFor(card, input);
  if (grid.values !== source) spent(source);
  const fractional = card.emit.kind === 'segmentation' && card.emit.segmentation === 'fractional';
  const made: Decided = {
    labels: new Uint8Array(voxels),
    certainty: new Float32Array(voxels),
    probabilities: fractional ? new Uint8Array(voxels * segmentsOf(card).length) : undefined,
  };
  const share = (done: number): void => progress(card.id, done);
  if (gridBack.length === 0) {
    const plane = geometry.columns * geometry.rows;
    const take = ({ first, channels }: Slab): void => {
      activate(card, channels);
      for (const [channel, values] of channels.entries()) choose(card, made, { channel, values, at: first * plane });
    };
    const own = await runBySlabs(opened, grid, { progress: share, take });
    spent(grid.values);
    return { ...made, own };
  }
  const whole: Float32Array[] = [];
  const plane = grid.size[0] * grid.size[1];
  const gather = ({ first, channels }: Slab): void => {
    for (const [channel, values] of channels.entries())
      (whole[channel] ??= new Float32Array(grid.values.length)).set(values, first * plane);
  };
  const own = await runBySlabs(opened, grid, { progress: share, take: gather });
  spent(grid.values);
  activate(card, whole);
  for (const [channel, values] of whole.entries()) {
    const back = gridBack.reduce((one, undo) => undo(one), { ...grid, values });
    choose(card, made, { channel, values: back.values, at: 0 });
  }
  return { ...made, own };
}

interface Seen {
  readonly channel: number;
  readonly values: Float32Array;
  /** The voxel of the source that the first value is of. */
  readonly at: number;
}

/** Voxels where this channel is more probable than those before it are its segment's. */
function choose(
  card: ManifestCard,
  { labels, certainty, probabilities }: Decided,
  { channel, values, at }: Seen,
): void {
  const segments = segmentsOf(card);
  const threshold = card.post?.find((step) => step.op === 'threshold');
  const number = segments.findIndex((segment) => segment.channel === channel) + 1;
  if (number === 0 && threshold !== undefined) return;
  const least = threshold?.op === 'threshold' ? threshold.at : 0;
  for (let n = 0; n < values.length; n++) {
    const value = values[n]!;
    if (value < least || value <= certainty[at + n]!) continue;
    certainty[at + n] = value;
    labels[at + n] = number;
  }
  if (number === 0 || probabilities === undefined) return;
  const from = (number - 1) * labels.length + at;
  for (let n = 0; n < values.length; n++)
    probabilities[from + n] = Math.round(Math.min(1, Math.max(0, values[n]!)) * 255);
}
