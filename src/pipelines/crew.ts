/**
 * Threads that do one piece of work together, on memory that all of them see. The work is cut into parts, whoever is free takes the next: what
 * a kernel writes for a slice does not depend on where the work is cut, so any number of threads gives the same bytes. A thread that is late,
 * or never starts, is waited for only in a part that it took.
 */
import { Worker } from 'node:worker_threads';
import type { Slices } from './box-mean.ts';
import { KERNELS, type KernelName, type Level } from './deformation-kernels.ts';

export interface Crew {
  /** What the kernels work on from now on. */
  begin(level: Level): void;
  /** Runs a kernel over `count` slices; all are done when it returns. */
  run(kernel: KernelName, count: number): void;
  release(): Promise<void>;
}

/** Turn in the upper bits and next part in the lowest eight; parts that are done; kernel and slices of the turn; number of the level; a thread failed. */
export type Board = Int32Array<SharedArrayBuffer>;
const [TICKET, DONE, KERNEL, COUNT, LEVEL, FAILED, FIELDS] = [0, 1, 2, 3, 4, 5, 6];

const PART_BITS = 8;
/** The more, the less a busy core holds up the others. */
const PARTS = 16;
const NAMES = Object.keys(KERNELS) as KernelName[];
/** Parts take milliseconds. After a machine slept, the first wait ends too early. */
const PATIENCE = { ms: 60_000, times: 3 };

export function crewOf(threads: number): Crew {
  const board: Board = new Int32Array(new SharedArrayBuffer(FIELDS * Int32Array.BYTES_PER_ELEMENT));
  Atomics.store(board, TICKET, PARTS);
  const helpers = Array.from({ length: threads - 1 }, () => helperOf(board));
  let [turn, current]: [number, Level | undefined] = [0, undefined];
  return {
    begin: (level) => {
      current = level;
      for (const helper of helpers) helper.postMessage(level);
      board[LEVEL]! += 1;
    },
    run: (kernel, count) => {
      const level = current;
      if (level === undefined) throw new Error('there is no level to work on');
      if (helpers.length === 0) {
        KERNELS[kernel](level, [0, count]);
        return;
      }
      board[KERNEL] = NAMES.indexOf(kernel);
      board[COUNT] = count;
      Atomics.store(board, DONE, 0);
      turn += 1;
      Atomics.store(board, TICKET, turn << PART_BITS);
      Atomics.notify(board, TICKET);
      takeParts(board, () => level);
      awaitOthers(board);
    },
    release: async () => {
      await Promise.all(helpers.map((helper) => helper.terminate()));
    },
  };
}

function helperOf(board: Board): Worker {
  const helper = new Worker(new URL('./crew-thread.ts', import.meta.url), { workerData: board, name: 'registration' });
  // Without it the work is done by the others.
  helper.on('error', () => undefined);
  helper.unref();
  return helper;
}

/** Takes parts of the present turn until none is left; `levelOf` finds the level of a number. */
function takeParts(board: Board, levelOf: (number: number) => Level): void {
  for (;;) {
    const ticket = Atomics.load(board, TICKET);
    const part = ticket & ((1 << PART_BITS) - 1);
    if (part >= PARTS) return;
    if (Atomics.compareExchange(board, TICKET, ticket, ticket + 1) !== ticket) continue;
    // The turn cannot end before this part is done, so kernel, count and level stay.
    const count = board[COUNT]!;
    const slices: Slices = [Math.floor((part * count) / PARTS), Math.floor(((part + 1) * count) / PARTS)];
    try {
      if (slices[1] > slices[0]) KERNELS[NAMES[board[KERNEL]!]!](levelOf(board[LEVEL]!), slices);
    } catch (error) {
      Atomics.store(board, FAILED, 1);
      throw error;
    } finally {
      Atomics.add(board, DONE, 1);
      Atomics.notify(board, DONE);
    }
  }
}

/** @throws Error when another thread failed, or does not come to its end */
function awaitOthers(board: Board): void {
  for (let waited = 0; Atomics.load(board, DONE) < PARTS;) {
    const done = Atomics.load(board, DONE);
    if (done < PARTS && Atomics.wait(board, DONE, done, PATIENCE.ms) === 'timed-out') waited += 1;
    if (waited >= PATIENCE.times) throw new Error('a thread of the registration does not come to its end');
  }
  if (Atomics.load(board, FAILED) === 1) throw new Error('a thread of the registration failed');
}

/** The life of a helper: parts of every turn, until it is ended. */
export function help(board: Board, nextLevel: () => Level | undefined): never {
  let [known, level]: [number, Level | undefined] = [0, undefined];
  const levelOf = (number: number): Level => {
    for (; known < number; known++) level = nextLevel();
    if (level === undefined) throw new Error('a level did not arrive');
    return level;
  };
  for (;;) {
    takeParts(board, levelOf);
    const ticket = Atomics.load(board, TICKET);
    if ((ticket & ((1 << PART_BITS) - 1)) >= PARTS) Atomics.wait(board, TICKET, ticket);
  }
}
