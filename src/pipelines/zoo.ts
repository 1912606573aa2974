/**
 * Runs a model by its manifest: the box of what it applies to, the steps before, the graph piece by piece, the steps after, the figures
 * and the gates. The same input, model and settings give the same voxels.
 */
import { join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';
import type { Vector3, Volume } from '../dicom/volume.ts';
import { biasField } from './bias-field.ts';
import type { Brake } from './brake.ts';
import { enhanceExposure } from './exposure.ts';
import { judgeFamiliar, limitsOf, loadFamiliarity, type Familiarity } from './familiarity.ts';
import { judge, type Gate, type Verdict } from './gates.ts';
import { floatsOf } from './graph-session.ts';
import { readInside, refuseModel } from './manifest.ts';
import type { Probe } from './requests.ts';
import { watchPeak } from './resident.ts';
import { estimateNoise } from './noise-level.ts';
import { openSession, type Provider, type Session, type Tensor } from './session.ts';
import { imageFigures } from './zoo-figures.ts';
import {
  blendOf,
  outputFigures,
  type ManifestCard,
  type ManifestInput,
  type ManifestModel,
  type Step,
} from './zoo-manifest.ts';
import { channelsOf, maskBytes } from './mask-sizes.ts';
import { prepare, type Grid, type Prepared } from './zoo-steps.ts';
import { byPieces, eachSlab, type Piece, type Slabs, type Tiling } from './zoo-tiles.ts';

export interface ZooSettings {
  /** Share of the correction, over the card's own; only where the card blends. */
  readonly alpha?: number;
}

export interface ZooInput {
  readonly volume: Volume;
  /** Real values that the stored bits can hold. */
  readonly stored: { readonly lowest: number; readonly highest: number };
  /** Image Type (0008,0008) and Rescale Type (0028,1054) of the source. */
  readonly imageType: readonly string[];
  readonly rescaleType: string | undefined;
  readonly settings: ZooSettings;
  /** Values of the source by keyword: those that the card asks for, Photometric Interpretation and Patient Orientation. */
  readonly attributes?: Readonly<Record<string, readonly string[]>>;
  /** How many times smaller it was made with loss, 1 for what lost nothing, not a number where nobody says. */
  readonly lossyRatio?: number;
  /** Of ultrasound: where grey tissue is shown, in pixels, both ends included; absent where the image names no regions at all. */
  readonly tissue?: readonly Box[] | undefined;
}

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface ZooResult {
  readonly voxels: Float32Array;
  readonly quality: Readonly<Record<string, number>>;
  readonly verdict: Verdict;
}

export interface OpenedModel {
  readonly model: ManifestModel;
  /** Absent where the program has no graph. */
  readonly session: Session | undefined;
  /** Absent where the card names none. */
  readonly familiarity: Familiarity | undefined;
}

/** Settings as a rule gives them. @throws Refusal BadConfiguration */
export function parseZooSettings(card: ManifestCard, given: Readonly<Record<string, unknown>>): ZooSettings {
  const blend = blendOf(card);
  for (const key of Object.keys(given))
    if (key !== 'alpha' || blend === undefined)
      throw new Refusal(
        'BadConfiguration',
        `${card.id} has no setting ${key}${blend === undefined ? '' : '; expected alpha'}`,
      );
  const { alpha } = given;
  if (alpha === undefined) return {};
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha <= 1))
    throw new Refusal('BadConfiguration', `${card.id}: alpha must be a number above 0, at most 1`);
  return { alpha };
}

const BYTES_PER_VOXEL = 256;

/** Peak of a run beyond the runtime's own, MB; `probed` counts where it found more bytes for a voxel than the card says. */
export function zooMemoryMb(card: ManifestCard, volume: Volume, probed?: Probe): number {
  const { columns, rows, slices } = volume.geometry;
  const tile = card.pre?.find(({ op }) => op === 'tile');
  const side = tile?.op === 'tile' ? tile.size : Infinity;
  const deep = card.io.dims === '2d-slice' ? 1 : Math.min(slices, side);
  const fit = card.pre?.find(({ op }) => op === 'fit');
  const [wide, high] = fit?.op === 'fit' ? fit.pixels : [columns, rows];
  const seen = Math.min(wide, side) * Math.min(high, side) * deep;
  const source = columns * rows * slices;
  // What is put together of overlapping pieces, and their weights; a slice's are too small to count.
  const slab = deep === 1 ? 0 : columns * rows * deep * 4 * (channelsOf(card.emit) + 1);
  const held = source * heldBytes(card) + slab + maskBytes(card, volume);
  const bytesPerVoxel = Math.max(card.runtime.bytesPerVoxel ?? BYTES_PER_VOXEL, probed?.bytesPerVoxel ?? 0);
  return Math.ceil((60e6 + held + seen * bytesPerVoxel) / 1e6);
}

/** Bytes of a voxel of the source while a model runs: the source and what the steps make of it, which the result is written over. */
function heldBytes({ pre = [], program = 'graph', emit }: ManifestCard): number {
  const [source, copy] = [4, 4];
  if (program !== 'graph') return source + copy + (pre.every(({ op }) => KEEPS.has(op)) ? 0 : copy);
  return source + copy + (emit.kind === 'derived-image' && pre.some(({ op }) => ONE_MORE.has(op)) ? copy : 0);
}

/** Steps that leave the source's voxels as they are, and those that keep what they saw or have to bring it back to its grid. */
const KEEPS: ReadonlySet<Step['op']> = new Set(['rescale', 'rescaleHU', 'asMeasured', 'tile']);
const ONE_MORE: ReadonlySet<Step['op']> = new Set(['orient', 'resample', 'fit', 'stand', 'phaseDown', 'window']);

/**
 * Opens the graph and holds it against the card: names, type, number of axes, sides it fixes, the self-test. @throws Refusal
 * BadConfiguration
 */
export async function openModel(
  model: ManifestModel,
  threads: number,
  brake?: Brake,
  provider?: Provider,
): Promise<OpenedModel> {
  const { card, folder } = model;
  const familiarity = card.familiar === undefined ? undefined : loadFamiliarity(folder, card.familiar);
  if (card.file === undefined) return { model, session: undefined, familiarity };
  const limit = Math.min(threads, card.runtime.threads ?? threads);
  const file = join(folder, card.file);
  const session = await openSession(file, {
    threads: limit,
    arena: card.runtime.arena ?? false,
    brake,
    provider,
  }).catch((error: unknown) => refuseModel(folder, `onnxruntime does not load ${card.file}: ${String(error)}`));
  const inputs = card.io.inputs ?? [];
  for (const { name } of [...inputs, ...card.io.outputs]) {
    const found = session.shapes.find((shape) => shape.name === name);
    if (found?.type !== 'float32')
      refuseModel(
        folder,
        found === undefined
          ? `${name} is no tensor of the graph, which has ${session.shapes.map((shape) => shape.name).join(', ')}`
          : `${name} is ${found.type}; float32 is expected`,
      );
  }
  const undeclared = session.inputs.filter((name) => !inputs.some((input) => input.name === name));
  if (undeclared.length > 0) refuseModel(folder, `the card lacks the inputs ${undeclared.join(', ')}`);
  const image = inputs.find(({ role }) => role === 'image');
  if ((card.program ?? 'graph') === 'graph') {
    checkAxes(model, session, image?.name ?? '', [image?.channels ?? 1, image?.channels ?? 1]);
    const least = channelsOf(card.emit);
    checkAxes(model, session, card.io.outputs[0]?.name ?? '', [
      least,
      card.emit.kind === 'segmentation' ? Infinity : least,
    ]);
  }
  await selfTest(model, session);
  return { model, session, familiarity };
}

function dimsOf(session: Session, name: string): readonly (number | string)[] {
  return session.shapes.find((shape) => shape.name === name)?.dims ?? [];
}

/** One image, so many channels, two or three free or fixed sides. */
function checkAxes(
  { folder, card }: ManifestModel,
  session: Session,
  name: string,
  [fewest, most]: readonly [number, number],
): void {
  const dims = dimsOf(session, name);
  const expected = card.io.dims === '2d-slice' ? 4 : 5;
  const says = `[${dims.join(',')}]`;
  if (dims.length !== expected) refuseModel(folder, `${name} is ${says}; ${card.io.dims} needs ${expected} axes`);
  const [images, channels] = dims;
  const wanted =
    fewest === most ? `${fewest === 1 ? 'one channel' : `${fewest} channels`}` : `at least ${fewest} channels`;
  if (
    (typeof images === 'number' && images > 1) ||
    (typeof channels === 'number' && channels > 0 && (channels < fewest || channels > most))
  )
    refuseModel(folder, `${name} is ${says}; one image of ${wanted} is needed`);
  const image = card.io.inputs?.find(({ role }) => role === 'image');
  for (const side of dims.slice(2))
    if (typeof side === 'number' && side > 0 && side % (image?.multipleOf ?? 1) !== 0)
      refuseModel(folder, `${name} is ${says}; multipleOf ${image?.multipleOf} does not divide it`);
}

async function selfTest({ folder, card }: ManifestModel, session: Session): Promise<void> {
  const test = card.selfTest;
  if (test === undefined) return;
  const values = floatsOf(readInside(folder, join(folder, test.input)));
  const feeds: Record<string, Tensor> = {};
  let from = 0;
  (card.io.inputs ?? []).forEach(({ name }, i) => {
    const dims =
      test.inputDims?.[i] ?? dimsOf(session, name).map((side) => (typeof side === 'number' && side > 0 ? side : 0));
    if (dims.some((side) => side === 0)) refuseModel(folder, `selfTest needs inputDims: ${name} has free dimensions`);
    const length = dims.reduce((product, one) => product * one, 1);
    feeds[name] = { dims, data: values.slice(from, from + length) };
    from += length;
  });
  if (from !== values.length)
    refuseModel(folder, `self-test: ${test.input} has ${values.length} values, expected ${from}`);
  const expected = floatsOf(readInside(folder, join(folder, test.output)));
  const output = card.io.outputs[0]?.name ?? '';
  const results = await session
    .run(feeds, [output])
    .catch((error: unknown) => refuseModel(folder, `self-test: the graph does not run: ${String(error)}`));
  const found = results[output]?.data ?? new Float32Array(0);
  if (found.length !== expected.length)
    refuseModel(folder, `self-test: the graph gives ${found.length} values, expected ${expected.length}`);
  const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
  if (!(worst <= test.tolerance))
    refuseModel(folder, `self-test: the result differs by ${worst}; at most ${test.tolerance} is allowed`);
}

/** One piece of the largest size once: whether the graph gives an image back, and what memory that takes. @throws Refusal BadConfiguration */
export async function probeModel(opened: OpenedModel): Promise<Probe> {
  const { model, session } = opened;
  const { card, folder } = model;
  const nothing: Probe = { tookMb: undefined, bytesPerVoxel: undefined };
  if (session === undefined || (card.program ?? 'graph') !== 'graph') return nothing;
  const size = probeSize(card);
  const voxels = size[0] * size[1] * size[2];
  const grid: Grid = {
    values: Float32Array.from({ length: voxels }, (_, i) => ((i * 7919) % 101) / 101),
    size,
    spacingMm: [1, 1, 1],
  };
  const most = watchPeak();
  await runGraph(opened, grid, { progress: () => undefined, spend: false, sigma: 1 }).catch((error: unknown) =>
    refuseModel(
      folder,
      `memory probe: the graph does not run on ${size.join(' x ')}: ${error instanceof Error ? error.message : 'unknown'}`,
    ),
  );
  const tookMb = most();
  if (tookMb === undefined) return nothing;
  const { maxMemoryMB } = card.runtime;
  if (tookMb > maxMemoryMB)
    refuseModel(
      folder,
      `memory probe: one piece of ${size.join(' x ')} took ${Math.ceil(tookMb)} MB; runtime.maxMemoryMB is ${maxMemoryMB}`,
    );
  return { tookMb, bytesPerVoxel: (tookMb * 1e6) / voxels };
}

/** What the graph sees at once at most; where nothing bounds it, enough that its own memory stands out from that of any run. */
function probeSize({ io: { dims }, pre = [] }: ManifestCard): Vector3 {
  const fit = pre.find(({ op }) => op === 'fit');
  const tile = pre.find(({ op }) => op === 'tile');
  const side = tile?.op === 'tile' ? tile.size : dims === '2d-slice' ? 512 : 96;
  if (dims === '3d-volume') return [side, side, side];
  return fit?.op === 'fit' ? [Math.min(side, fit.pixels[0]), Math.min(side, fit.pixels[1]), 1] : [side, side, 1];
}

/** @throws Refusal PipelineRefused for what the model does not apply to and for a result beyond the gates */
export async function runModel(
  opened: OpenedModel,
  input: ZooInput,
  progress: (step: string, share: number) => void = () => undefined,
): Promise<ZooResult> {
  const { card } = opened.model;
  checkApplies(card, input);
  const { volume } = input;
  const { familiarity } = opened;
  const foreign = familiarity === undefined ? {} : { ...judgeFamiliar(familiarity, volume) };
  const { prepared, made, own } = await propagate(opened, input, progress);
  const voxels = finish(card, input, prepared, made);
  const figures = {
    ...foreign,
    ...own,
    ...imageFigures({ source: volume, result: voxels, stored: input.stored }),
    ...lossFigure(card, input),
  };
  const alpha = input.settings.alpha ?? blendOf(card);
  const limits = familiarity === undefined ? {} : limitsOf(familiarity);
  const gates: Readonly<Record<string, Gate>> = { ...limits, ...card.gates };
  const quality = { ...figures, ...(alpha === undefined ? {} : { alpha }) };
  return { voxels, quality, verdict: judge(gates, figures) };
}

/** Only where the card asks: of most series it would say nothing. */
export function lossFigure({ gates }: ManifestCard, { lossyRatio = 1 }: ZooInput): Record<string, number> {
  return gates?.['lossyRatio'] === undefined ? {} : { lossyRatio };
}

/** The steps before the graph and the graph: what it gave, still on its own grid and scale. */
export async function propagate(
  opened: OpenedModel,
  input: ZooInput,
  progress: (step: string, share: number) => void,
): Promise<{ prepared: Prepared; made: Float32Array; own: Readonly<Record<string, number>> }> {
  const { card } = opened.model;
  const prepared = preparedFor(card, input);
  const { values, figures } = await runProgram(opened, prepared.grid, {
    progress: (share) => progress(card.id, share),
    spend: prepared.grid.values !== input.volume.voxels,
  });
  refuseNoNumbers(card, [values]);
  return { prepared, made: values, own: figures };
}

/** The steps before the graph. */
export function preparedFor({ pre = [] }: ManifestCard, { volume, rescaleType, attributes = {} }: ZooInput): Prepared {
  const { geometry, modality, voxels } = volume;
  const around = { geometry, modality, rescaleType, attributes, voxels };
  const { columns, rows, slices, spacingMm } = geometry;
  const source: Prepared = {
    grid: { values: voxels, size: [columns, rows, slices], spacingMm },
    valuesBack: [],
    gridBack: [],
  };
  return pre.reduce((prepared, step) => prepare(prepared, step, around), source);
}

/** @throws Refusal PipelineRefused */
export function refuseNoNumbers({ id }: ManifestCard, channels: readonly Float32Array[]): void {
  for (const values of channels) {
    const [low, high] = extremes(values);
    if (!Number.isFinite(high - low))
      throw new Refusal('PipelineRefused', `${id} gave a value that is no finite number`);
  }
}

/** Lowest and highest in one pass over the tens of millions of voxels of a volume; neither is a number where a value is none. */
function extremes(values: Float32Array): readonly [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    low = Math.min(low, values[i]!);
    high = Math.max(high, values[i]!);
  }
  return [low, high];
}

/** What a program made, and the figures that it alone knows. */
interface Made {
  readonly values: Float32Array;
  readonly figures: Readonly<Record<string, number>>;
}

interface Running {
  readonly progress: (share: number) => void;
  /** Whether what is made may be written over the grid. */
  readonly spend: boolean;
  /** Noise, where it is known and not to be found in the grid. */
  readonly sigma?: number;
}

async function runProgram(opened: OpenedModel, grid: Grid, running: Running): Promise<Made> {
  const { card } = opened.model;
  const program = card.program ?? 'graph';
  switch (program) {
    case 'graph':
      return runGraph(opened, grid, running);
    case 'bias-field':
      return biasField(opened.session, grid, card.settings ?? {}, running.progress);
    case 'exposure':
      return { values: enhanceExposure(grid, card.settings ?? {}), figures: {} };
    default:
      return program satisfies never;
  }
}

async function runGraph(opened: OpenedModel, grid: Grid, running: Running): Promise<Made> {
  const { tiling, run, figures } = pieceRunner(opened, grid, running);
  const values = await byPieces(grid, tiling, run, running.progress);
  return { values, figures: figures() };
}

/** The graph's channels slab by slab, on its own grid and scale; returns the figures that it tells of itself. */
export async function runBySlabs(
  opened: OpenedModel,
  grid: Grid,
  { progress, take }: Pick<Slabs, 'progress' | 'take'>,
): Promise<Readonly<Record<string, number>>> {
  const { tiling, run, figures } = pieceRunner(opened, grid, { spend: false });
  await eachSlab(grid, tiling, { run, take, progress });
  return figures();
}

interface PieceRunner {
  readonly tiling: Tiling;
  readonly run: Slabs['run'];
  /** Of all pieces that were run. */
  readonly figures: () => Record<string, number>;
}

/** How the grid is cut for the graph, and what runs it on a piece. */
function pieceRunner(
  { model: { card }, session }: OpenedModel,
  grid: Grid,
  { spend, sigma }: Omit<Running, 'progress'>,
): PieceRunner {
  if (session === undefined) throw new Error(`${card.id} has no graph`);
  const inputs = card.io.inputs ?? [];
  const image = inputs.find(({ role }) => role === 'image');
  const flat = card.io.dims === '2d-slice';
  const output = card.io.outputs[0]?.name ?? '';
  const asksNoise = inputs.some(({ role }) => role === 'noiseSigma') && sigma === undefined;
  const sigmas = asksNoise ? noiseOf(grid, flat) : [sigma ?? 0];
  const tile = card.pre?.find(({ op }) => op === 'tile');
  const sides = dimsOf(session, image?.name ?? '')
    .slice(2)
    .reverse();
  const fixedSide = (axis: number): number => {
    const side = sides[axis];
    return typeof side === 'number' && side > 0 ? side : 0;
  };
  const tiling: Tiling = {
    size: tile?.op === 'tile' ? tile.size : undefined,
    overlap: tile?.op === 'tile' ? tile.overlap : 0,
    multipleOf: image?.multipleOf ?? 1,
    pad: image?.pad ?? 'edge',
    fixed: [fixedSide(0), fixedSide(1), flat ? 1 : fixedSide(2)],
    flat,
    spend,
  };
  const fits = (channels: number): boolean => Number.isInteger(channels) && channels >= channelsOf(card.emit);
  const told = new Map(outputFigures(card.io.outputs).map((name) => [name, { sum: 0, count: 0 }]));
  const run = async (piece: Piece): Promise<Float32Array> => {
    const feeds = Object.fromEntries(
      inputs.map((input) => [input.name, feedOf(input, piece, flat, grid, sigmas[flat ? piece.slice : 0] ?? 0)]),
    );
    const { [output]: made, ...numbers } = await session.run(feeds, [output, ...told.keys()]);
    for (const [name, figure] of told) {
      figure.sum += numbers[name]?.data[0] ?? Number.NaN;
      figure.count++;
    }
    const channels = (made?.data.length ?? 0) / piece.values.length;
    if (made === undefined || !(card.emit.kind === 'segmentation' ? fits(channels) : channels === 1))
      throw new Refusal(
        'PipelineRefused',
        `${card.id} gave ${made?.data.length ?? 0} values for ${piece.values.length} voxels`,
      );
    return made.data;
  };
  const figures = (): Record<string, number> =>
    Object.fromEntries([...told].map(([name, { sum, count }]) => [name, sum / count]));
  return { tiling, run, figures };
}

function feedOf(input: ManifestInput, piece: Piece, flat: boolean, grid: Grid, sigma: number): Tensor {
  const { role, shape, channels = 1 } = input;
  const [x, y, z] = piece.size;
  if (role === 'image')
    return { dims: flat ? [1, channels, y, x] : [1, channels, z, y, x], data: repeated(piece.values, channels) };
  if (role === 'noiseSigma') return { dims: shape ?? [1, 1, 1, 1], data: Float32Array.of(sigma) };
  return { dims: shape ?? [3], data: Float32Array.from(grid.spacingMm) };
}

function repeated(values: Float32Array, times: number): Float32Array {
  if (times === 1) return values;
  const all = new Float32Array(values.length * times);
  for (let n = 0; n < times; n++) all.set(values, n * values.length);
  return all;
}

/**
 * Per slice, the median with its two neighbours, of those that show any; of a volume the median of its slices. A slice of a head that was cut
 * out, say, shows too little to tell by: there it is what the series has. @throws Refusal PipelineRefused where no slice shows noise
 */
function noiseOf({ values, size: [columns, rows, slices] }: Grid, flat: boolean): number[] {
  const pixels = columns * rows;
  const found = Array.from(
    { length: slices },
    (_, k) => estimateNoise({ values: values.subarray(k * pixels, (k + 1) * pixels), columns, rows }).sigma,
  );
  const median = (of: readonly number[]): number => {
    const sorted = of.filter((sigma) => sigma > 0).sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? 0;
  };
  const whole = median(found);
  if (whole === 0) throw new Refusal('PipelineRefused', 'no noise was found; nothing to correct');
  return flat ? found.map((_, k) => median(found.slice(Math.max(0, k - 2), k + 3)) || whole) : [whole];
}

/** The steps of `post`; what they leave undone of the grid is undone at the end. */
function finish(card: ManifestCard, input: ZooInput, prepared: Prepared, made: Float32Array): Float32Array {
  let values = made;
  const post: readonly Step[] = card.post ?? [];
  if (post.some(({ op }) => op === 'invert')) for (const back of prepared.valuesBack) back(values);
  let grid: Grid = { ...prepared.grid, values };
  for (const back of prepared.gridBack) grid = back(grid);
  values = grid.values;
  const source = input.volume.voxels;
  for (const step of post) {
    if (step.op === 'blend') {
      const alpha = input.settings.alpha ?? step.alpha;
      for (let i = 0; i < values.length; i++) values[i] = source[i]! + alpha * (values[i]! - source[i]!);
    }
    if (step.op === 'tissue') keepOutside(values, input);
    if (step.op === 'clampToStored') {
      const { lowest, highest } = input.stored;
      for (let i = 0; i < values.length; i++) values[i] = Math.min(highest, Math.max(lowest, values[i]!));
    }
  }
  return values;
}

/** What is no grey tissue (spectra, scales, letters) comes back as it was. @throws Refusal PipelineRefused */
function keepOutside(values: Float32Array, { volume, tissue }: ZooInput): void {
  if (tissue === undefined) return;
  if (tissue.length === 0)
    throw new Refusal('PipelineRefused', 'none of the Ultrasound Regions (0018,6011) shows grey tissue in 2-D');
  const { columns, rows } = volume.geometry;
  for (let n = 0; n < values.length; n++) {
    const [x, y] = [n % columns, Math.floor(n / columns) % rows];
    if (!tissue.some(({ left, top, right, bottom }) => x >= left && x <= right && y >= top && y <= bottom))
      values[n] = volume.voxels[n]!;
  }
}

/** The box of the card, and our own results. */
export function checkApplies(
  { id, applies, emit }: ManifestCard,
  { volume, imageType, attributes = {} }: ZooInput,
): void {
  const refuse = (found: string, expected: string): never => {
    throw new Refusal('PipelineRefused', `${id}: ${found}, expected ${expected}`);
  };
  const { geometry, modality, voxels } = volume;
  const { columns, rows, slices, spacingMm } = geometry;
  if (!applies.Modality.includes(modality))
    refuse(`Modality (0008,0060) is ${modality.slice(0, 16)}`, applies.Modality.join(', '));
  const own = emit.kind === 'derived-image' ? emit.imageType[2] : undefined;
  const excluded = imageType.find((value) => applies.exclude?.includes(value) === true || value === own);
  if (excluded !== undefined)
    refuse(`Image Type (0008,0008) contains ${excluded.slice(0, 16)}`, 'a source series without it');
  for (const [keyword, allowed] of Object.entries(applies.attributes ?? {})) {
    const foreign = attributes[keyword]?.find((value) => value !== '' && !allowed.includes(value));
    if (foreign !== undefined) refuse(`${keyword} is ${foreign.slice(0, 16)}`, allowed.join(', '));
  }
  if (slices < (applies.minSlices ?? 1) || slices > (applies.maxSlices ?? Infinity))
    refuse(`${slices} slices`, `${applies.minSlices ?? 1} to ${applies.maxSlices ?? 'any number'}`);
  const within = (value: number, range: readonly [number, number] | undefined): boolean =>
    range === undefined || (value >= range[0] && value <= range[1]);
  for (const mm of spacingMm.slice(0, 2))
    if (!within(mm, applies.spacing?.xy))
      refuse(`pixel spacing is ${mm} mm`, `${applies.spacing?.xy?.join(' to ')} mm`);
  if (!within(spacingMm[2], applies.spacing?.z))
    refuse(`slices are ${spacingMm[2]} mm apart`, `${applies.spacing?.z?.join(' to ')} mm`);
  if (!within(columns, applies.size) || !within(rows, applies.size))
    refuse(`${columns} x ${rows} pixels`, `${applies.size?.join(' to ')} a side`);
  const [low, high] = extremes(voxels);
  if (!Number.isFinite(high - low)) refuse('a voxel is not a finite number', 'numbers');
  if (low === high) refuse('every voxel has one value', 'an image');
}
