/** Room for what arrives: memory for objects on their way, and the disk besides its reserve. */
import { statfs } from 'node:fs/promises';
import { Refusal } from '../dicom/refusal.ts';
import type { Archive, Intake } from './handle.ts';

/**
 * Memory for objects that are arriving or wait to be written; nobody new begins above it. What waits longer outlives two collections of the
 * young generation, and only a whole one gives it back: at 16 MiB a CT costs 2.1 ms of CPU and the gateway 280 MB, at 4 MiB 1.8 ms and 250 MB,
 * at the same rate.
 */
const MOST_HELD_BYTES = 4 * 2 ** 20;

/** Waits until there is memory for another object. What it then takes is told by `hold`. */
export async function waitForMemory(intake: Intake): Promise<void> {
  while (intake.heldBytes >= MOST_HELD_BYTES) await new Promise<void>((resolve) => intake.queue.push(resolve));
}

/** Counts bytes of memory in (positive) or out (negative). */
export function hold(intake: Intake, bytes: number): void {
  intake.heldBytes += bytes;
  if (intake.heldBytes < MOST_HELD_BYTES) for (const wake of intake.queue.splice(0)) wake();
}

const LOOK_EVERY_BYTES = 64 * 2 ** 20;

const LOOK_EVERY_MS = 250;

/** @throws Refusal DiskFull when the disk has less left than the reserve */
export async function checkSpace(archive: Archive, bytes: number): Promise<void> {
  const { intake, options } = archive;
  if (intake.untilLookBytes <= 0) await look(archive);
  intake.untilLookBytes -= bytes;
  intake.freeBytes -= bytes;
  if (intake.freeBytes < options.reserveBytes) {
    intake.untilLookBytes = 0;
    throw new Refusal('DiskFull', `less than ${options.reserveBytes} bytes are free on the archive's disk`);
  }
}

/**
 * Before anything of a request has been read: room for what it announces, besides the reserve.
 * @throws Refusal DiskFull when there is none, OutOfResources after the disk has failed
 */
export async function refuseWithoutRoom(archive: Archive, announcedBytes = 0): Promise<void> {
  const { intake, options } = archive;
  refuseAfterFailure(intake);
  if (performance.now() - intake.lookedAt > LOOK_EVERY_MS || intake.untilLookBytes <= 0) await look(archive);
  if (intake.freeBytes - announcedBytes < options.reserveBytes) {
    intake.untilLookBytes = 0;
    throw new Refusal('DiskFull', `less than ${options.reserveBytes} bytes would be left on the archive's disk`);
  }
}

/** What fdatasync failed on may look written while it is not: only reading it anew after a start tells. */
export function refuseAfterFailure({ failure }: Intake): void {
  if (failure !== undefined)
    throw new Refusal('OutOfResources', "the archive's disk failed while storing; nothing is taken until a restart");
}

/** On the archive's disk, for us. */
export async function freeBytes({ folder }: Pick<Archive, 'folder'>): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** What is free; until the next look, what is stored is taken off. */
async function look({ intake, folder }: Archive): Promise<void> {
  intake.freeBytes = await freeBytes({ folder });
  intake.untilLookBytes = LOOK_EVERY_BYTES;
  intake.lookedAt = performance.now();
}

/** A full disk is no bug. */
export function outOfSpace(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'SQLITE_FULL'
    ? new Refusal('DiskFull', "the archive's disk is full")
    : error;
}
