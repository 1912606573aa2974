/** A thread that helps with a registration. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { help, type Board } from './crew.ts';
import type { Level } from './deformation-kernels.ts';

const port = parentPort;
if (port === null) throw new Error('a helper is a thread');
help(workerData as Board, () => (receiveMessageOnPort(port) as { message: Level } | undefined)?.message);
