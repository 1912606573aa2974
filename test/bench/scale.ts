/**
 * Whether costs stay flat with the size of the archive: two gateways side by side, one with 22 000 instances, one with as many as is
 * asked for, each query kind and the same arrivals on both in turn. The rows are those that arrival writes (bulk-index.test.ts).
 *   node test/bench/scale.ts [--instances N] [--requests N] [--rounds N] [--folder DIR] [--keep] [--only WORD]
 */
import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openDatabase } from '../../src/database.ts';
import { seeded } from '../phantom/random.ts';
import { STUDY_INSTANCES, fillCrosswalk, openFilling } from './bulk-index.ts';
import { openCtMaker } from './ct.ts';
import { cpuMs, mainThread, ranMs, untilIdle } from './process-tree.ts';
import { openClient, percentile, type Client } from './requests.ts';
import { QUERY_KINDS } from './scale-queries.ts';
import { sendByStow } from './senders.ts';
import { startOurs, type Server } from './servers.ts';

const SMALL_INSTANCES = 22_000;
const MOST_GROWTH = 1.3;
/** Differences below this are noise, not growth. */
const NOISE_MS = 0.1;
const ARRIVALS = 400;

const { values } = parseArgs({
  options: {
    instances: { type: 'string', default: '1000000' },
    requests: { type: 'string', default: '150' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'isthmus-scale') },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
});

interface Side {
  readonly name: string;
  readonly folder: string;
  readonly studies: number;
  server: Server;
}

const folder = values.folder;
try {
  const sides = [
    await openSide('small', SMALL_INSTANCES / STUDY_INSTANCES),
    await openSide('large', Math.ceil(Number(values.instances) / STUDY_INSTANCES)),
  ];
  try {
    for (const side of sides) process.stdout.write(`${side.name}: ${await startUp(side)}\n`);
    // Arrivals last: a minute after them their studies are complete, and are looked through while something else would be measured.
    await compareQueries(sides);
    if (values.only === '') await compareArrivals(sides);
  } finally {
    for (const { server } of sides) await server.stop();
  }
} finally {
  if (!values.keep) rmSync(folder, { recursive: true, force: true });
}

/** Filled when it is not yet as full as it should be. */
async function openSide(name: string, studies: number): Promise<Side> {
  const own = join(folder, name);
  mkdirSync(own, { recursive: true });
  const data = join(own, 'ours', 'data');
  // The gateway makes all its tables itself.
  if (!existsSync(join(data, 'isthmus.sqlite'))) await (await startOurs(own)).stop();
  const database = openDatabase(join(data, 'isthmus.sqlite'));
  const begin = performance.now();
  let from = Number(database.get('SELECT count(*) AS studies FROM study')?.['studies']);
  if (from < studies) {
    for (const setting of ['synchronous = OFF', 'cache_size = -1000000', 'temp_store = MEMORY'])
      database.run(`PRAGMA ${setting}`);
    const filling = openFilling(database, join(data, 'packs'));
    while (from < studies) {
      const until = Math.min(studies, from + 500);
      filling.fill(until);
      database.transaction(() => fillCrosswalk(database, from, until, 'bench'));
      from = until;
    }
    process.stdout.write(
      `${name}: ${studies * STUDY_INSTANCES} instances in ${((performance.now() - begin) / 1000).toFixed(0)} s\n`,
    );
  }
  database.close();
  return { name, folder: own, studies, server: await startOurs(own) };
}

/** Stopped in order and started again: from the start of the process to readiness. */
async function startUp(side: Side): Promise<string> {
  const times: number[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    await side.server.stop();
    const begin = performance.now();
    side.server = await startOurs(side.folder);
    times.push(performance.now() - begin);
  }
  const bytes = statSync(join(side.folder, 'ours', 'data', 'isthmus.sqlite')).size;
  return (
    `ready ${percentile(times, 0.5).toFixed(0)} ms after its start [${Math.min(...times).toFixed(0)}..${Math.max(...times).toFixed(0)}]; ` +
    `database ${(bytes / 2 ** 20).toFixed(0)} MiB, ${(bytes / side.studies / STUDY_INSTANCES).toFixed(0)} bytes an instance`
  );
}

async function compareArrivals(sides: readonly Side[]): Promise<void> {
  const maker = openCtMaker(64);
  const found = sides.map(() => ({ cpu: [] as number[], rate: [] as number[] }));
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const [at, side] of sides.entries()) {
      const objects = maker.study(ARRIVALS);
      const before = cpuMs(side.server.pid);
      const { wallMs } = await sendByStow(side.server, objects, { clients: 4, perRequest: 10 });
      await untilIdle(side.server.pid);
      // The first round warms both up.
      if (round === 0) continue;
      found[at]?.cpu.push((cpuMs(side.server.pid) - before) / ARRIVALS);
      found[at]?.rate.push((1000 * ARRIVALS) / wallMs);
    }
  }
  const cells = found.map(
    ({ cpu, rate }) => `${percentile(cpu, 0.5).toFixed(2)} ms CPU, ${percentile(rate, 0.5).toFixed(0)}/s`,
  );
  const growth = percentile(found[1]?.cpu ?? [], 0.5) / percentile(found[0]?.cpu ?? [], 0.5);
  process.stdout.write(`STOW of 64x64, an instance: ${cells.join(' | ')}; ${growth.toFixed(2)}x\n`);
}

/** Milliseconds to the last byte, without those in which the server stood waiting for a processor that others had. */
async function served(client: Client, server: Server, path: string, host?: string): Promise<number> {
  const before = mainThread(server.pid).waitedMs;
  const headers = { Accept: 'application/dicom+json', ...(host === undefined ? {} : { Host: host }) };
  const { wholeMs } = await client.get(server.base + path, headers);
  return Math.max(0, wholeMs - (mainThread(server.pid).waitedMs - before));
}

async function compareQueries(sides: readonly Side[]): Promise<void> {
  const client = openClient();
  const requests = Number(values.requests);
  process.stdout.write(
    `${'p50 / p99 / CPU ms of a request'.padEnd(44)}${sides.map(({ name }) => name.padEnd(24)).join('')}growth\n`,
  );
  for (const kind of QUERY_KINDS.filter(({ name }) => name.includes(values.only))) {
    const found = sides.map(() => ({ ms: [] as number[], cpu: [] as number[] }));
    for (let round = 0; round <= Number(values.rounds); round++) {
      for (const [at, { server, studies }] of sides.entries()) {
        const random = seeded(round + 1);
        const before = ranMs(server.pid);
        for (let n = 0; n < requests; n++) {
          const path = kind.path(Math.floor(random.next() * studies), studies);
          const ms = await served(
            client,
            server,
            path,
            kind.cold === true ? `n${round * requests + n}.localhost` : undefined,
          );
          if (round > 0) found[at]?.ms.push(ms);
        }
        if (round > 0) found[at]?.cpu.push((ranMs(server.pid) - before) / requests);
      }
    }
    const median = found.map(({ cpu }) => percentile(cpu, 0.5));
    const [small = 0, large = 0] = median;
    const cells = found.map(({ ms }, at) =>
      `${percentile(ms, 0.5).toFixed(2)} / ${percentile(ms, 0.99).toFixed(2)} / ${(median[at] ?? 0).toFixed(2)}`.padEnd(
        24,
      ),
    );
    const [p99 = 0, p99Large = 0] = found.map(({ ms }) => percentile(ms, 0.99));
    const flat = large <= Math.max(small * MOST_GROWTH, small + NOISE_MS);
    const tail = p99Large <= Math.max(p99 * MOST_GROWTH, p99 + NOISE_MS);
    process.stdout.write(
      `${kind.name.padEnd(44)}${cells.join('')}CPU ${(large / small).toFixed(2)}x${flat ? '' : ' GROWS'}, p99 ${(p99Large / p99).toFixed(2)}x${tail ? '' : ' GROWS'}\n`,
    );
  }
  client.close();
}
