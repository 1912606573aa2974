/**
 * Group commit: what arrives while a group is being written makes the next one. A group costs one fdatasync for each pack it touches
 * and one of the index, side by side; only then do its senders hear that it is stored. A pack's row is committed before its file is made,
 * so that whatever file nobody knows is no leftover of a crash.
 */
import type { Database } from '../database.ts';
import { lastChange, recordChange } from './changes.ts';
import { decide, type Planned } from './duplicates.ts';
import type { Archive, Arrival, Intake, StoreResult, Waiting } from './handle.ts';
import { enterInstances, removeInstance } from './index-rows.ts';
import { closeIdleGrowing } from './pack-files.ts';
import { orFail, place, syncPacks, undo, writePacks, type Pack, type Placed } from './pack-writing.ts';
import { outOfSpace, refuseAfterFailure } from './room.ts';

export const MOST_GROUP_BYTES = 96 * 2 ** 20;

const MOST_GROUP_INSTANCES = 512;

export function openIntake(database: Database): Intake {
  // A number is never given twice: the newest instance may have been deleted since.
  const last = Number(
    database.get(
      `SELECT max(sequence, (SELECT ifnull(max(sequence), 0) FROM instance), (SELECT sequence FROM high_water)) AS last
       FROM durable`,
    )?.['last'] ?? 0,
  );
  return {
    waiting: [],
    queue: [],
    heldBytes: 0,
    alike: new Map(),
    sequence: last,
    durableChange: lastChange(database),
    spools: 0,
    running: undefined,
    failure: undefined,
    freeBytes: 0,
    untilLookBytes: 0,
    lookedAt: -Infinity,
  };
}

/** Resolves when the arrival is durable. */
export async function commit(archive: Archive, arrival: Arrival): Promise<StoreResult> {
  const { intake } = archive;
  refuseAfterFailure(intake);
  return new Promise((resolve, reject) => {
    intake.waiting.push({ arrival, resolve, reject });
    intake.running ??= run(archive);
  });
}

/** Runs something that changes packs while no group is being written. */
export async function betweenGroups<T>(archive: Archive, work: () => Promise<T>): Promise<T> {
  const { intake } = archive;
  while (intake.running !== undefined) await intake.running;
  const result = work();
  intake.running = result.then(
    () => run(archive),
    () => run(archive),
  );
  return result;
}

export async function settled(intake: Intake): Promise<void> {
  while (intake.running !== undefined) await intake.running;
}

async function run(archive: Archive): Promise<void> {
  const { intake } = archive;
  // What is ready in the same turn of the loop belongs to one group.
  await new Promise<void>((resolve) => setImmediate(resolve));
  while (intake.waiting.length > 0) {
    const group = nextGroup(intake.waiting);
    try {
      await commitGroup(archive, group);
    } catch (error) {
      for (const { reject } of group) reject(outOfSpace(error));
    }
  }
  // In the same turn as the last look: who comes next finds nobody running.
  intake.running = undefined;
}

/** In order of arrival; a SOP Instance UID comes once in a group. */
function nextGroup(waiting: Waiting[]): Waiting[] {
  const group: Waiting[] = [];
  const later: Waiting[] = [];
  const seen = new Set<string>();
  let bytes = 0;
  for (const one of waiting.splice(0)) {
    const uid = one.arrival.described.sopInstanceUID;
    const inMemory = one.arrival.content.kind === 'memory' ? one.arrival.lengthBytes : 0;
    const full = group.length >= MOST_GROUP_INSTANCES || (group.length > 0 && bytes + inMemory > MOST_GROUP_BYTES / 2);
    if (full || seen.has(uid)) later.push(one);
    else {
      group.push(one);
      bytes += inMemory;
    }
    seen.add(uid);
  }
  waiting.push(...later);
  return group;
}

async function commitGroup(archive: Archive, group: readonly Waiting[]): Promise<void> {
  let planned: Planned[] = [];
  for (const one of group) {
    const plan = await decide(archive, one).catch((error: unknown) => one.reject(error));
    if (plan !== undefined) planned.push(plan);
  }
  // One that cannot be indexed takes nobody with it: the rest is written again as if it had never come.
  while (planned.length > 0) {
    const storedAt = archive.options.now();
    const placed = await place(archive, planned, storedAt);
    const packs = [...new Set(placed.map(({ pack }) => pack))];
    // Who replaces somebody must be safe before the other leaves the index.
    const inOrder = planned.some(({ replaces }) => replaces !== undefined);
    let keys: number[];
    let change: number;
    try {
      await writePacks(archive, packs, placed);
      if (inOrder) await syncPacks(archive, packs);
      ({ keys, change } = index(archive, placed, packs, storedAt));
    } catch (error) {
      await undo(archive, packs);
      if (!(error instanceof Unindexed)) throw error;
      error.planned.reject(error.cause);
      planned = planned.filter((one) => one !== error.planned);
      continue;
    }
    // Otherwise bytes and rows reach the disk side by side; `openArchive` mends what a power cut leaves of that.
    await orFail(
      archive,
      Promise.all([inOrder ? undefined : syncPacks(archive, packs), archive.database.synchronise()]),
    );
    archive.intake.durableChange = change;
    await closeIdleGrowing(archive.packs);
    placed.forEach(({ planned: { resolve, replaces } }, at) =>
      resolve({ outcome: replaces === undefined ? 'stored' : 'replaced', studyKey: keys[at] ?? 0 }),
    );
    return;
  }
}

/** An arrival whose rows could not be written; the transaction has been rolled back. */
class Unindexed extends Error {
  readonly planned: Planned;
  constructor(planned: Planned, cause: unknown) {
    super('an arrival could not be indexed', { cause });
    this.planned = planned;
  }
}

interface Indexed {
  /** Of the studies, one for each arrival. */
  readonly keys: number[];
  /** The newest entry of the change feed. */
  readonly change: number;
}

function index(archive: Archive, placed: readonly Placed[], packs: readonly Pack[], at: Date): Indexed {
  const { database } = archive;
  const storedAt = Math.floor(at.getTime() / 1000);
  return database.transactionUnsynced(() => {
    // All groups before this one have been synchronised.
    database.run('UPDATE durable SET sequence = max(sequence, ?)', (placed[0]?.sequence ?? 1) - 1);
    for (const pack of packs) database.run('UPDATE pack SET length = ? WHERE id = ?', pack.end, pack.id);
    const entering = enterInstances(database);
    const keys = placed.map(({ planned, sequence, pack, offset }) => {
      const { described, headBytes, lengthBytes, crc, derived, source, alongside } = planned.arrival;
      try {
        if (planned.replaces !== undefined) {
          entering.settle();
          removeInstance(database, planned.replaces, sequence);
        }
        const place = {
          pack: pack.id,
          offset,
          headBytes,
          lengthBytes,
          crc,
          sequence,
          derived,
          source: source?.digest,
          storedAt,
        };
        const studyKey = entering.add(described, place);
        const action = planned.replaces === undefined ? 'create' : 'update';
        recordChange(database, action, described, { version: sequence, at });
        alongside?.();
        return studyKey;
      } catch (error) {
        throw new Unindexed(planned, error);
      }
    });
    entering.settle();
    return { keys, change: lastChange(database) };
  });
}
