/**
 * Loaded before everything else (`node --import`), in each thread: what was compiled, and stripped of its types, is kept beside the packages.
 * A later start takes half the time, and Node does not load its TypeScript reader, 40 MB of a running gateway: so this file cannot be
 * TypeScript itself. Where the folder cannot be written all is compiled anew each time.
 */
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';

/** By then most of what a running gateway uses has been compiled, and a process that is killed leaves it to the next one. */
const FLUSH_AFTER_MS = 20_000;

enableCompileCache(join(import.meta.dirname, '..', 'node_modules', '.cache', 'isthmus'));
setTimeout(flushCompileCache, FLUSH_AFTER_MS).unref();
