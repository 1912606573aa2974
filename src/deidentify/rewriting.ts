/** One object on its way through: what every step of rewriting is handed, and what it counts and tells. */
import type { CharacterSet } from '../dicom/character-set.ts';
import type { DataElement, DataSet } from '../dicom/data-set.ts';
import type { Sink } from '../dicom/writer.ts';
import type { Cleaner } from './free-text.ts';
import type { Override } from './overrides.ts';
import type { Vetoes } from './private-list.ts';
import type { CompiledProfile } from './profile.ts';
import type { Domain } from './wall.ts';

/** How many attributes met which fate; never a value. */
export interface Counts {
  kept: number;
  removed: number;
  emptied: number;
  dummies: number;
  uidsMapped: number;
  datesChanged: number;
  /** Text of which something was taken, or that was looked at and stayed as it is. */
  cleaned: number;
  privateKept: number;
  privateRemoved: number;
  /** Neither in Table E.1-1 nor known to be harmless. */
  unknownRemoved: number;
  /** Values that were not what their VR says. */
  invalidRemoved: number;
}

export function noCounts(): Counts {
  return {
    kept: 0,
    removed: 0,
    emptied: 0,
    dummies: 0,
    uidsMapped: 0,
    datesChanged: 0,
    cleaned: 0,
    privateKept: 0,
    privateRemoved: 0,
    unknownRemoved: 0,
    invalidRemoved: 0,
  };
}

/** One object on its way through. */
export interface Rewriting {
  readonly sink: Sink;
  readonly profile: CompiledProfile;
  readonly domain: Domain;
  readonly sopClassUID: string;
  readonly patient: string;
  /** As it stands in the object's Patient ID. */
  readonly originalPatientId: string;
  readonly offsetDays: number;
  /** What replaces Patient's Birth Date where the profile keeps a year of it. */
  readonly birthYear: string | undefined;
  /** Words of this object's names and ids, upper case, that no kept text may hold. */
  readonly identifyingWords: ReadonlySet<string>;
  /** Made when the first text is cleaned. */
  readonly cleaner: () => Cleaner;
  /** The object's top level: what conditions of overrides ask. */
  readonly root: DataSet;
  readonly conditions: Map<Override, boolean>;
  /** What the object says of its own private blocks. */
  vetoes: Vetoes | undefined;
  /** Told of every attribute, for a dry run. */
  readonly trace: Trace | undefined;
  /** What is written into the items of a sequence; of nothing where it is not given. */
  readonly itemInserts?: ((sequence: number, item: DataSet) => readonly Insert[]) | undefined;
  readonly encapsulated: boolean;
  readonly pixelRepresentation: number | undefined;
  readonly bitsAllocated: number | undefined;
  readonly counts: Counts;
  /** Pseudonym -> original, of every UID mapped. */
  readonly uids: Map<string, string>;
}

/** One attribute before and after. */
export interface Traced {
  readonly path: readonly number[];
  /** undefined: written where the input had none. */
  readonly before: { readonly dataSet: DataSet; readonly set: CharacterSet; readonly element: DataElement } | undefined;
  /** The element as written, header and all; empty: removed. Only until the next call. */
  readonly after: Buffer;
  readonly rule: string;
}

export type Trace = (traced: Traced) => void;

/** Elements that replace or join those of the data set, ascending by tag. */
export type Insert = readonly [tag: number, write: (sink: Sink) => void];

export const NO_INSERTS: readonly Insert[] = [];

/** Where an element stands. */
export interface Place {
  readonly dataSet: DataSet;
  /** In force here. */
  readonly set: CharacterSet;
  /** Tags of the sequences around it, outermost first. */
  readonly path: number[];
}

export const EMPTY = Buffer.alloc(0);
