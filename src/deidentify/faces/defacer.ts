/**
 * Clean Recognizable Visual Features (PS3.15 E.3.2) of a series: first every frame of every volume is looked at, tried and checked, which
 * gives a plan; then each object is done by the plan, by itself. In a thread of its own; one frame is in memory at a time.
 */
import { Worker } from 'node:worker_threads';
import type { Head, Identified } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import type { Plane } from '../../dicom/slices.ts';
import type { DefacedFrame } from './frame.ts';
import type { FitFigures } from './head.ts';
import { framesOf, withFrames, type FaceTools } from './pixels.ts';
import { planFor, type SeriesPlan } from './plan.ts';
import type { Planned, Showing, VolumeFigures } from './session.ts';
import { headImage, sealed, type HeadImage } from './stack.ts';
import type { Asked, Question, Reply } from './thread.ts';
import { candidatesOf, groundsOf, named, stackOfVolume, type FaceVolume, type Ground } from './volumes.ts';

/** An object of a series; read as often as it is asked for. */
export interface FaceSource {
  readonly image: HeadImage;
  open(): Promise<Identified>;
}

/** @throws Refusal Quarantined for what is no image of slices in the patient */
export function faceSource(head: Head, open: () => Promise<Identified>): FaceSource {
  return { image: headImage(head), open };
}

/** Of the volume in which most is left of what there was. */
export interface DefaceFigures extends VolumeFigures, FitFigures {
  readonly volumes: number;
}

export interface PlannedSeries {
  readonly plan: SeriesPlan;
  readonly figures: DefaceFigures;
}

/** An object without the face, still under its own names. */
export interface Defaced {
  readonly object: Identified;
  readonly pixels: DefacedPixels;
}

/** What the header has to say of pixels whose face was taken out. */
export interface DefacedPixels {
  readonly changed: boolean;
  readonly smallest: number;
  readonly largest: number;
}

/** @throws Refusal Quarantined when a face cannot be found, or is still to be seen */
export async function planSeries(
  sources: readonly FaceSource[],
  tools: FaceTools,
  signal?: AbortSignal,
): Promise<PlannedSeries> {
  const grounds = groundsOf(sources.map(({ image }) => image));
  const thread = startThread();
  const work: Work = { sources, tools, thread, signal };
  try {
    const plan: SeriesPlan[number][] = [];
    const figures: DefaceFigures[] = [];
    for (const ground of grounds) {
      const { volume, planned } = await found(work, ground);
      plan.push(planned.plan);
      figures.push({ ...(await tried(work, ground, volume, planned.atOnce)), ...planned.fit });
    }
    return { plan, figures: figures.reduce(worse) };
  } finally {
    await thread.end();
  }
}

interface Work {
  readonly sources: readonly FaceSource[];
  readonly tools: FaceTools;
  readonly thread: Thread;
  readonly signal: AbortSignal | undefined;
}

/** The first volume in which a head is found. @throws Refusal Quarantined, as the first one was refused */
async function found(work: Work, ground: Ground): Promise<{ volume: FaceVolume; planned: Planned }> {
  let first: unknown;
  for (const volume of candidatesOf(ground)) {
    const stack = stackOfVolume(ground, volume);
    await work.thread.ask({ kind: 'open', stack });
    await eachFrame(work, stack.planes, (plane, bytes) => work.thread.ask({ kind: 'look', plane, bytes }));
    try {
      return { volume, planned: await work.thread.ask({ kind: 'plan' }) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      first ??= named(volume.label, error);
    }
  }
  throw first;
}

/** The plan on every volume of the ground, as many at once as there is memory for. */
async function tried(
  work: Work,
  { volumes }: Ground,
  reference: FaceVolume,
  atOnce: number,
): Promise<VolumeFigures & { readonly volumes: number }> {
  let all: VolumeFigures | undefined;
  for (let from = 0; from < volumes.length; from += atOnce) {
    const some = volumes.slice(from, from + atOnce);
    await work.thread.ask({ kind: 'begin', volumes: some.map((volume) => showingOf(volume, reference)) });
    const planes = some.flatMap((volume) => volume.planes);
    const ofPlane = new Map(some.flatMap((volume, index) => volume.planes.map((plane) => [plane, index] as const)));
    await eachFrame(work, planes, (plane, bytes) =>
      work.thread.ask({ kind: 'try', volume: ofPlane.get(plane) ?? -1, plane, bytes }),
    );
    for (const [index, { label }] of some.entries()) {
      try {
        const figures = await work.thread.ask({ kind: 'check', volume: index });
        all = all === undefined ? figures : worse(all, figures);
      } catch (error) {
        throw named(label, error);
      }
    }
  }
  if (all === undefined) throw new Error('a ground has no volume');
  return { ...all, volumes: volumes.length };
}

function showingOf({ contrast, showsBody }: FaceVolume, reference: FaceVolume): Showing {
  if (!showsBody) return 'not';
  return contrast === reference.contrast ? 'alike' : 'otherwise';
}

/** Sums of what was counted; of what was seen of a face, the volume in which it moved least. */
function worse<Figures extends VolumeFigures & { readonly volumes?: number }>(a: Figures, b: Figures): Figures {
  const one = b.places > 0 && (a.places === 0 || b.moved < a.moved) ? b : a;
  return {
    ...one,
    images: a.images + b.images,
    voxelsChanged: a.voxelsChanged + b.voxelsChanged,
    ...(a.volumes === undefined ? {} : { volumes: a.volumes + (b.volumes ?? 0) }),
  };
}

/** Object by object, in the order of its frames. */
async function eachFrame(
  { sources, tools, signal }: Work,
  planes: readonly Plane[],
  each: (plane: Plane, bytes: Buffer) => Promise<unknown>,
): Promise<void> {
  for (const [instance, own] of Map.groupBy(planes, (plane) => plane.instance)) {
    signal?.throwIfAborted();
    const source = sources[instance];
    if (source === undefined) throw new Error(`there is no object ${instance}`);
    const wanted = new Map(own.map((plane) => [plane.frame, plane]));
    for await (const { frame, bytes } of framesOf(await source.open(), tools, (number) => wanted.has(number))) {
      signal?.throwIfAborted();
      const plane = wanted.get(frame);
      if (plane !== undefined) await each(plane, bytes);
    }
  }
}

export interface Follower {
  /** @throws Refusal Quarantined when the object is not one of this series, or cannot be written again */
  deface(source: FaceSource): Promise<Defaced>;
  end(): Promise<void>;
}

/** Does single objects by a plan that was made before. */
export async function followPlan(plans: SeriesPlan, tools: FaceTools): Promise<Follower> {
  const thread = startThread();
  await thread.ask({ kind: 'follow', plans });
  return {
    async deface({ image, open }) {
      const chosen = image.planes.map((plane) => planFor(plans, plane));
      let pixels: DefacedPixels = { changed: false, smallest: Infinity, largest: -Infinity };
      const change = async (number: number, bytes: Buffer): Promise<DefacedFrame> => {
        const plane = image.planes[number - 1];
        if (plane === undefined) throw new Error(`there is no frame ${number}`);
        const frame = await thread.ask({ kind: 'deface', plan: chosen[number - 1] ?? -1, plane, bytes });
        if (frame.insideChanged > 0) throw sealed(`${frame.insideChanged} voxels inside the skull would change`);
        pixels = {
          changed: pixels.changed || frame.changed > 0,
          smallest: Math.min(pixels.smallest, frame.smallest),
          largest: Math.max(pixels.largest, frame.largest),
        };
        return frame;
      };
      const object = await withFrames(open, change, tools);
      return { object, pixels };
    },
    end: () => thread.end(),
  };
}

interface Thread {
  ask<Kind extends keyof Asked>(question: { readonly kind: Kind } & Asked[Kind]['ask']): Promise<Asked[Kind]['answer']>;
  end(): Promise<void>;
}

function startThread(): Thread {
  const worker = new Worker(new URL('thread.ts', import.meta.url));
  let waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void } | undefined;
  let lost: Error | undefined;
  const lose = (error: Error): void => {
    lost = error;
    waiting?.reject(error);
    waiting = undefined;
  };
  worker.on('message', (reply: Reply) => {
    waiting?.resolve(reply);
    waiting = undefined;
  });
  worker.on('error', lose);
  worker.on('exit', () => lose(new Error('the thread that takes faces out has ended')));
  return {
    async ask<Kind extends keyof Asked>(question: { readonly kind: Kind } & Asked[Kind]['ask']) {
      if (lost !== undefined) throw lost;
      const reply = await new Promise<Reply>((resolve, reject) => {
        waiting = { resolve, reject };
        worker.postMessage(question satisfies { readonly kind: Question['kind'] });
      });
      if ('refused' in reply) throw new Refusal('Quarantined', reply.refused);
      if ('fault' in reply) throw new Error(reply.fault);
      return reply.answer as Asked[Kind]['answer'];
    },
    async end() {
      await worker.terminate();
    },
  };
}
