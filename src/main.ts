/**
 * The command line: serve | deidentify | run | verify | reindex. `serve` opens the gateway, starts doors and clock, and on SIGTERM closes
 * them in reverse, letting what was begun come to its end.
 */
import { setFlagsFromString } from 'node:v8';

if (!process.versions.node.startsWith('24.')) {
  process.stderr.write(
    `Node ${process.versions.node} runs this, Node 24 is needed: use "npm start", "npm run demo" or "npm run isthmus", which bring it\n`,
  );
  process.exit(1);
}

// Objects pass through in buffers outside the heap, which only a collection gives back. A young generation that grows is collected seldom, so
// that the buffers piled up behind it force whole collections instead: 5.7 ms of CPU an instance stored, against 3.0 with one that stays.
setFlagsFromString('--semi-space-growth-factor=1');
// The old generation may double before it is collected. V8 would let it grow to four times what is in use: 50 to 80 MB more at the peak of a
// load, for a tenth of a millisecond an instance.
setFlagsFromString('--heap-growing-percent=80');

// This thread's heap is laid out by now. What V8's command line says holds for every thread that is begun, whatever limits it is given: a
// codec or a copier of pages has no use for a young generation of 8 MB.
setFlagsFromString('--min-semi-space-size=1');
setFlagsFromString('--max-semi-space-size=2');

// Only now: several packages crash on an older Node while they load.
const { runCommand } = await import('./commands.ts');
process.exitCode = await runCommand(process.argv.slice(2));
export {};
