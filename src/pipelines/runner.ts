/** Where a pipeline runs: in a thread of this process, or in a process of its own, which a native crash or a lack of memory ends alone. */
import { fork } from 'node:child_process';
import { basename, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { closeWayIn, newBrake } from './brake.ts';
import { dropParcels, pack, unpack } from './parcels.ts';
import { residentMb } from './resident.ts';
import { buffersOf, type JobMessage, type WorkerMessage, type WorkerSettings } from './requests.ts';

export interface RunnerEvents {
  readonly message: (message: WorkerMessage) => void;
  /** Something broke that nobody caught; `exit` follows. */
  readonly error: (sentence: string) => void;
  readonly exit: (how: string) => void;
}

export type RunnerOptions = Pick<WorkerSettings, 'threads' | 'provider'>;

export interface Runner {
  readonly pid: number | undefined;
  /** The voxels of the message move along: the caller's arrays are empty afterwards. */
  send(message: JobMessage): void;
  /** Keeps the gateway alive while a job runs, not while it is idle. */
  hold(held: boolean): void;
  /** Resolves when it is gone. A process ends at once; a thread inside onnxruntime when that call has returned. */
  end(): Promise<void>;
  /** Resident memory in MB; undefined for a thread, whose memory is the gateway's. */
  residentMb(): number | undefined;
}

export function startThread({ threads, provider }: RunnerOptions, events: RunnerEvents): Runner {
  const brake = newBrake();
  const workerData: WorkerSettings = { threads, brake, provider };
  const thread = new Worker(new URL('./worker-thread.ts', import.meta.url), { workerData, name: 'pipeline' });
  thread.on('message', events.message);
  // An error event carries no patient's value, only what broke in our code.
  thread.on('error', (error) => events.error(error instanceof Error ? error.message : 'unknown'));
  thread.on('exit', (code) => events.exit(`code ${code}`));
  return {
    pid: undefined,
    send: (message) => thread.postMessage(message, [...buffersOf(message)]),
    hold: (held) => (held ? thread.ref() : thread.unref()),
    async end() {
      // An unreferenced thread would let the process end before the thread has.
      thread.ref();
      const gone = new Promise<void>((resolve) => thread.once('exit', () => resolve()));
      await Promise.race([closeWayIn(brake), gone]);
      await thread.terminate();
    },
    residentMb: () => undefined,
  };
}

export function startProcess({ threads, provider }: RunnerOptions, parcels: string, events: RunnerEvents): Runner {
  const child = fork(
    new URL('./worker-process.ts', import.meta.url),
    [JSON.stringify({ threads, provider }), parcels],
    {
      serialization: 'advanced',
      execArgv: [],
      // Nothing of the gateway's environment (keys, tokens) is a pipeline's business.
      env: {
        PATH: process.env['PATH'] ?? '',
        LANG: 'C.UTF-8',
        LD_LIBRARY_PATH: process.env['LD_LIBRARY_PATH'] ?? '',
      },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    },
  );
  const mark = `${child.pid ?? 0}.`;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.on('message', (message) => {
    try {
      events.message(unpack(message) as WorkerMessage);
    } catch (error) {
      // Its files are gone: it is being ended.
      events.error(error instanceof Error ? error.name : 'unknown');
    }
  });
  child.on('error', (error) => events.error(error.name));
  child.on('exit', (code, signal) => {
    dropParcels(parcels, mark);
    events.exit(signal === null ? `code ${code ?? 'unknown'}` : `signal ${signal}`);
  });
  return {
    pid: child.pid,
    send(message) {
      pack(message, join(parcels, `${mark}in.${message.job}`))
        .then((packed) => {
          if (child.connected) child.send(packed as object);
          else dropParcels(parcels, mark);
        })
        .catch((error: unknown) => {
          events.error(error instanceof Error ? error.message.replaceAll(parcels, basename(parcels)) : 'unknown');
          child.kill('SIGKILL');
        });
    },
    hold(held) {
      if (held) {
        child.ref();
        child.channel?.ref();
      } else {
        child.unref();
        child.channel?.unref();
      }
    },
    async end() {
      child.ref();
      child.kill('SIGKILL');
      await gone;
    },
    residentMb: () => residentMb(child.pid),
  };
}
