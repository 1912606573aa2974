/** A model's folder: its card checked against the schema, its files against the card. */
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readYamlFile } from '../config/yaml-file.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { FamiliarityFile } from './familiarity.ts';
import type { Gate } from './gates.ts';
import { opsetOf } from './opset.ts';

export interface CardTensor {
  readonly name: string;
  readonly dims: readonly (number | string)[];
  readonly multipleOf?: number;
}

export interface CardGraph {
  readonly file: string;
  readonly sha256: string;
  readonly opset: number;
  readonly inputs: readonly CardTensor[];
  readonly outputs: readonly CardTensor[];
}

/** card.yaml; the meaning of every key stands in config/schema/model-card.schema.json. */
export interface ModelCard {
  readonly id: string;
  readonly version: string;
  readonly task: 'register' | 'denoise' | 'segment' | 'detect';
  readonly graphs: Readonly<Record<string, CardGraph>>;
  readonly applies: {
    readonly modalities: readonly string[];
    readonly minSlices?: number;
    readonly spacingMm?: { readonly xy?: readonly [number, number]; readonly z?: readonly [number, number] };
  };
  readonly settings?: Readonly<Record<string, number | string | boolean>>;
  readonly selfTest?: SelfTest;
  readonly runtime: {
    readonly timeoutMs: number;
    readonly timeoutMsPerSlice?: number;
    readonly maxMemoryMb: number;
    readonly arena: boolean;
  };
  readonly gates: Readonly<Record<string, Gate>>;
  readonly familiar?: FamiliarityFile;
  readonly emit: {
    readonly algorithmName: string;
    readonly family: { readonly code: string; readonly scheme: string; readonly meaning: string };
    readonly imageType: readonly string[];
    readonly seriesSuffix: string;
  };
}

/** Raw little-endian float32: the inputs of one graph in the order of the card, and what its first output must be. */
export interface SelfTest {
  readonly graph: string;
  readonly input: string;
  readonly output: string;
  readonly inputDims: readonly (readonly number[])[];
  /** Largest absolute difference allowed. */
  readonly tolerance: number;
}

export interface Model {
  readonly folder: string;
  readonly card: ModelCard;
}

/** Reads and checks one model folder. @throws Refusal BadConfiguration */
export function loadModel(folder: string): Model {
  const card = readYamlFile(join(folder, 'card.yaml'), 'model-card') as ModelCard;
  if (card.id !== basename(folder)) refuseModel(folder, `id is ${card.id}; the folder's name is expected`);
  for (const [name, graph] of Object.entries(card.graphs)) {
    const file = join(folder, graph.file);
    checkFile(folder, readInside(folder, file), { name: `graph ${name}: ${graph.file}`, ...graph });
  }
  for (const [name, gate] of Object.entries(card.gates)) {
    const inOrder = gate.max === undefined ? gate.hard <= (gate.min ?? gate.hard) : gate.hard >= gate.max;
    if (!inOrder) refuseModel(folder, `gate ${name}: hard is stricter than ${gate.max === undefined ? 'min' : 'max'}`);
  }
  return { folder, card };
}

/** @throws Refusal BadConfiguration when the bytes are not those of the card, or written in other operators */
export function checkFile(
  folder: string,
  bytes: Buffer,
  { name, sha256, opset }: { readonly name: string; readonly sha256: string; readonly opset: number },
): void {
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== sha256) refuseModel(folder, `${name} has sha256 ${found}; the card says ${sha256}`);
  const written = opsetOf(bytes);
  if (written !== opset)
    refuseModel(folder, `${name} is written in opset ${written ?? 'unknown'}; the card says ${opset}`);
}

/** The bytes of a file of the model, if it lies in the model's folder and not behind a link that leads out of it. */
export function readInside(folder: string, file: string): Buffer {
  try {
    if (dirname(realpathSync(file)) !== realpathSync(folder))
      refuseModel(folder, `${basename(file)} lies outside the folder`);
    return readFileSync(file);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return refuseModel(folder, `${basename(file)} cannot be read`);
  }
}

/** @throws Refusal BadConfiguration, always */
export function refuseModel(folder: string, sentence: string): never {
  throw new Refusal('BadConfiguration', `${basename(folder)}/card.yaml: ${sentence}`);
}
