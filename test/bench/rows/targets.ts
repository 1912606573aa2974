/** What each row has to reach beside Debian's Orthanc in the same run, and the one table that says whether it does. */
import type { Holdings } from './filling.ts';
import type { Spread, Summary } from '../report.ts';

/** At least so many times the peer's rate, or so many times less CPU; at most so many milliseconds. */
interface Target {
  readonly kind: string;
  readonly work: string;
  readonly rateRatio?: number;
  readonly cpuRatio?: number;
  readonly cpuMs?: number;
  readonly firstByteMs?: number;
}

const TARGETS: readonly Target[] = [
  ...['1x1', '1x4', '50x1', '50x4'].map((plan) => ({
    kind: `stow-${plan}`,
    work: `STOW 526 KB, ${plan.split('x')[0]} a request, ${plan.split('x')[1]} clients`,
    rateRatio: 2,
    cpuMs: 2.2,
  })),
  { kind: 'cstore-x1', work: 'C-STORE, unmodified storescu', rateRatio: 10, cpuMs: 2 },
  { kind: 'cstore-x4', work: 'C-STORE, 4 unmodified storescu', cpuMs: 2 },
  { kind: 'cstore-nodelay-x1', work: 'C-STORE, NODELAY at both ends', rateRatio: 1.7, cpuMs: 2 },
  { kind: 'cstore-nodelay-x4', work: 'C-STORE, 4 senders, NODELAY at both ends', rateRatio: 1.7, cpuMs: 2 },
  { kind: 'qido-study-by-patient', work: 'QIDO study by PatientID, 22 000 instances', cpuRatio: 20 },
  { kind: 'qido-study-by-uid', work: 'QIDO study by UID, 22 000 instances', cpuRatio: 20 },
  { kind: 'qido-date-range-25', work: 'QIDO date range, limit 25', cpuRatio: 50 },
  { kind: 'qido-instances-of-series', work: 'QIDO instances of a series of 130', cpuRatio: 50 },
  { kind: 'metadata-200-again', work: 'metadata of a series of 200, again', cpuRatio: 50 },
  { kind: 'metadata-200-first', work: 'metadata of a series of 200, first time', cpuRatio: 20 },
  { kind: 'instance', work: 'one instance, 526 KB', cpuRatio: 3 },
  { kind: 'frame', work: 'one frame, 524 KB', cpuRatio: 4 },
  { kind: 'study-of-200', work: 'study of 200, 105 MB', rateRatio: 1.5, firstByteMs: 2 },
  { kind: 'rendered-first', work: 'rendered JPEG of a frame, first time', cpuRatio: 1 },
  { kind: 'rendered-again', work: 'rendered JPEG of a frame, again', cpuRatio: 10 },
];
const MOST_RESIDENT_MB = 250;
const MOST_GROWTH = 1.3;
/** Two equal servers under this comparison differ by so much. */
const PARITY = 0.85;

export function targetTable(
  summaries: readonly Summary[],
  names: { readonly ours: string; readonly peer: string | undefined; readonly floor: string | undefined },
  held: { readonly ours: Holdings | undefined; readonly peer: Holdings | undefined },
): string {
  const of = (kind: string, server: string | undefined): Summary | undefined =>
    summaries.find((one) => one.kind === kind && one.server === server);
  const rows = [
    [
      'work',
      'CPU ms',
      'Orthanc',
      'floor',
      'CPU ratio',
      'items/s',
      'Orthanc',
      'rate ratio',
      'p99 ms',
      'first byte ms',
      'RSS MB',
      'target',
      '',
    ],
  ];
  for (const target of TARGETS) {
    const ours = of(target.kind, names.ours);
    if (ours === undefined) continue;
    const peer = of(target.kind, names.peer);
    const cpu = names.peer === undefined ? undefined : ours.cpuRatio[names.peer];
    const rate = names.peer === undefined ? undefined : ours.rateRatio[names.peer];
    rows.push([
      target.work,
      show(ours.cpuMs, 2),
      show(peer?.cpuMs, 2),
      show(of(target.kind, names.floor)?.cpuMs, 2),
      show(cpu, 1),
      show(ours.rate, 0),
      show(peer?.rate, 0),
      show(rate, 2),
      show(ours.p99Ms, 1),
      show(ours.firstByteMs, 1),
      show(ours.peakMb, 0),
      wording(target),
      verdict(target, ours, cpu, rate),
    ]);
  }
  const missing = TARGETS.filter(({ kind }) => of(kind, names.ours) === undefined).map(({ work }) => work);
  return [
    aligned(rows),
    ...(missing.length === 0 ? [] : [`not measured in this run: ${missing.join('; ')}`]),
    ...restOf(summaries, names, held),
    `scale (p99, rate and start-up at 1 M and 5 M within ${MOST_GROWTH}x of 22 000): node test/bench/scale.ts --instances 5000000`,
  ].join('\n');
}

function wording({ rateRatio, cpuRatio, cpuMs, firstByteMs }: Target): string {
  return [
    rateRatio === undefined ? '' : `rate >= ${rateRatio}x`,
    cpuRatio === undefined ? '' : cpuRatio === 1 ? 'CPU parity' : `CPU >= ${cpuRatio}x`,
    cpuMs === undefined ? '' : `<= ${cpuMs} ms`,
    firstByteMs === undefined ? '' : `first byte <= ${firstByteMs} ms`,
  ]
    .filter((text) => text !== '')
    .join(', ');
}

function verdict(target: Target, ours: Summary, cpu: Spread | undefined, rate: Spread | undefined): string {
  const { rateRatio, cpuRatio, cpuMs, firstByteMs } = target;
  const wanted = [
    rateRatio === undefined ? true : rate === undefined ? undefined : rate.median >= rateRatio,
    cpuRatio === undefined ? true : cpu === undefined ? undefined : cpu.median >= (cpuRatio === 1 ? PARITY : cpuRatio),
    cpuMs === undefined ? true : ours.cpuMs.median <= cpuMs,
    firstByteMs === undefined ? true : (ours.firstByteMs?.median ?? Infinity) <= firstByteMs,
  ];
  return wanted.includes(undefined) ? 'no peer' : wanted.includes(false) ? 'NOT MET' : 'met';
}

function restOf(
  summaries: readonly Summary[],
  { ours, peer }: { readonly ours: string; readonly peer: string | undefined },
  held: { readonly ours: Holdings | undefined; readonly peer: Holdings | undefined },
): string[] {
  const lines: string[] = [];
  const peak = (server: string | undefined): number =>
    Math.max(0, ...summaries.filter((one) => one.server === server).map(({ peakMb }) => peakMb.max));
  const highest = peak(ours);
  lines.push(
    '',
    `peak RSS under any load: ${highest.toFixed(0)} MB (Orthanc ${peer === undefined ? '-' : peak(peer).toFixed(0)} MB); target <= ${MOST_RESIDENT_MB} MB: ${highest <= MOST_RESIDENT_MB ? 'met' : 'NOT MET'}`,
  );
  if (held.ours !== undefined) {
    const disk = (what: string, mine: number, theirs: number | undefined, most: number): string =>
      `bytes on disk per byte stored, ${what}: ${mine.toFixed(3)} (Orthanc ${theirs?.toFixed(3) ?? '-'}); target <= ${most}: ${mine <= most ? 'met' : 'NOT MET'}`;
    lines.push(
      disk('CT 512x512', held.ours.ctOnDisk, held.peer?.ctOnDisk, 1.01),
      disk('64x64', held.ours.smallOnDisk, held.peer?.smallOnDisk, 1.15),
      `STOW of 22 000 of 64x64, 100 a request, 4 clients: ${held.ours.smallRate.toFixed(0)}/s, ${held.ours.smallCpuMs.toFixed(2)} ms CPU` +
        ` (Orthanc ${held.peer?.smallRate.toFixed(0) ?? '-'}/s, ${held.peer?.smallCpuMs.toFixed(2) ?? '-'} ms); one run`,
    );
  }
  return lines;
}

function aligned(rows: readonly (readonly string[])[]): string {
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
