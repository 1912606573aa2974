/** How the gateway is doing, in numbers. */
import { readLedger, type LedgerRow } from '../delivery/ledger.ts';
import type { Gateway } from '../gateway.ts';
import { countHeld } from '../quarantine.ts';
import { countWork, type WorkItemState } from '../workitems.ts';

export interface Status {
  readonly studies: number;
  readonly openStudies: number;
  readonly work: Readonly<Record<WorkItemState, number>>;
  readonly held: number;
  readonly ruleRevision: string;
  readonly nodes: readonly string[];
  readonly profiles: readonly string[];
  /** Into which project and under which profile the rules let objects. */
  readonly admission: readonly { readonly project: string; readonly profile: string }[];
}

export function readStatus(gateway: Gateway): Status {
  const count = (sql: string): number => Number(gateway.database.get(sql)?.['n'] ?? 0);
  return {
    studies: count('SELECT count(*) AS n FROM study_clock'),
    openStudies: count("SELECT count(*) AS n FROM study_clock WHERE state = 'open'"),
    work: countWork(gateway.workItems),
    held: countHeld(gateway.quarantine),
    ruleRevision: gateway.rules.revision,
    nodes: [...gateway.config.nodes.keys()],
    profiles: [...gateway.profiles.keys()],
    admission: gateway.rules.admission.map(({ project, profile }) => ({ project, profile })),
  };
}

/** What has gone where of a study (pseudonym). */
export function studyLedger(gateway: Gateway, studyInstanceUID: string): LedgerRow[] {
  return readLedger(gateway.database, studyInstanceUID);
}
