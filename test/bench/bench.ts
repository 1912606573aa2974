/**
 * Side by side with Debian's Orthanc on this machine: the same instances to both, one after the other, the order swapped every round.
 * Ours de-identifies and is durable (file and index) before it answers; Orthanc stores as received. Run it on an otherwise idle machine.
 *   npm run bench -- [--rounds N] [--count N] [--only kind,kind] [--skip kind,kind] [--json FILE]
 */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openCtMaker, type CtMaker } from './ct.ts';
import { measure, untilIdle } from './process-tree.ts';
import { compilerMissing, sendByCStore, sendByStow, storescuMissing, type Sent } from './senders.ts';
import { countByQido, startFloor, startOurs, startPeer, type Server } from './servers.ts';
import { headline, summarise, table, type Cell } from './report.ts';
import { fillServers, type Holdings } from './rows/filling.ts';
import { READ_KINDS, readCell, warmReads, type ReadKind } from './rows/reads.ts';
import { targetTable } from './rows/targets.ts';

/** Names of many kinds at once. */
const GROUPS: Readonly<Record<string, (name: string) => boolean>> = {
  ingest: (name) => /^(stow|cstore)-/.test(name),
  qido: (name) => READ_KINDS.some((kind) => kind.group === 'qido' && kind.name === name),
  wado: (name) => READ_KINDS.some((kind) => kind.group === 'wado' && kind.name === name),
};

/** Instances that each server gets before anything is timed: both run for days, not for seconds. */
const WARM_UP = 1500;
const WARM_UP_CSTORE = 300;
/** A study is complete when it has been quiet for half a minute: what the large ones of the warm-up cost then is no cell's. */
const SETTLES_MS = 32_000;

interface Kind {
  readonly name: string;
  /** The floor has no DICOM; it is asked only what it can do. */
  readonly floor: boolean;
  /** C-STORE with TCP_NODELAY at both ends; a peer that does not set it by itself then has a process of its own. */
  readonly nodelay?: boolean;
  readonly missing?: string | undefined;
  /** Made once for a round: every server gets the same. */
  prepare(maker: CtMaker, count: number): (server: Server) => Promise<{ items: number; sent: Sent }>;
}

const KINDS: readonly Kind[] = [
  ...[
    { clients: 1, perRequest: 1 },
    { clients: 4, perRequest: 1 },
    { clients: 1, perRequest: 50 },
    { clients: 4, perRequest: 50 },
  ].map((plan): Kind => ({
    name: `stow-${plan.perRequest}x${plan.clients}`,
    floor: true,
    prepare(maker, count) {
      const objects = maker.study(Math.max(count, plan.clients * plan.perRequest));
      return async (server) => ({ items: objects.length, sent: await sendByStow(server, objects, plan) });
    },
  })),
  ...[
    { clients: 1, nodelay: false },
    { clients: 4, nodelay: false },
    { clients: 1, nodelay: true },
    { clients: 4, nodelay: true },
  ].map(({ clients, nodelay }): Kind => ({
    name: `cstore-${nodelay ? 'nodelay-' : ''}x${clients}`,
    floor: false,
    nodelay,
    missing: storescuMissing() ?? (nodelay ? compilerMissing() : undefined),
    prepare(maker, count) {
      const objects = maker.study(count);
      return async (server) => ({
        items: objects.length,
        sent: await sendByCStore(server, objects, { clients, perRequest: 1, nodelay }),
      });
    },
  })),
];

const USAGE = `npm run bench -- [options]
  --rounds N    each kind on each server, the order swapped every round (3)
  --count N     instances a kind and round (100)
  --only A,B    only these kinds
  --skip A,B    not these
  --json FILE   appends one JSON line a cell and one a summary
  --only deidentify [--count N] [--many N] [--rounds N] [--cine MEGABYTES]   de-identification by itself, beside dcmodify and Orthanc's anonymize
kinds: ${[...KINDS, ...READ_KINDS].map(({ name }) => name).join(', ')} (stow-PER_REQUESTxCLIENTS)
groups of them: ${Object.keys(GROUPS).join(', ')}
`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    count: { type: 'string', default: '100' },
    only: { type: 'string', default: '' },
    skip: { type: 'string', default: '' },
    json: { type: 'string' },
    many: { type: 'string' },
    cine: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.exitCode = help();
// De-identification has no server: a program of its own.
else if (values.only === 'deidentify') await import('./deidentify.ts');
else process.exitCode = await bench();

function help(): number {
  process.stdout.write(USAGE);
  return 0;
}

async function bench(): Promise<number> {
  const rounds = Number(values.rounds);
  const count = Number(values.count);
  const chosen = chosenNames(values.only, values.skip);
  const kinds = KINDS.filter(({ name }) => chosen?.has(name));
  const readKinds = READ_KINDS.filter(({ name }) => chosen?.has(name));
  if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(count) || count < 1 || chosen === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-bench-'));
  const servers: Server[] = [];
  try {
    servers.push(await startOurs(folder));
    const peer = await startPeer(folder);
    if (typeof peer === 'string') {
      process.stdout.write(`\n*** NO COMPARISON: ${peer}. Ours and the floor are measured alone. ***\n\n`);
    } else {
      servers.push(peer);
      const hurried = kinds.some(({ nodelay, missing }) => nodelay === true && missing === undefined);
      const second = hurried ? await startPeer(folder, true) : undefined;
      if (typeof second === 'object') servers.push(second);
    }
    servers.push(await startFloor(folder));
    const cells = await runRounds(servers, kinds, rounds, count);
    const complaints = await checkCounts(servers, cells);
    const held = readKinds.length === 0 ? undefined : await fillServers(servers.filter(isDicomweb));
    if (held !== undefined) cells.push(...(await runReads(servers, held, readKinds, rounds)));
    report(servers, cells, complaints, held);
    return complaints.length === 0 ? 0 : 1;
  } finally {
    for (const server of servers) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Undefined when a name is none of ours. */
function chosenNames(only: string, skip: string): Set<string> | undefined {
  const names = [...KINDS, ...READ_KINDS].map(({ name }) => name);
  const listed = (text: string): (string | undefined)[] =>
    text
      .split(',')
      .filter((word) => word !== '')
      .flatMap((word) => {
        const group = GROUPS[word];
        const found = names.filter((name) => name === word || group?.(name) === true);
        return found.length === 0 ? [undefined] : found;
      });
  const [wanted, unwanted] = [listed(only), listed(skip)];
  if ([...wanted, ...unwanted].includes(undefined)) return undefined;
  return new Set(names.filter((name) => (only === '' || wanted.includes(name)) && !unwanted.includes(name)));
}

function isDicomweb({ kind }: Server): boolean {
  return kind === 'dicomweb';
}

/** The floor gives as many bytes as the first of the servers did. */
async function runReads(
  servers: readonly Server[],
  held: ReadonlyMap<Server, Holdings>,
  kinds: readonly ReadKind[],
  rounds: number,
): Promise<Cell[]> {
  const cells: Cell[] = [];
  const [first] = servers;
  const lengths = new Map<string, number>();
  for (const [server, holdings] of held) await warmReads(kinds, server, holdings);
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      // Whose answer tells the length comes first of all.
      for (const server of round % 2 === 0
        ? servers
        : [...servers].sort((a, b) => Number(isDicomweb(b)) - Number(isDicomweb(a)) || (a === first ? 1 : -1))) {
        const holdings = held.get(server) ?? held.get(first as Server);
        if (holdings === undefined) continue;
        const asked =
          server.kind === 'bytes' ? { ...kind, path: () => `/${Math.round(lengths.get(kind.name) ?? 0)}` } : kind;
        const usage = await measure(server.pid, () => readCell(asked, server, holdings, round), { leavesWork: false });
        const { items, sent, lengthBytes } = usage.result;
        if (server === first) lengths.set(kind.name, lengthBytes);
        const cell: Cell = { kind: kind.name, round, server: server.name, items, ...usageOf(usage, items, sent) };
        cells.push(cell);
        if (values.json !== undefined) appendFileSync(values.json, `${JSON.stringify({ cell })}\n`);
        process.stderr.write(
          `round ${round + 1} ${kind.name} ${server.name}: ${cell.rate.toFixed(0)}/s ${cell.cpuMs.toFixed(2)} ms\n`,
        );
      }
    }
  }
  return cells;
}

async function runRounds(servers: readonly Server[], kinds: readonly Kind[], rounds: number, count: number) {
  const maker = openCtMaker();
  const cells: Cell[] = [];
  if (kinds.length === 0) return cells;
  await warmUp(servers, maker);
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      if (kind.missing !== undefined) {
        if (round === 0) process.stdout.write(`*** ${kind.name} left out: ${kind.missing} ***\n`);
        continue;
      }
      const run = kind.prepare(maker, count);
      for (const server of round % 2 === 0 ? servers : [...servers].reverse()) {
        if (!takes(server, kind)) continue;
        const usage = await measure(server.pid, () => run(server));
        const { items, sent } = usage.result;
        const cell: Cell = { kind: kind.name, round, server: server.name, items, ...usageOf(usage, items, sent) };
        cells.push(cell);
        if (values.json !== undefined) appendFileSync(values.json, `${JSON.stringify({ cell })}\n`);
        process.stderr.write(
          `round ${round + 1} ${kind.name} ${server.name}: ${cell.rate.toFixed(0)}/s ${cell.cpuMs.toFixed(2)} ms\n`,
        );
      }
    }
  }
  return cells;
}

/** Two processes of one peer share its name and never a kind. */
function takes(server: Server, kind: Kind): boolean {
  if (server.kind === 'bytes') return kind.floor;
  return server.nodelay === undefined || server.nodelay === (kind.nodelay ?? false);
}

function usageOf(
  usage: { cpuMs: number; peakMb: number },
  items: number,
  sent: Sent,
): Omit<Cell, 'kind' | 'round' | 'server' | 'items'> {
  return {
    rate: (1000 * items) / sent.wallMs,
    cpuMs: usage.cpuMs / items,
    peakMb: usage.peakMb,
    p50Ms: percentile(sent.requestMs, 0.5),
    p99Ms: percentile(sent.requestMs, 0.99),
    firstByteMs: percentile(sent.firstByteMs, 0.5),
  };
}

function percentile(samples: readonly number[], share: number): number | undefined {
  return [...samples].sort((a, b) => a - b)[Math.min(samples.length - 1, Math.floor(samples.length * share))];
}

/** By both doors where there are two. */
async function warmUp(servers: readonly Server[], maker: CtMaker): Promise<void> {
  const objects = maker.study(WARM_UP);
  const more = maker.study(WARM_UP_CSTORE);
  for (const server of servers) {
    await sendByStow(server, objects, { clients: 2, perRequest: 1 });
    if (warmsByCStore(server)) await sendByCStore(server, more, { clients: 4, perRequest: 1 });
  }
  await setTimeout(SETTLES_MS);
  for (const { pid } of servers) await untilIdle(pid, 60_000);
}

function warmsByCStore({ kind }: Server): boolean {
  return kind === 'dicomweb' && storescuMissing() === undefined;
}

/** What was acknowledged must be shown, or the figures mean nothing. */
async function checkCounts(servers: readonly Server[], cells: readonly Cell[]): Promise<string[]> {
  const complaints: string[] = [];
  if (cells.length === 0) return complaints;
  for (const server of servers.filter(({ kind }) => kind === 'dicomweb')) {
    const own = cells.filter((cell) => KINDS.some((kind) => kind.name === cell.kind && takes(server, kind)));
    const before = WARM_UP + (warmsByCStore(server) ? WARM_UP_CSTORE : 0);
    const sent = own.reduce((sum, cell) => sum + (cell.server === server.name ? cell.items : 0), before);
    let shown = 0;
    for (let attempt = 0; attempt < 20 && (shown = await countByQido(server)) !== sent; attempt++) {
      await setTimeout(500);
    }
    if (shown !== sent)
      complaints.push(`${server.name} shows ${shown} of ${sent} instances: its figures are NOT valid`);
    else process.stdout.write(`${server.name} shows all ${sent} instances by QIDO-RS\n`);
  }
  return complaints;
}

function report(
  servers: readonly Server[],
  cells: readonly Cell[],
  complaints: readonly string[],
  held: ReadonlyMap<Server, Holdings> | undefined,
): void {
  const [ours, second] = servers;
  const peer = second?.kind === 'dicomweb' ? second.name : undefined;
  const summaries = summarise(cells);
  if (values.json !== undefined) {
    const machine = {
      at: new Date().toISOString(),
      node: process.version,
      cpu: cpus()[0]?.model,
      cores: cpus().length,
    };
    for (const summary of summaries) appendFileSync(values.json, `${JSON.stringify({ summary, machine })}\n`);
  }
  process.stdout.write(`\n${headline()}\n${table(summaries, ours?.name ?? '', peer)}\n`);
  const floor = servers.find(({ kind }) => kind === 'bytes')?.name;
  const holdings = { ours: ours && held?.get(ours), peer: second && held?.get(second) };
  process.stdout.write(`\n${targetTable(summaries, { ours: ours?.name ?? '', peer, floor }, holdings)}\n`);
  for (const complaint of complaints) process.stdout.write(`*** ${complaint} ***\n`);
}
