/** Where the files of the configuration lie. */
import { readdirSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal } from '../dicom/refusal.ts';

export const PROJECT_FOLDER = fileURLToPath(new URL('../..', import.meta.url));

export function absolute(path: string, base: string): string {
  return isAbsolute(path) ? path : resolve(base, path);
}

/** What lies in a folder, in order. @throws Refusal BadConfiguration when it cannot be read */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    throw new Refusal('BadConfiguration', `${folder} is no folder that can be read`);
  }
}
