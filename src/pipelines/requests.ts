/** What may be asked of a pipeline worker, what it answers, and the messages between the threads. */
import type { Brake } from './brake.ts';
import type { RefusalReason } from '../dicom/refusal.ts';
import type { Finding } from './gates.ts';
import type { DenoiseInput, DenoiseResult } from './correction.ts';
import type { RegistrationResult } from './registration.ts';
import type { RegistrationPair } from './registration-settings.ts';
import type { Provider } from './session.ts';
import type { TextRequest, TextResult } from './text-detection.ts';
import type { ZooInput, ZooResult } from './zoo.ts';
import type { MaskResult } from './zoo-masks.ts';

export interface Requests {
  /** Deformable; rigid and affine are `align`. */
  readonly register: RegistrationPair;
  readonly align: RegistrationPair;
  readonly denoise: DenoiseInput;
  readonly text: TextRequest;
  /** Any model with a manifest. */
  readonly zoo: ZooInput;
  /** A model with a manifest that makes masks. */
  readonly masks: ZooInput;
  /** Opens a model with a manifest and runs one piece; nothing of a patient. */
  readonly probe: { readonly probe: true };
  /** What onnxruntime offers on this machine. */
  readonly provider: { readonly ask: true };
}

/** What one piece of the largest size took of memory; undefined where the kernel does not tell. */
export interface Probe {
  readonly tookMb: number | undefined;
  readonly bytesPerVoxel: number | undefined;
}

export interface Results {
  readonly register: RegistrationResult;
  readonly align: RegistrationResult;
  readonly denoise: DenoiseResult;
  readonly text: TextResult;
  readonly zoo: ZooResult;
  readonly masks: MaskResult;
  readonly probe: Probe;
  readonly provider: { readonly offered: readonly string[] };
}

export type PipelineName = keyof Requests;

/** The folders of the models that have a program of their own. */
export const MODEL_OF = {
  register: 'register',
  align: 'reg-rigid',
  denoise: 'ct-denoise',
  text: 'text-detect',
} as const;

export type BuiltIn = keyof typeof MODEL_OF;

/** Main thread -> worker. */
export interface JobMessage {
  readonly job: number;
  readonly pipeline: PipelineName;
  /** The model's folder. */
  readonly folder: string;
  readonly request: Requests[PipelineName];
}

/** Worker -> main thread. */
export type WorkerMessage =
  | { readonly job: number; readonly kind: 'progress'; readonly step: string; readonly share: number }
  | { readonly job: number; readonly kind: 'result'; readonly result: Results[PipelineName] }
  | {
      readonly job: number;
      readonly kind: 'refusal';
      readonly reason: RefusalReason;
      readonly sentence: string;
      /** Of the gates, when it was they that refused. */
      readonly findings?: readonly Finding[];
    }
  | { readonly job: number; readonly kind: 'fault'; readonly message: string; readonly stack: string };

export interface WorkerSettings {
  readonly threads: number;
  /** Of a thread; a process is ended without one. */
  readonly brake: Brake | undefined;
  readonly provider?: Provider | undefined;
}

/** The buffers behind all arrays of a message, each once: they move to the other thread and leave this one. */
export function buffersOf(value: unknown, found: Set<ArrayBuffer> = new Set()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) found.add(value.buffer);
  } else if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) buffersOf(part, found);
  }
  return found;
}
