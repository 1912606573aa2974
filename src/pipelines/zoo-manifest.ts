/**
 * A model that runs by its manifest alone: card.yaml with `io`, in a folder of the models folder or of the site's own. Everything
 * that can be checked without opening the graph is checked here.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isManifest } from '../config/runnable.ts';
import { readYamlFile } from '../config/yaml-file.ts';
import { isKeyword } from '../dicom/dictionary.ts';
import type { FamiliarityFile } from './familiarity.ts';
import type { Gate } from './gates.ts';
import { BIAS_FIGURES } from './bias-field.ts';
import { checkFile, readInside, refuseModel } from './manifest.ts';
import { FIGURES } from './zoo-figures.ts';
import { MASK_FIGURES, SEGMENT_FIGURES } from './mask-figures.ts';

export interface Code {
  readonly code: string;
  readonly scheme: string;
  readonly meaning: string;
}

export type Pair = readonly [number, number];

export type Step =
  | { readonly op: 'rescaleHU' | 'rescale' | 'display' | 'stand' | 'phaseDown' | 'invert' | 'clampToStored' | 'rician' }
  | { readonly op: 'softmax' | 'sigmoid' | 'argmax' | 'fillHoles' | 'tissue' }
  | { readonly op: 'threshold'; readonly at: number }
  | { readonly op: 'largest'; readonly parts: number }
  | { readonly op: 'fit'; readonly pixels: Pair }
  | { readonly op: 'orient'; readonly axes: string }
  | { readonly op: 'resample'; readonly spacingMm: number | readonly [number, number, number] }
  | { readonly op: 'window'; readonly range: Pair }
  | { readonly op: 'linear'; readonly from: Pair; readonly to: Pair }
  | { readonly op: 'normalise'; readonly low: number; readonly high: number }
  | { readonly op: 'log'; readonly offset: number }
  | { readonly op: 'asMeasured'; readonly dropDb: number }
  | { readonly op: 'tile'; readonly size: number; readonly overlap: number }
  | { readonly op: 'blend'; readonly alpha: number };

export interface ManifestInput {
  readonly name: string;
  readonly role: 'image' | 'noiseSigma' | 'spacingMm';
  readonly layout?: 'NCHW' | 'NCDHW';
  readonly channels?: 1 | 3;
  readonly shape?: readonly number[];
  readonly multipleOf?: number;
  readonly pad?: 'edge' | 'zero' | 'reflect';
}

/** What the graph gives first is the image or the mask; figures are one number each, named as the output, and may be gates. */
export interface ManifestOutput {
  readonly name: string;
  readonly role: 'image' | 'mask' | 'figure';
}

/** One segment of the masks that a graph makes. */
export interface ManifestSegment {
  readonly name: string;
  readonly label: string;
  readonly channel: number;
  readonly category: Code;
  readonly type: Code;
  readonly typeModifier?: Code;
  readonly region?: Code;
  readonly regionModifier?: Code;
  readonly colour?: readonly [number, number, number];
}

interface Emitted {
  readonly seriesSuffix: string;
  readonly algorithm: { readonly name: string; readonly family: Code };
  readonly derivation?: Code;
}

export type Emit =
  | (Emitted & { readonly kind: 'derived-image'; readonly imageType: readonly string[] })
  | (Emitted & {
      readonly kind: 'segmentation';
      readonly segmentation: 'binary' | 'fractional';
      readonly segments: readonly ManifestSegment[];
    });

/** card.yaml; the meaning of every key stands in config/schema/model-manifest.schema.json. */
export interface ManifestCard {
  readonly id: string;
  readonly version: string;
  readonly task: 'denoise' | 'correct' | 'enhance' | 'segment';
  readonly experimental?: boolean;
  readonly program?: 'graph' | 'bias-field' | 'exposure';
  readonly file?: string;
  readonly sha256?: string;
  readonly opset?: number;
  readonly applies: {
    readonly Modality: readonly string[];
    readonly minSlices?: number;
    readonly maxSlices?: number;
    readonly spacing?: { readonly xy?: Pair; readonly z?: Pair };
    readonly size?: Pair;
    readonly exclude?: readonly string[];
    readonly attributes?: Readonly<Record<string, readonly string[]>>;
  };
  readonly io: {
    readonly dims: '2d-slice' | '3d-volume';
    readonly inputs?: readonly ManifestInput[];
    readonly outputs: readonly ManifestOutput[];
  };
  readonly pre?: readonly Step[];
  readonly post?: readonly Step[];
  readonly settings?: Readonly<Record<string, number | string | boolean>>;
  readonly runtime: {
    readonly timeoutMs: number;
    readonly timeoutMsPerSlice?: number;
    readonly maxMemoryMB: number;
    readonly threads?: number;
    readonly bytesPerVoxel?: number;
    readonly arena?: boolean;
  };
  /** By the name of a figure. */
  readonly gates?: Readonly<Record<string, Gate>>;
  readonly familiar?: FamiliarityFile;
  readonly emit: Emit;
  readonly selfTest?: {
    readonly input: string;
    readonly output: string;
    readonly inputDims?: readonly (readonly number[])[];
    readonly tolerance: number;
  };
}

export interface ManifestModel {
  readonly folder: string;
  readonly card: ManifestCard;
}

/** What each step needs, where it may stand, and, after the graph, whether it is for images or for masks. */
const STEPS: Readonly<
  Record<Step['op'], { readonly needs: readonly string[]; readonly in: 'pre' | 'post'; readonly of?: 'image' | 'mask' }>
> = {
  rescaleHU: { needs: [], in: 'pre' },
  rescale: { needs: [], in: 'pre' },
  orient: { needs: ['axes'], in: 'pre' },
  resample: { needs: ['spacingMm'], in: 'pre' },
  display: { needs: [], in: 'pre' },
  stand: { needs: [], in: 'pre' },
  phaseDown: { needs: [], in: 'pre' },
  fit: { needs: ['pixels'], in: 'pre' },
  window: { needs: ['range'], in: 'pre' },
  linear: { needs: ['from', 'to'], in: 'pre' },
  normalise: { needs: ['low', 'high'], in: 'pre' },
  log: { needs: ['offset'], in: 'pre' },
  asMeasured: { needs: ['dropDb'], in: 'pre' },
  rician: { needs: [], in: 'pre' },
  tile: { needs: ['size', 'overlap'], in: 'pre' },
  invert: { needs: [], in: 'post', of: 'image' },
  blend: { needs: ['alpha'], in: 'post', of: 'image' },
  clampToStored: { needs: [], in: 'post', of: 'image' },
  tissue: { needs: [], in: 'post', of: 'image' },
  softmax: { needs: [], in: 'post', of: 'mask' },
  sigmoid: { needs: [], in: 'post', of: 'mask' },
  argmax: { needs: [], in: 'post', of: 'mask' },
  threshold: { needs: ['at'], in: 'post', of: 'mask' },
  largest: { needs: ['parts'], in: 'post', of: 'mask' },
  fillHoles: { needs: [], in: 'post', of: 'mask' },
};

/** The models with a manifest in these folders, by id. @throws Refusal BadConfiguration for a faulty one and for an id that is there twice */
export function loadManifests(folders: readonly string[]): Map<string, ManifestModel> {
  const found = new Map<string, ManifestModel>();
  for (const folder of folders) {
    if (!existsSync(folder)) continue;
    for (const entry of readdirSync(folder).sort()) {
      if (!isManifest(join(folder, entry))) continue;
      const model = loadManifest(join(folder, entry));
      if (found.has(model.card.id)) refuseModel(model.folder, `a model ${model.card.id} is there already`);
      found.set(model.card.id, model);
    }
  }
  return found;
}

/** Reads and checks one model folder. @throws Refusal BadConfiguration */
export function loadManifest(folder: string): ManifestModel {
  const card = readYamlFile(join(folder, 'card.yaml'), 'model-manifest') as ManifestCard;
  const refuse = (sentence: string): never => refuseModel(folder, sentence);
  const made = card.emit.kind === 'segmentation' ? 'mask' : 'image';
  if (card.id !== basename(folder)) refuse(`id is ${card.id}; the folder's name is expected`);
  checkGraph(folder, card);
  for (const [where, steps] of [
    ['pre', card.pre ?? []],
    ['post', card.post ?? []],
  ] as const)
    steps.forEach((step, index) => {
      const name = `${where}[${index}] ${step.op}`;
      checkStep(step, where, name, refuse);
      const { of = made } = STEPS[step.op];
      if (of !== made) refuse(`${name} is for ${of}s; this model makes ${made}s`);
    });
  checkEmit(card, made, refuse);
  for (const keyword of Object.keys(card.applies.attributes ?? {}))
    if (!isKeyword(keyword)) refuse(`applies.attributes: ${keyword} is no keyword of PS3.6`);
  const tile = card.pre?.findIndex(({ op }) => op === 'tile') ?? -1;
  if (tile >= 0 && tile !== (card.pre?.length ?? 0) - 1) refuse('tile must be the last step of pre');
  const figures = figureNames(card);
  for (const [name, gate] of Object.entries(card.gates ?? {})) {
    if (!figures.includes(name)) refuse(`gate ${name} is no figure (there are: ${figures.join(', ')})`);
    const inOrder = gate.max === undefined ? gate.hard <= (gate.min ?? gate.hard) : gate.hard >= gate.max;
    if (!inOrder) refuse(`gate ${name}: hard is stricter than ${gate.max === undefined ? 'min' : 'max'}`);
  }
  return { folder, card };
}

/** What task, output, steps and segments say must go together. */
function checkEmit(
  { task, program, io, post = [], emit }: ManifestCard,
  made: 'image' | 'mask',
  refuse: (sentence: string) => never,
): void {
  if ((task === 'segment') !== (made === 'mask')) refuse(`task ${task} does not go with emit.kind ${emit.kind}`);
  const [output, ...others] = io.outputs;
  if (output?.role !== made) refuse(`the output's role is ${output?.role}; emit.kind ${emit.kind} needs ${made}`);
  const second = others.find(({ role }) => role !== 'figure');
  if (second !== undefined)
    refuse(`the output ${second.name} is one more ${second.role}; after the first only figures`);
  if (emit.kind !== 'segmentation') return;
  if ((program ?? 'graph') !== 'graph') refuse(`the program ${program} makes no masks`);
  const order = post.map(({ op }) => op);
  const decided = order.filter((op) => op === 'argmax' || op === 'threshold');
  if (decided.length !== 1) refuse(`post has ${decided.length} of argmax and threshold; one is needed`);
  const activated = order.filter((op) => op === 'softmax' || op === 'sigmoid');
  if (activated.length > 1 || (activated.length === 1 && order[0] !== activated[0]))
    refuse('softmax or sigmoid is the first step of post, and the only one of them');
  if (order.indexOf(decided[0]!) > activated.length) refuse(`${decided[0]} must come before what tidies masks`);
  for (const key of ['name', 'channel', 'label'] as const)
    if (new Set(emit.segments.map((segment) => segment[key])).size !== emit.segments.length)
      refuse(`two segments have one ${key}`);
  for (const { name, region, regionModifier } of emit.segments)
    if (regionModifier !== undefined && region === undefined) refuse(`segment ${name}: regionModifier needs region`);
}

/** Of the source, whatever is made of it. */
const SOURCE_FIGURES = {
  /** How many times smaller it was made with loss; a card without this gate takes nothing that was. */
  lossyRatio: 'lower',
} as const;

/** The figures that a gate of this card may name. */
function figureNames({ emit, program, io }: ManifestCard): string[] {
  const own = outputFigures(io.outputs);
  if (emit.kind === 'derived-image')
    return [
      ...own,
      ...Object.keys(FIGURES),
      ...Object.keys(SOURCE_FIGURES),
      ...(program === 'bias-field' ? Object.keys(BIAS_FIGURES) : []),
    ];
  return [
    ...own,
    ...Object.keys(MASK_FIGURES),
    ...Object.keys(SOURCE_FIGURES),
    ...emit.segments.flatMap(({ name }) => Object.keys(SEGMENT_FIGURES).map((figure) => name + figure)),
  ];
}

/** Names of the figures that the graph itself gives. */
export function outputFigures(outputs: readonly ManifestOutput[]): string[] {
  return outputs.filter(({ role }) => role === 'figure').map(({ name }) => name);
}

function checkGraph(folder: string, card: ManifestCard): void {
  if (card.program === 'exposure') {
    if (card.file !== undefined) refuseModel(folder, 'the program exposure has no graph; file is not expected');
    return;
  }
  const { file, sha256, opset, selfTest, io } = card;
  if (file === undefined || sha256 === undefined || opset === undefined || selfTest === undefined)
    return refuseModel(folder, 'a graph needs file, sha256, opset and selfTest');
  checkFile(folder, readInside(folder, join(folder, file)), { name: file, sha256, opset });
  const names = (io.inputs ?? []).map(({ name }) => name);
  if (new Set(names).size !== names.length) refuseModel(folder, 'two inputs have one name');
  if (card.program === 'bias-field') return;
  const images = (io.inputs ?? []).filter(({ role }) => role === 'image');
  if (images.length !== 1) refuseModel(folder, `io.inputs has ${images.length} of the role image; one is needed`);
  const layout = images[0]?.layout;
  const expected = io.dims === '2d-slice' ? 'NCHW' : 'NCDHW';
  if (layout !== undefined && layout !== expected) refuseModel(folder, `layout ${layout} does not go with ${io.dims}`);
}

function checkStep(step: Step, where: 'pre' | 'post', name: string, refuse: (sentence: string) => never): void {
  const { needs, in: place } = STEPS[step.op];
  if (place !== where) refuse(`${name} belongs to ${place}`);
  const has = Object.keys(step).filter((key) => key !== 'op');
  const lacking = needs.filter((key) => !has.includes(key));
  const foreign = has.filter((key) => !needs.includes(key));
  if (lacking.length > 0) refuse(`${name} needs ${lacking.join(', ')}`);
  if (foreign.length > 0) refuse(`${name} has no ${foreign.join(', ')}`);
  if (step.op === 'window' && !(step.range[0] < step.range[1])) refuse(`${name}: range must rise`);
  if (step.op === 'linear' && (step.from[0] === step.from[1] || step.to[0] === step.to[1]))
    refuse(`${name}: from and to must each be two different numbers`);
  if (step.op === 'normalise' && !(step.low < step.high)) refuse(`${name}: low must be below high`);
  if (step.op === 'tile' && !(step.overlap < step.size)) refuse(`${name}: overlap must be smaller than size`);
}

/** What a rule may set for a model: the share of its correction, where the card blends. */
export function blendOf(card: ManifestCard): number | undefined {
  const step = card.post?.find((one) => one.op === 'blend');
  return step?.op === 'blend' ? step.alpha : undefined;
}
