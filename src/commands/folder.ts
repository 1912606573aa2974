/** The files that a command is given a folder of. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';

/** In all folders below too, sorted. @throws Refusal BadRequest */
export async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => {
    throw new Refusal('BadRequest', `${folder} is no folder that can be read`);
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
