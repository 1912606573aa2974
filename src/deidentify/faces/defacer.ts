/**
 * Clean Recognizable Visual Features (PS3.15 E.3.2) of a series: first every image is looked at, tried and checked, which gives a plan;
 * then each image is done by the plan, by itself. In a thread of its own; one image is in memory at a time.
 */
import { Worker } from 'node:worker_threads';
import type { Head, Identified } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import type { Plane } from '../../dicom/slices.ts';
import type { DefacedFrame } from './frame.ts';
import { nativePixels, withPixels, type FaceTools } from './pixels.ts';
import { refuseStranger, type FacePlan } from './plan.ts';
import type { DefaceFigures } from './session.ts';
import { planeOf, sealed, stackOf } from './stack.ts';
import type { Question, Reply } from './thread.ts';

/** An image of a series; read as often as it is asked for. */
export interface FaceSource {
  readonly head: Head;
  open(): Promise<Identified>;
}

export interface PlannedSeries {
  readonly plan: FacePlan;
  readonly figures: DefaceFigures;
}

/** An image without the face, still under its own names. */
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

/** @throws Refusal Quarantined when the face cannot be found, or is still to be seen */
export async function planSeries(
  sources: readonly FaceSource[],
  tools: FaceTools,
  signal?: AbortSignal,
): Promise<PlannedSeries> {
  const stack = stackOf(sources.map(({ head }) => head));
  const thread = startThread();
  try {
    await thread.ask({ ask: 'begin', stack });
    const each = async (ask: 'look' | 'try'): Promise<void> => {
      for (const plane of stack.planes) {
        signal?.throwIfAborted();
        const source = sources[plane.instance];
        if (source === undefined) throw new Error(`there is no image ${plane.instance}`);
        await thread.ask({ ask, plane, bytes: await nativePixels(await source.open(), tools) });
      }
    };
    await each('look');
    const plan = (await thread.ask({ ask: 'plan' })) as FacePlan;
    await each('try');
    return { plan, figures: (await thread.ask({ ask: 'check' })) as DefaceFigures };
  } finally {
    await thread.end();
  }
}

export interface Follower {
  /** @throws Refusal Quarantined when the image is not one of this series, or cannot be written again */
  deface(object: Identified): Promise<Defaced>;
  end(): Promise<void>;
}

/** Does single images by a plan that was made before. */
export async function followPlan(plan: FacePlan, tools: FaceTools): Promise<Follower> {
  const thread = startThread();
  await thread.ask({ ask: 'follow', plan });
  return {
    async deface(object) {
      const plane: Plane = planeOf(object.head, 0);
      refuseStranger(plan, plane);
      const bytes = await nativePixels(object, tools);
      const frame = (await thread.ask({ ask: 'deface', plane, bytes: Uint8Array.from(bytes) })) as DefacedFrame;
      if (frame.insideChanged > 0) throw sealed(`${frame.insideChanged} voxels inside the skull would change`);
      const { smallest, largest } = frame;
      const pixels: DefacedPixels = { changed: frame.changed > 0, smallest, largest };
      return { object: await withPixels(object, bytes, frame, tools), pixels };
    },
    end: () => thread.end(),
  };
}

interface Thread {
  ask(question: Question): Promise<Extract<Reply, { answer: unknown }>['answer']>;
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
    async ask(question) {
      if (lost !== undefined) throw lost;
      const reply = await new Promise<Reply>((resolve, reject) => {
        waiting = { resolve, reject };
        worker.postMessage(question);
      });
      if ('refused' in reply) throw new Refusal('Quarantined', reply.refused);
      if ('fault' in reply) throw new Error(reply.fault);
      return reply.answer;
    },
    async end() {
      await worker.terminate();
    },
  };
}
