/** Cells of a run into one table: medians [min..max] over the rounds, and ratios of each round's pair. */
import { cpus } from 'node:os';

export interface Cell {
  readonly kind: string;
  readonly round: number;
  readonly server: string;
  readonly items: number;
  /** Items a second, as the sender saw it. */
  readonly rate: number;
  /** Of the server's process tree, an item. */
  readonly cpuMs: number;
  readonly peakMb: number;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly firstByteMs: number | undefined;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Summary {
  readonly kind: string;
  readonly server: string;
  readonly rounds: number;
  readonly rate: Spread;
  readonly cpuMs: Spread;
  readonly peakMb: Spread;
  readonly p50Ms: Spread | undefined;
  readonly p99Ms: Spread | undefined;
  readonly firstByteMs: Spread | undefined;
  /** Against every other server, of the same round: above 1, this one is faster. */
  readonly rateRatio: Readonly<Record<string, Spread>>;
  /** Above 1, this one needs less CPU. */
  readonly cpuRatio: Readonly<Record<string, Spread>>;
}

export function summarise(cells: readonly Cell[]): Summary[] {
  const groups = new Map<string, Cell[]>();
  for (const cell of cells) {
    const key = `${cell.kind}\n${cell.server}`;
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  }
  return [...groups.values()].map((group) => {
    const { kind, server } = group[0] as Cell;
    const others = [...new Set(cells.filter((cell) => cell.kind === kind).map((cell) => cell.server))].filter(
      (name) => name !== server,
    );
    const ratios = (of: (mine: Cell, theirs: Cell) => number): Record<string, Spread> =>
      Object.fromEntries(
        others.map((name) => [
          name,
          spreadOf(
            group.flatMap((mine) => {
              const theirs = cells.find(
                (cell) => cell.kind === kind && cell.server === name && cell.round === mine.round,
              );
              return theirs === undefined ? [] : [of(mine, theirs)];
            }),
          ) as Spread,
        ]),
      );
    return {
      kind,
      server,
      rounds: group.length,
      rate: spreadOf(group.map(({ rate }) => rate)) as Spread,
      cpuMs: spreadOf(group.map(({ cpuMs }) => cpuMs)) as Spread,
      peakMb: spreadOf(group.map(({ peakMb }) => peakMb)) as Spread,
      p50Ms: spreadOf(group.map(({ p50Ms }) => p50Ms)),
      p99Ms: spreadOf(group.map(({ p99Ms }) => p99Ms)),
      firstByteMs: spreadOf(group.map(({ firstByteMs }) => firstByteMs)),
      rateRatio: ratios((mine, theirs) => mine.rate / theirs.rate),
      cpuRatio: ratios((mine, theirs) => theirs.cpuMs / mine.cpuMs),
    };
  });
}

function spreadOf(values: readonly (number | undefined)[]): Spread | undefined {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  const middle = sorted[sorted.length >> 1];
  const [min] = sorted;
  const max = sorted.at(-1);
  if (middle === undefined || min === undefined || max === undefined) return undefined;
  const median = sorted.length % 2 === 1 ? middle : (middle + (sorted[(sorted.length >> 1) - 1] ?? middle)) / 2;
  return { median, min, max };
}

export function headline(): string {
  return (
    `${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}, Node ${process.versions.node}; medians [min..max] over the rounds\n` +
    'ratios above 1: isthmus is faster, or needs less CPU; CPU of the whole process tree until idle\n' +
    'isthmus de-identifies and is durable before it answers; orthanc stores as received; bare node appends and synchronises'
  );
}

export function table(summaries: readonly Summary[], ours: string, peer: string | undefined): string {
  const rows = [
    ['kind', 'server', 'items/s', 'CPU ms/item', 'p50 ms', 'p99 ms', 'first byte', 'RSS MB', 'rate ratio', 'CPU ratio'],
  ];
  for (const summary of summaries) {
    const { kind, server, rateRatio, cpuRatio } = summary;
    // The peer's and the floor's rows carry the ratio of ours to them.
    const mine = server === ours ? undefined : summaries.find((one) => one.kind === kind && one.server === ours);
    rows.push([
      kind,
      server === peer ? `${server} (Debian)` : server,
      show(summary.rate, 0),
      show(summary.cpuMs, 2),
      show(summary.p50Ms, 1),
      show(summary.p99Ms, 1),
      show(summary.firstByteMs, 1),
      show(summary.peakMb, 0),
      mine === undefined ? (Object.keys(rateRatio).length === 0 ? 'alone' : '') : show(mine.rateRatio[server], 2),
      mine === undefined ? (Object.keys(cpuRatio).length === 0 ? 'alone' : '') : show(mine.cpuRatio[server], 2),
    ]);
  }
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function show(spread: Spread | undefined, digits: number): string {
  if (spread === undefined) return '-';
  const { median, min, max } = spread;
  return `${median.toFixed(digits)} [${min.toFixed(digits)}..${max.toFixed(digits)}]`;
}
