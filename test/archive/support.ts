/** An archive in a folder of its own, for one test. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openDatabase, type Database } from '../../src/database.ts';
import { closeArchive, listPacks, openArchive, type Archive, type ArchiveOptions } from '../../src/archive/archive.ts';

export interface Opened {
  readonly folder: string;
  readonly database: Database;
  readonly archive: Archive;
}

export async function newFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'archive-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export async function openIn(folder: string, options: Partial<ArchiveOptions> = {}): Promise<Opened> {
  const database = openDatabase(join(folder, 'index.db'));
  const archive = await openArchive(database, join(folder, 'packs'), {
    duplicates: 'reject',
    reserveBytes: 0,
    ...options,
  });
  return { folder, database, archive };
}

export async function close({ archive, database }: Opened): Promise<void> {
  await closeArchive(archive);
  database.close();
}

export async function opened(context: TestContext, options: Partial<ArchiveOptions> = {}): Promise<Opened> {
  const one = await openIn(await newFolder(context), options);
  context.after(() => close(one));
  return one;
}

export async function bytesOf(chunks: AsyncIterable<Buffer> | Buffer | (() => AsyncIterable<Buffer>)): Promise<Buffer> {
  if (Buffer.isBuffer(chunks)) return chunks;
  const parts: Buffer[] = [];
  for await (const chunk of typeof chunks === 'function' ? chunks() : chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** The names that the system's tar lists, over all packs. */
export async function tarNames(folder: string): Promise<string[]> {
  const packs = join(folder, 'packs');
  const names: string[] = [];
  for (const path of await listPacks(packs)) {
    const listed = execFileSync('tar', ['tf', join(packs, path)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    names.push(...listed.split('\n').filter((name) => name !== ''));
  }
  return names;
}
