/** The thread that looks at a series and takes its face out, so that nothing else waits for it. One question at a time, answered in order. */
import { parentPort } from 'node:worker_threads';
import type { Plane } from '../../dicom/slices.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { defaceFrame, type DefacedFrame } from './frame.ts';
import { openPlan, type FacePlan, type OpenPlan } from './plan.ts';
import { openSession, type DefaceFigures, type Session } from './session.ts';
import type { Stack } from './stack.ts';

export type Question =
  | { readonly ask: 'begin'; readonly stack: Stack }
  | { readonly ask: 'look' | 'try'; readonly plane: Plane; readonly bytes: Uint8Array }
  | { readonly ask: 'plan' | 'check' }
  | { readonly ask: 'follow'; readonly plan: FacePlan }
  | { readonly ask: 'deface'; readonly plane: Plane; readonly bytes: Uint8Array };

export type Reply =
  | { readonly answer: FacePlan | DefaceFigures | DefacedFrame | undefined }
  | { readonly refused: string }
  | { readonly fault: string };

let session: Session | undefined;
let followed: OpenPlan | undefined;

function answer(question: Question): FacePlan | DefaceFigures | DefacedFrame | undefined {
  switch (question.ask) {
    case 'begin':
      session = openSession(question.stack);
      return undefined;
    case 'look':
      opened().look(question.plane, bufferOf(question.bytes));
      return undefined;
    case 'plan':
      return opened().plan();
    case 'try':
      return opened().try(question.plane, bufferOf(question.bytes));
    case 'check':
      return opened().check();
    case 'follow':
      followed = openPlan(question.plan);
      return undefined;
    case 'deface': {
      if (followed === undefined) throw new Error('no plan is followed');
      return defaceFrame(followed, question.plane, bufferOf(question.bytes));
    }
    default:
      return question satisfies never;
  }
}

function opened(): Session {
  if (session === undefined) throw new Error('no series is begun');
  return session;
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

parentPort?.on('message', (question: Question) => {
  let reply: Reply;
  try {
    reply = { answer: answer(question) };
  } catch (error) {
    if (error instanceof Refusal) reply = { refused: error.message };
    else reply = { fault: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  parentPort?.postMessage(reply);
});
