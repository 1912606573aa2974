/** The rules in force follow config/rules.yaml while the gateway runs; a file that cannot be used leaves the last good revision in force. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { readRules } from '../config.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';

/** Looks whether the file has changed since the last look; a changed one is checked and, when it is good, in force from now on. */
export function followRules(gateway: Gateway): void {
  const { rulebook } = gateway;
  const seen = stampOf(gateway.config.folder);
  if (seen === rulebook.seen) return;
  const first = rulebook.seen === '';
  rulebook.seen = seen;
  try {
    const rules = readRules(gateway.config.folder, gateway.config);
    rulebook.refused = undefined;
    if (rules.revision === gateway.rules.revision) return;
    const { revision } = gateway.rules;
    gateway.rules = rules;
    recordAudit(gateway.audit, 'Application Activity', 'timetable', {
      action: 'rules',
      from: revision,
      to: rules.revision,
    });
    gateway.log.warn('rules in force', { revision: rules.revision, before: revision });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    rulebook.refused = error.message;
    gateway.log.error('rules refused', { found: error.message, inForce: gateway.rules.revision, atStart: first });
  }
}

/** Changes with every edit that is written to the file, whether in place or by rename. */
function stampOf(folder: string): string {
  const found = statSync(join(folder, 'rules.yaml'), { throwIfNoEntry: false, bigint: true });
  return found === undefined ? 'absent' : `${found.ino} ${found.mtimeNs} ${found.size}`;
}
