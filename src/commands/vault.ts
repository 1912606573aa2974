/** Commands of the privacy officer at the machine itself: keys, and erasing people. The gateway must be down. */
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import { subjectOf } from '../admin/vault.ts';
import { readConfig } from '../config.ts';
import { resealRows } from '../deidentify/reseal.ts';
import { newestGeneration, rewrapSecrets, type KeySource } from '../deidentify/vault.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import { closeGateway, openGateway, type Gateway } from '../gateway.ts';
import { openLog } from '../log.ts';
import { beginErasure, continueErasures, listErasures, readErasure, type ErasureSubject } from '../workflow/erase.ts';

/** @returns the exit status; undefined when it was called wrongly */
export async function vaultCommand(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { 'to-file': { type: 'string' }, 'to-env': { type: 'string' }, 'to-command': { type: 'string' } },
  });
  const [verb] = positionals;
  if (verb !== 'status' && verb !== 'rotate' && verb !== 'reseal') return undefined;
  const config = readConfig();
  // Before the gateway is opened: a target that cannot be used changes nothing.
  const target = verb === 'rotate' ? keyTarget(values) : undefined;
  return withGateway((gateway) => {
    const { database, wall } = gateway;
    if (target !== undefined) {
      const secrets = rewrapSecrets(database, config.crosswalkKey, target.source);
      note(gateway, { action: 'rotate crosswalk key', secrets });
      print({ secrets, next: target.next });
    } else if (verb === 'reseal') {
      const resealed = resealRows(wall, config.crosswalkKey);
      note(gateway, { action: 'reseal crosswalk', ...resealed });
      print(resealed);
    } else {
      const counted = (table: string): number =>
        Number(database.get(`SELECT count(*) AS rows FROM ${table}`)?.['rows'] ?? 0);
      print({
        generation: newestGeneration(wall),
        patients: counted('crosswalk_patient'),
        merged: counted('crosswalk_merged'),
        studies: counted('crosswalk_study'),
        uids: counted('crosswalk_uid'),
      });
    }
    return Promise.resolve(0);
  });
}

interface KeyTarget {
  readonly source: KeySource;
  readonly next: string;
}

function keyTarget(values: Readonly<Record<string, string | undefined>>): KeyTarget {
  const { 'to-file': file, 'to-env': variable, 'to-command': command } = values;
  if ([file, variable, command].filter((one) => one !== undefined).length !== 1)
    throw new Refusal('BadRequest', 'one of --to-file, --to-env and --to-command is needed');
  if (file !== undefined)
    return {
      source: { keyFile: file },
      next: 'set crosswalk.keyFile in gateway.yaml to this file, then destroy the old key',
    };
  if (command !== undefined) {
    const words = command.split(/\s+/).filter((word) => word !== '');
    return {
      source: { keyFile: '', command: words },
      next: `set crosswalk.keyCommand in gateway.yaml to ${JSON.stringify(words)}, then destroy the old key`,
    };
  }
  const keyHex = process.env[variable ?? ''];
  if (keyHex === undefined) throw new Refusal('BadRequest', 'the variable that --to-env names is not set');
  return {
    source: { keyFile: '', keyHex },
    next: 'give this key to the gateway as ISTHMUS_CROSSWALK_KEY, then destroy the old one',
  };
}

/** @returns the exit status: 1 while something of the person is still being worked on */
export async function eraseCommand(args: string[]): Promise<number | undefined> {
  const { values } = parseArgs({
    args,
    options: {
      project: { type: 'string' },
      pseudonym: { type: 'string' },
      record: { type: 'string' },
      reason: { type: 'string' },
      reference: { type: 'string' },
    },
  });
  const { reason, reference, record, ...pseudonym } = values;
  if (reason === undefined || reference === undefined) return undefined;
  // From a file: an identifier on the command line would stand in the list of processes and in the shell's history.
  const subject = subjectOf({ ...pseudonym, ...(record === undefined ? {} : { record: await readRecord(record) }) });
  return withGateway(async (gateway) => {
    const id = begun(gateway, subject, { actor: operator(), reason, reference });
    await continueErasures(gateway);
    const erasure = readErasure(gateway, id);
    print(erasure);
    return erasure.state === 'DONE' ? 0 : 1;
  });
}

/** One that was asked for alike and cut off goes on: of whom it was may be forgotten already. */
function begun(gateway: Gateway, subject: ErasureSubject, request: Parameters<typeof beginErasure>[2]): string {
  const asked = `${request.reason} ${request.reference}`.trim();
  const cutOff = listErasures(gateway).find(({ state, reason }) => state === 'RUNNING' && reason === asked);
  try {
    return beginErasure(gateway, subject, request);
  } catch (error) {
    if (cutOff === undefined || !(error instanceof Refusal) || error.reason !== 'NotFound') throw error;
    return cutOff.id;
  }
}

async function readRecord(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Refusal('BadRequest', 'the record file is no JSON; {"issuer": "...", "id": "..."} is expected');
  }
}

async function withGateway(work: (gateway: Gateway) => Promise<number>): Promise<number> {
  const gateway = await openGateway(readConfig(), openLog('silent'));
  try {
    return await work(gateway);
  } finally {
    await closeGateway(gateway);
  }
}

function note(gateway: Gateway, facts: Readonly<Record<string, string | number>>): void {
  recordAudit(gateway.audit, 'Application Activity', operator(), facts);
}

function operator(): string {
  return `console:${userInfo().username}`;
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
