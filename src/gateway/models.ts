/** The models that rules may name, ours and the site's, as the configuration has them run. */
import type { Config } from '../config.ts';
import { openPool, type Pool } from '../pipelines/pool.ts';

/** @throws Refusal BadConfiguration for a model whose card, hash, graph or self-test does not hold */
export function openModels(config: Config): Promise<Pool> {
  return openPool({
    threads: config.pipelines.threads,
    maxMemoryMb: config.pipelines.maxMemoryMb,
    modelsFolder: config.modelsFolder,
    siteModelsFolder: config.siteModelsFolder,
    provider: config.pipelines.provider,
  });
}
