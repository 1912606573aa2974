/** Runs pipelines one after another, in a thread or a process; opens the graphs of a model at its first job. */
import { Refusal } from '../dicom/refusal.ts';
import { denoise } from './correction.ts';
import type { DenoiseModel } from './correction.ts';
import { loadFamiliarity } from './familiarity.ts';
import { GatesRefusal } from './gates.ts';
import { openGraph } from './graph-session.ts';
import { loadModel } from './manifest.ts';
import { offeredProviders } from './session.ts';
import { register } from './registration.ts';
import type { Progress, RegistrationModel } from './registration.ts';
import { findText, type TextModel } from './text-detection.ts';
import type { JobMessage, PipelineName, Requests, Results, WorkerMessage, WorkerSettings } from './requests.ts';
import { openModel, probeModel, runModel } from './zoo.ts';
import { loadManifest } from './zoo-manifest.ts';
import { runMasks } from './zoo-masks.ts';

type Runner<P extends PipelineName> = (request: Requests[P], progress: Progress) => Promise<Results[P]>;

/** Opens a pipeline's model and gives the function that runs it. */
const OPENERS: {
  readonly [P in PipelineName]: (folder: string, settings: WorkerSettings) => Promise<Runner<P>>;
} = {
  register: async (folder, settings) => {
    const { threads } = settings;
    const model = loadModel(folder);
    const open = (name: string) => openGraph(model, name, threads, settings.brake, settings.provider);
    const sessions = {
      search: await open('deform-search'),
    };
    const opened: RegistrationModel = { sessions, gates: model.card.gates, applies: model.card.applies, threads };
    return (pair, progress) => register(opened, pair, { progress, spent });
  },
  align: (folder, { threads }) => {
    const { gates, applies } = loadModel(folder).card;
    const opened: RegistrationModel = { sessions: { search: undefined }, gates, applies, threads };
    return Promise.resolve((pair, progress) => register(opened, pair, { progress, spent }));
  },
  denoise: async (folder, settings) => {
    const { threads } = settings;
    const model = loadModel(folder);
    const opened: DenoiseModel = {
      session: await openGraph(model, 'denoise', threads, settings.brake, settings.provider),
      gates: model.card.gates,
      familiarity: model.card.familiar === undefined ? undefined : loadFamiliarity(folder, model.card.familiar),
    };
    return (input, progress) => denoise(opened, input, progress);
  },
  text: async (folder, settings) => {
    const { threads } = settings;
    const model = loadModel(folder);
    const { belongs, certain } = model.card.settings ?? {};
    if (typeof belongs !== 'number' || typeof certain !== 'number')
      throw new Refusal('BadConfiguration', 'text-detect/card.yaml: settings need the numbers belongs and certain');
    const opened: TextModel = {
      session: await openGraph(model, 'text', threads, settings.brake, settings.provider),
      belongs,
      certain,
    };
    return (picture) => findText(opened, picture);
  },
  zoo: async (folder, settings) => {
    const { threads } = settings;
    const opened = await openModel(loadManifest(folder), threads, settings.brake, settings.provider);
    return (input, progress) => runModel(opened, input, progress);
  },
  masks: async (folder, settings) => {
    const opened = await openModel(loadManifest(folder), settings.threads, settings.brake, settings.provider);
    return (input, progress) => runMasks(opened, input, progress, spent);
  },
  provider: () => Promise.resolve(async () => ({ offered: await offeredProviders() })),
  probe: async (folder, settings) => {
    const { threads } = settings;
    const opened = await openModel(loadManifest(folder), threads, settings.brake, settings.provider);
    return () => probeModel(opened);
  },
};

/** A job's voxels are this worker's own: their memory is given back at once, not when the job has ended. */
function spent({ buffer }: Float32Array): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Answers each job in turn through `send`. */
export function serveJobs(
  settings: WorkerSettings,
  send: (message: WorkerMessage) => void,
): (message: JobMessage) => void {
  const runners = new Map<string, Runner<PipelineName>>();
  const runnerOf = async (pipeline: PipelineName, folder: string): Promise<Runner<PipelineName>> => {
    const key = `${pipeline} ${folder}`;
    const found = runners.get(key);
    if (found !== undefined) return found;
    // The request that comes with a pipeline's name has that pipeline's type: the pool's signature holds it.
    const runner = (await OPENERS[pipeline](folder, settings)) as Runner<PipelineName>;
    runners.set(key, runner);
    return runner;
  };
  const answer = async ({ job, pipeline, folder, request }: JobMessage): Promise<void> => {
    try {
      const run = await runnerOf(pipeline, folder);
      const result = await run(request, (step, share) => send({ job, kind: 'progress', step, share }));
      send({ job, kind: 'result', result });
    } catch (error) {
      if (error instanceof Refusal) {
        const findings = error instanceof GatesRefusal ? { findings: error.findings } : {};
        send({ job, kind: 'refusal', reason: error.reason, sentence: error.message, ...findings });
      } else {
        const { message, stack } = error instanceof Error ? error : new Error(String(error));
        send({ job, kind: 'fault', message, stack: stack ?? message });
      }
    }
  };
  return (message) => void answer(message);
}
