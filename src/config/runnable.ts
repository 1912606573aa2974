/** What a rule may name to be run: the pipelines of the program, and each folder of models that has a manifest. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';
import { namesIn } from './paths.ts';
import { readYamlFile } from './yaml-file.ts';

/** Settings (keys of a rule's `with`) by the name of the pipeline. */
export type Runnable = ReadonlyMap<string, ReadonlySet<string>>;

/** What runs without a manifest. */
const BUILT_IN: readonly (readonly [string, readonly string[]])[] = [
  ['register', ['fixed', 'fetch', 'transform']],
  ['ct-denoise', ['alpha']],
];

/** The pipelines of the program, and one for each folder of models that has a manifest. @throws Refusal BadConfiguration */
export function runnableModels(modelsFolder: string, siteModelsFolder: string | undefined): Runnable {
  const found = new Map(BUILT_IN.map(([id, settings]) => [id, new Set(settings)]));
  for (const folder of [modelsFolder, ...(siteModelsFolder === undefined ? [] : [siteModelsFolder])]) {
    for (const id of namesIn(folder)) {
      if (!isManifest(join(folder, id))) continue;
      if (found.has(id)) throw new Refusal('BadConfiguration', `${join(folder, id)}: a model ${id} is there already`);
      const { post = [] } = readYamlFile(join(folder, id, 'card.yaml'), 'model-manifest') as {
        readonly post?: readonly { readonly op: string }[];
      };
      found.set(id, new Set(post.some(({ op }) => op === 'blend') ? ['alpha'] : []));
    }
  }
  return found;
}

/** A card that says what goes in and out (`io`) is a manifest: it needs no program of its own. */
export function isManifest(folder: string): boolean {
  try {
    return /^["']?io["']?\s*:/m.test(readFileSync(join(folder, 'card.yaml'), 'utf8'));
  } catch {
    return false;
  }
}
