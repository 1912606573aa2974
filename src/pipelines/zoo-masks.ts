/**
 * Runs a model that makes masks by its manifest: the same steps before the graph as for images, then one channel for each class back
 * to the grid of the source, and there the decision, so that edges are as smooth as the source is fine.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume } from '../dicom/volume.ts';
import { judge, type Verdict } from './gates.ts';
import { countParts, maskFigures } from './mask-figures.ts';
import { fillHoles, keepLargest } from './mask-parts.ts';
import { checkApplies, propagate, type OpenedModel, type ZooInput } from './zoo.ts';
import { segmentsOf } from './mask-sizes.ts';
import type { ManifestCard, Step } from './zoo-manifest.ts';
import { standing, type Grid, type Prepared } from './zoo-steps.ts';

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

/** @throws Refusal PipelineRefused for what the model does not apply to and for masks beyond the gates */
export async function runMasks(
  opened: OpenedModel,
  input: ZooInput,
  progress: (step: string, share: number) => void = () => undefined,
): Promise<MaskResult> {
  const { card } = opened.model;
  checkApplies(card, input);
  const { prepared, made, own } = await propagate(opened, input, progress);
  const post = card.post ?? [];
  const channels = made.length / prepared.grid.values.length;
  activate(made, channels, post);
  refuseNoProbabilities(card, made);
  const segments = segmentsOf(card);
  const { labels, certainty, probabilities } = decided(card, input.volume, prepared, made);
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

/** In place: what the graph gives becomes probabilities. */
function activate(made: Float32Array, channels: number, post: readonly Step[]): void {
  const voxels = made.length / channels;
  if (post.some(({ op }) => op === 'sigmoid'))
    for (let n = 0; n < made.length; n++) made[n] = 1 / (1 + Math.exp(-made[n]!));
  if (!post.some(({ op }) => op === 'softmax')) return;
  for (let n = 0; n < voxels; n++) {
    let most = -Infinity;
    for (let c = 0; c < channels; c++) most = Math.max(most, made[c * voxels + n]!);
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += made[c * voxels + n] = Math.exp(made[c * voxels + n]! - most);
    for (let c = 0; c < channels; c++) made[c * voxels + n]! /= sum;
  }
}

function refuseNoProbabilities({ id }: ManifestCard, made: Float32Array): void {
  const slack = 1e-3;
  for (const value of made)
    if (!(value >= -slack && value <= 1 + slack))
      throw new Refusal(
        'PipelineRefused',
        `${id} gave ${Number(value.toPrecision(4))} where probabilities are expected; post lacks softmax or sigmoid`,
      );
}

interface Decided {
  readonly labels: Uint8Array;
  readonly certainty: Float32Array;
  readonly probabilities: Uint8Array | undefined;
}

/** Channel after channel back to the source's grid, so that no more than one of them is there at that size. */
function decided(card: ManifestCard, source: Volume, prepared: Prepared, made: Float32Array): Decided {
  const piece = prepared.grid.values.length;
  const channels = made.length / piece;
  const voxels = source.voxels.length;
  const segments = segmentsOf(card);
  const threshold = card.post?.find((step) => step.op === 'threshold');
  const labels = new Uint8Array(voxels);
  const certainty = new Float32Array(voxels);
  const fractional = card.emit.kind === 'segmentation' && card.emit.segmentation === 'fractional';
  const probabilities = fractional ? new Uint8Array(voxels * segments.length) : undefined;
  for (let channel = 0; channel < channels; channel++) {
    const number = segments.findIndex((segment) => segment.channel === channel) + 1;
    if (number === 0 && threshold !== undefined) continue;
    let grid: Grid = { ...prepared.grid, values: made.subarray(channel * piece, (channel + 1) * piece) };
    for (const back of prepared.gridBack) grid = back(grid);
    const { values } = grid;
    const least = threshold?.op === 'threshold' ? threshold.at : 0;
    for (let n = 0; n < voxels; n++) {
      const value = values[n]!;
      if (value >= least && value > certainty[n]!) {
        certainty[n] = value;
        labels[n] = number;
      }
    }
    if (number > 0)
      probabilities?.set(
        Uint8ClampedArray.from(values, (value) => value * 255),
        (number - 1) * voxels,
      );
  }
  return { labels, certainty, probabilities };
}
