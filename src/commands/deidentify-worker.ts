/** What a further thread of `isthmus deidentify` runs: files until there are none, then what it is asked to verify. */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { compileProfile } from '../deidentify/profile.ts';
import type { Seen } from '../deidentify/verify.ts';
import { runShare, type BatchDone, type Share } from './deidentify-share.ts';
import { runVerifyShare, type VerifyShare } from './verify-share.ts';

export type WorkerNews =
  | { readonly kind: 'batch'; readonly batch: BatchDone }
  | { readonly kind: 'piece'; readonly piece: number; readonly seen: Seen }
  /** Nothing is left of what it was asked for. */
  | { readonly kind: 'ended' };

async function work(port: MessagePort, share: Share): Promise<void> {
  const tell = (news: WorkerNews): void => port.postMessage(news);
  await runShare(share, (batch) => tell({ kind: 'batch', batch }));
  port.on('message', (verification: VerifyShare) => void verify(verification));
  tell({ kind: 'ended' });

  async function verify(verification: VerifyShare): Promise<void> {
    const profile = compileProfile(share.settings.profile);
    await runVerifyShare(verification, profile, (piece, seen) => tell({ kind: 'piece', piece, seen }));
    tell({ kind: 'ended' });
  }
}

if (parentPort !== null) await work(parentPort, workerData as Share);
