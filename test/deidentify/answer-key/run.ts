/**
 * The answer key against the engine, at full size.
 *   npm run answer-key -- --seed N [--patients N] [--profile NAME] [--out FOLDER] [--failures N] [--images N]
 * --images takes as many images with burned-in text besides (default 0: they need the detector and time), under gdpr-pseudonymise.
 * With --out it leaves the studies before and after, and the key as CBIIT/MIDI_validation_script reads it: an SQLite file and two tables
 * of old and new identifiers. Ends with 1 when a threshold of test/deidentify/answer-key.test.ts is missed.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { closeCodecs, openCodecs } from '../../../src/codecs/pool.ts';
import { readConfig } from '../../../src/config.ts';
import { compileProfile } from '../../../src/deidentify/profile.ts';
import { openDetector, openPixelTools } from '../../../src/gateway/wall.ts';
import { closePool } from '../../../src/pipelines/pool.ts';
import { fileOf } from '../support.ts';
import { makeBurned, scoreBurned, throughEngine, type BurnedScore } from './burned.ts';
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
    images: { type: 'string', default: '0' },
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
const images = Number(values.images) > 0 ? await burnedIn(Number(values.seed), Number(values.images)) : undefined;
if (images !== undefined) {
  say(`\n${values.images} images, ${images.held} held back`);
  line('pixels_hidden', images.hidden);
  line('pixels_retained', images.retained);
  for (const what of images.failed.slice(0, Number(values.failures))) say(`  ${what}`);
}
const missed = THRESHOLDS.filter(({ holds }) => !holds(score)).map(({ name }) => name);
if (images !== undefined && images.hidden.passed < 0.99 * images.hidden.total) missed.push('pixels hidden >= 99 %');
if (missed.length > 0) {
  say(`missed: ${missed.join(', ')}`);
  process.exitCode = 1;
}

async function burnedIn(seed: number, count: number): Promise<BurnedScore> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-burned-'));
  const config = readConfig({ ISTHMUS_DATA: folder });
  const codecs = openCodecs();
  const detector = await openDetector(config);
  try {
    const tools = openPixelTools(config, codecs, detector);
    if (tools === undefined) throw new Error('there is no model that finds text');
    const engine = throughEngine(compileProfile(fileOf('gdpr-pseudonymise')), tools);
    return await scoreBurned(await makeBurned(seed, count, tools), tools, engine);
  } finally {
    await closeCodecs(codecs);
    await closePool(detector);
    rmSync(folder, { recursive: true, force: true });
  }
}
