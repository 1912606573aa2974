/**
 * The answer key against the engine, at full size.
 *   npm run answer-key -- --seed N [--patients N] [--profile NAME] [--out FOLDER] [--failures N]
 * With --out it leaves the studies before and after, and the key as CBIIT/MIDI_validation_script reads it: an SQLite file and two tables
 * of old and new identifiers. Ends with 1 when a threshold of test/deidentify/answer-key.test.ts is missed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { THRESHOLDS, take } from './take.ts';
import { makeAnswerKey } from './make.ts';
import type { Tally } from './score.ts';
import { writeScriptFiles } from './script-files.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    patients: { type: 'string', default: '20' },
    profile: { type: 'string', default: 'research-longitudinal' },
    out: { type: 'string' },
    failures: { type: 'string', default: '0' },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const percent = ({ passed, total }: Tally): string => `${((100 * passed) / total).toFixed(3)} %`;
const line = (name: string, tally: Tally): void =>
  say(`${name.padEnd(22)}${String(tally.passed).padStart(8)}${String(tally.total).padStart(8)}  ${percent(tally)}`);

const key = makeAnswerKey(Number(values.seed), Number(values.patients));
const { score, files, held } = await take(key, values.profile);
say(
  `seed ${values.seed}, profile ${values.profile}: ${key.objects.length} objects of ${new Set(key.objects.map((object) => object.sopClassUID)).size} SOP classes, ${held} held back`,
);
say(`${'action'.padEnd(22)}${'passed'.padStart(8)}${'of'.padStart(8)}`);
for (const [name, tally] of [...score.byAction].sort()) line(name, tally);
say('');
for (const [name, tally] of [...score.byCategory].sort()) line(name, tally);
say('');
line('all', score.overall);
for (const { row, found } of score.failed.slice(0, Number(values.failures)))
  say(
    `\n${row.object.name} ${row.path} ${row.keyword} ${row.action} ${row.category}\n  planted ${row.value}\n  asked   ${row.text}\n  found   ${found ?? '(nothing)'}`,
  );
if (values.out !== undefined) {
  for (const [folder, list] of [
    ['before', key.objects.map(({ name, bytes }) => [name, bytes] as const)],
    ['after', [...files]],
  ] as const) {
    mkdirSync(join(values.out, folder), { recursive: true });
    for (const [name, bytes] of list) writeFileSync(join(values.out, folder, name), bytes);
  }
  writeScriptFiles(values.out, key, score.mappings);
}
const missed = THRESHOLDS.filter(({ holds }) => !holds(score)).map(({ name }) => name);
if (missed.length > 0) {
  say(`missed: ${missed.join(', ')}`);
  process.exitCode = 1;
}
