/** What an opened archive consists of. */
import type { FileHandle } from 'node:fs/promises';
import type { Database } from '../database.ts';
import type { AlikeTexts, Described } from './described.ts';
import type { PackFiles } from './pack-files.ts';

/** What happens to other bytes under a SOP Instance UID that is already there. */
export type DuplicatePolicy = 'reject' | 'overwrite' | 'keep-first';

export interface ArchiveOptions {
  readonly duplicates: DuplicatePolicy;
  /** A pack that has grown beyond this is not appended to any more. Default 1 GiB. */
  readonly packBytes?: number;
  /** Refuse to store (DiskFull) when less than this is free on the disk. Default 1 GiB. */
  readonly reserveBytes?: number;
  readonly now?: () => Date;
}

export interface Archive {
  readonly database: Database;
  readonly folder: string;
  readonly options: Required<ArchiveOptions>;
  readonly packs: PackFiles;
  readonly intake: Intake;
}

export interface StoreResult {
  /** `gone`: what it was to stand in the place of is not there any more, or has been replaced. */
  readonly outcome: 'stored' | 'already-there' | 'replaced' | 'gone';
  readonly studyKey: number;
}

/** What an object was made of, as far as an archive may know: the same source has the same digest, and nothing else can be told from it. */
export interface Source {
  /** Keyed; 32 hexadecimal digits. */
  readonly digest: string;
  /** False: of all but the pixel data, which was stored as it came. */
  readonly coversPixels: boolean;
}

/** An object whose bytes are all here, in memory or in a file of their own. */
export interface Arrival {
  readonly described: Described;
  readonly headBytes: number;
  readonly lengthBytes: number;
  readonly crc: number;
  readonly derived: boolean;
  readonly source: Source | undefined;
  /** Wanted only in the place of this version of the instance. */
  readonly inPlaceOf: number | undefined;
  readonly alongside: (() => void) | undefined;
  readonly content: { readonly kind: 'memory'; readonly chunks: readonly Buffer[] } | Spooled;
}

/** Streamed to a file that becomes a pack, once it is known whether it is wanted: room for the headers, then the bytes. */
export interface Spooled {
  readonly kind: 'file';
  readonly path: string;
  readonly handle: FileHandle;
}

export interface Intake {
  readonly waiting: Waiting[];
  /** Those who wait for memory to become free. */
  readonly queue: (() => void)[];
  heldBytes: number;
  /** Of the last series. */
  readonly alike: AlikeTexts;
  sequence: number;
  /** Up to which entry the change feed is known to be on the disk. */
  durableChange: number;
  spools: number;
  running: Promise<void> | undefined;
  /** Set when the disk did not take what was written: nothing is stored any more until the archive is opened anew. */
  failure: unknown;
  /** Free bytes at the last look, and how many may still be written before the next. */
  freeBytes: number;
  /** In milliseconds of the process. */
  lookedAt: number;
  untilLookBytes: number;
}

export interface Waiting {
  readonly arrival: Arrival;
  readonly resolve: (result: StoreResult) => void;
  readonly reject: (error: unknown) => void;
}
