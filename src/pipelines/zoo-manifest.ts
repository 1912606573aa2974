/**
 * A model that runs by its manifest alone: card.yaml with `io`, in a folder of the models folder or of the site's own. Everything
 * that can be checked without opening the graph is checked here.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isManifest, readYamlFile } from '../config.ts';
import type { FamiliarityFile } from './familiarity.ts';
import type { Gate } from './gates.ts';
import { readInside, refuseModel } from './manifest.ts';
import { FIGURES, type FigureName } from './zoo-figures.ts';

export interface Code {
  readonly code: string;
  readonly scheme: string;
  readonly meaning: string;
}

export type Pair = readonly [number, number];

export type Step =
  | { readonly op: 'rescaleHU' | 'rescale' | 'invert' | 'clampToStored' | 'rician' }
  | { readonly op: 'orient'; readonly axes: string }
  | { readonly op: 'resample'; readonly spacingMm: number | readonly [number, number, number] }
  | { readonly op: 'window'; readonly range: Pair }
  | { readonly op: 'linear'; readonly from: Pair; readonly to: Pair }
  | { readonly op: 'normalise'; readonly low: number; readonly high: number }
  | { readonly op: 'log'; readonly offset: number }
  | { readonly op: 'tile'; readonly size: number; readonly overlap: number }
  | { readonly op: 'blend'; readonly alpha: number };

export interface ManifestInput {
  readonly name: string;
  readonly role: 'image' | 'noiseSigma' | 'spacingMm';
  readonly layout?: 'NCHW' | 'NCDHW';
  readonly shape?: readonly number[];
  readonly multipleOf?: number;
  readonly pad?: 'edge' | 'zero' | 'reflect';
}

/** card.yaml; the meaning of every key stands in config/schema/model-manifest.schema.json. */
export interface ManifestCard {
  readonly id: string;
  readonly version: string;
  readonly task: 'denoise' | 'correct' | 'enhance';
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
  };
  readonly io: {
    readonly dims: '2d-slice' | '3d-volume';
    readonly inputs?: readonly ManifestInput[];
    readonly outputs: readonly { readonly name: string; readonly role: 'image' }[];
  };
  readonly pre?: readonly Step[];
  readonly post?: readonly Step[];
  readonly settings?: Readonly<Record<string, number | string | boolean>>;
  readonly runtime: {
    readonly timeoutMs: number;
    readonly maxMemoryMB: number;
    readonly threads?: number;
    readonly bytesPerVoxel?: number;
    readonly arena?: boolean;
  };
  readonly gates?: Readonly<Partial<Record<FigureName, Gate>>>;
  readonly familiar?: FamiliarityFile;
  readonly emit: {
    readonly imageType: readonly string[];
    readonly seriesSuffix: string;
    readonly algorithm: { readonly name: string; readonly family: Code };
    readonly derivation?: Code;
  };
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

/** What each step needs, where it may stand, and whether it changes values, the grid, or neither. */
const STEPS: Readonly<Record<Step['op'], { readonly needs: readonly string[]; readonly in: 'pre' | 'post' }>> = {
  rescaleHU: { needs: [], in: 'pre' },
  rescale: { needs: [], in: 'pre' },
  orient: { needs: ['axes'], in: 'pre' },
  resample: { needs: ['spacingMm'], in: 'pre' },
  window: { needs: ['range'], in: 'pre' },
  linear: { needs: ['from', 'to'], in: 'pre' },
  normalise: { needs: ['low', 'high'], in: 'pre' },
  log: { needs: ['offset'], in: 'pre' },
  rician: { needs: [], in: 'pre' },
  tile: { needs: ['size', 'overlap'], in: 'pre' },
  invert: { needs: [], in: 'post' },
  blend: { needs: ['alpha'], in: 'post' },
  clampToStored: { needs: [], in: 'post' },
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
  if (card.id !== basename(folder)) refuse(`id is ${card.id}; the folder's name is expected`);
  checkGraph(folder, card);
  for (const [where, steps] of [
    ['pre', card.pre ?? []],
    ['post', card.post ?? []],
  ] as const)
    steps.forEach((step, index) => checkStep(step, where, `${where}[${index}] ${step.op}`, refuse));
  const tile = card.pre?.findIndex(({ op }) => op === 'tile') ?? -1;
  if (tile >= 0 && tile !== (card.pre?.length ?? 0) - 1) refuse('tile must be the last step of pre');
  for (const [name, gate] of Object.entries(card.gates ?? {})) {
    if (!(name in FIGURES)) refuse(`gate ${name} is no figure (there are: ${Object.keys(FIGURES).join(', ')})`);
    const inOrder = gate.max === undefined ? gate.hard <= (gate.min ?? gate.hard) : gate.hard >= gate.max;
    if (!inOrder) refuse(`gate ${name}: hard is stricter than ${gate.max === undefined ? 'min' : 'max'}`);
  }
  return { folder, card };
}

function checkGraph(folder: string, card: ManifestCard): void {
  if (card.program === 'exposure') {
    if (card.file !== undefined) refuseModel(folder, 'the program exposure has no graph; file is not expected');
    return;
  }
  const { file, sha256, opset, selfTest, io } = card;
  if (file === undefined || sha256 === undefined || opset === undefined || selfTest === undefined)
    return refuseModel(folder, 'a graph needs file, sha256, opset and selfTest');
  const found = createHash('sha256')
    .update(readInside(folder, join(folder, file)))
    .digest('hex');
  if (found !== sha256) refuseModel(folder, `${file} has sha256 ${found}; the card says ${sha256}`);
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
