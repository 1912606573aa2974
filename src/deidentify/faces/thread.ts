/** The thread that looks at a series and takes its face out, so that nothing else waits for it. One question at a time, answered in order. */
import { parentPort } from 'node:worker_threads';
import type { Plane } from '../../dicom/slices.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { defaceFrame, type DefacedFrame } from './frame.ts';
import { openPlan, type OpenPlan, type SeriesPlan } from './plan.ts';
import { openSession, type Planned, type Session, type Showing, type VolumeFigures } from './session.ts';
import type { Stack } from './stack.ts';

/** What is asked, and what is answered to it. */
export interface Asked {
  /** A new session. */
  open: { ask: { readonly stack: Stack }; answer: undefined };
  look: { ask: { readonly plane: Plane; readonly bytes: Uint8Array }; answer: undefined };
  plan: { ask: object; answer: Planned };
  begin: { ask: { readonly volumes: readonly Showing[] }; answer: undefined };
  try: { ask: { readonly volume: number; readonly plane: Plane; readonly bytes: Uint8Array }; answer: undefined };
  check: { ask: { readonly volume: number }; answer: VolumeFigures };
  follow: { ask: { readonly plans: SeriesPlan }; answer: undefined };
  deface: { ask: { readonly plan: number; readonly plane: Plane; readonly bytes: Uint8Array }; answer: DefacedFrame };
}

export type Question = { [Kind in keyof Asked]: { readonly kind: Kind } & Asked[Kind]['ask'] }[keyof Asked];

export type Reply =
  { readonly answer: Asked[keyof Asked]['answer'] } | { readonly refused: string } | { readonly fault: string };

let session: Session | undefined;
let followed: readonly OpenPlan[] = [];

function answer(question: Question): Asked[keyof Asked]['answer'] {
  switch (question.kind) {
    case 'open':
      session = openSession(question.stack);
      return undefined;
    case 'look':
      opened().look(question.plane, bufferOf(question.bytes));
      return undefined;
    case 'plan':
      return opened().plan();
    case 'begin':
      opened().begin(question.volumes);
      return undefined;
    case 'try':
      opened().try(question.volume, question.plane, bufferOf(question.bytes));
      return undefined;
    case 'check':
      return opened().check(question.volume);
    case 'follow':
      followed = question.plans.map(openPlan);
      return undefined;
    case 'deface': {
      const plan = followed[question.plan];
      if (plan === undefined) throw new Error('this plan is not followed');
      return defaceFrame(plan, question.plane, bufferOf(question.bytes));
    }
    default:
      return question satisfies never;
  }
}

function opened(): Session {
  if (session === undefined) throw new Error('no volume is looked at');
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
