/** How the gateway is doing, in numbers. */
import { freeBytes } from '../archive/room.ts';
import { totalsOf, type Totals } from '../archive/studies.ts';
import { readLedger, type LedgerRow } from '../delivery/ledger.ts';
import type { Gateway } from '../gateway.ts';
import { countHeld, heldByReason } from '../quarantine.ts';
import { countWork, endedWork, liveWork, type LiveWork, type WorkItemState } from '../workitems.ts';

export interface Status {
  readonly studies: number;
  readonly openStudies: number;
  readonly work: Readonly<Record<WorkItemState, number>>;
  readonly held: number;
  readonly ruleRevision: string;
  /** Why the rules file as it stands is not in force; the revision is the last that could be used. */
  readonly rulesRefused?: string;
  readonly nodes: readonly string[];
  readonly profiles: readonly string[];
  /** Into which project and under which profile the rules let objects. */
  readonly admission: readonly { readonly project: string; readonly profile: string }[];
}

export function readStatus(gateway: Gateway): Status {
  const { refused: rulesRefused } = gateway.rulebook;
  const count = (sql: string): number => Number(gateway.database.get(sql)?.['n'] ?? 0);
  return {
    studies: count('SELECT count(*) AS n FROM study_clock'),
    openStudies: count("SELECT count(*) AS n FROM study_clock WHERE state = 'open'"),
    work: countWork(gateway.workItems),
    held: countHeld(gateway.quarantine),
    ruleRevision: gateway.rules.revision,
    ...(rulesRefused === undefined ? {} : { rulesRefused }),
    nodes: [...gateway.config.nodes.keys()],
    profiles: [...gateway.profiles.keys()],
    admission: gateway.rules.admission.map(({ project, profile }) => ({ project, profile })),
  };
}

/** What an operator watches over time (/metrics): cheap at any size of archive and queue. */
export interface Figures {
  readonly archive: Totals;
  readonly openStudies: number;
  readonly withheldStudies: number;
  readonly work: readonly LiveWork[];
  /** In the last 24 hours. */
  readonly ended: ReturnType<typeof endedWork>;
  /** Deliveries that have failed and wait for another attempt, by node. */
  readonly unreachable: ReadonlyMap<string, number>;
  readonly held: readonly { readonly reason: string; readonly objects: number; readonly bytes: number }[];
  /** The rules file has been edited, and the edit cannot be used. */
  readonly areRulesRefused: boolean;
  readonly diskFreeBytes: number;
  readonly diskReserveBytes: number;
}

const DAY_MS = 86_400_000;

export async function readFigures({
  archive,
  config,
  database,
  quarantine,
  rulebook,
  workItems,
}: Gateway): Promise<Figures> {
  const count = (sql: string): number => Number(database.get(sql)?.['n'] ?? 0);
  const failing = database.all(
    `SELECT json_extract(parameters, '$.node') AS node, count(*) AS items FROM work_item
     WHERE kind = 'deliver' AND state = 'IN PROGRESS' AND last_error IS NOT NULL GROUP BY node`,
  );
  return {
    archive: totalsOf(archive),
    openStudies: count("SELECT count(*) AS n FROM study_clock WHERE state = 'open'"),
    withheldStudies: count('SELECT count(*) AS n FROM study_withheld WHERE accepted IS NULL'),
    work: liveWork(workItems),
    ended: endedWork(workItems, workItems.now() - DAY_MS),
    unreachable: new Map(
      [...config.nodes.keys()].map((node) => [
        node,
        Number(failing.find((row) => row['node'] === node)?.['items'] ?? 0),
      ]),
    ),
    held: heldByReason(quarantine),
    areRulesRefused: rulebook.refused !== undefined,
    diskFreeBytes: await freeBytes(archive),
    diskReserveBytes: config.archive.reserveBytes,
  };
}

/** What has gone where of a study (pseudonym). */
export function studyLedger(gateway: Gateway, studyInstanceUID: string): LedgerRow[] {
  return readLedger(gateway.database, studyInstanceUID);
}
