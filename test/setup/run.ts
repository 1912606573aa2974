/**
 * Every check of the project, one after another: types, lint, format, then the tests on Node's own runner.
 * Says loudly which checks did not run and why; ends with one line `N passed, N failed, N skipped`.
 *   npm test                     everything
 *   npm test -- test/dimse       the test files whose path contains one of these words (types, lint and format still run)
 */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
if (!process.versions.node.startsWith('24.')) {
  console.error(`Node ${process.versions.node} runs this, Node 24 is needed: use "npm test", which brings it`);
  process.exit(1);
}

let passed = 0;
let failed = 0;
const skipped = new Map<string, string[]>();
const failures: string[] = [];

function check(name: string, command: string, args: readonly string[]): void {
  const started = Date.now();
  const result = spawnSync(join(root, 'node_modules', '.bin', command), args, { cwd: root, encoding: 'utf8' });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (result.status === 0) {
    passed++;
    console.log(`ok    ${name} (${seconds} s)`);
  } else {
    failed++;
    failures.push(name);
    console.log(`FAIL  ${name} (${seconds} s)\n${result.stdout}${result.stderr}`);
  }
}

check('types', 'tsc', ['--noEmit']);
check('lint', 'eslint', ['.', '--max-warnings', '0']);
check('format', 'prettier', ['--check', '--log-level', 'warn', '.']);

const words = process.argv.slice(2);
const files = globSync('test/**/*.test.ts', { cwd: root })
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort()
  .map((file) => join(root, file));

const stream = run({ files, concurrency: 2, timeout: 900_000 });
stream.on('test:pass', (event) => {
  if (isFile(event.name)) return;
  if (event.skip !== undefined && event.skip !== false) {
    const reason = typeof event.skip === 'string' && event.skip !== '' ? event.skip : 'no reason given';
    skipped.set(reason, [...(skipped.get(reason) ?? []), event.name]);
  } else if (event.details.type !== 'suite') passed++;
});
stream.on('test:fail', (event) => {
  if (event.details.type === 'suite' && event.details.error.cause !== undefined) {
    const { failureType } = event.details.error as { failureType?: string };
    if (failureType === 'subtestsFailed') return;
  }
  failed++;
  failures.push(`${event.file ?? ''} > ${event.name}`);
  console.log(`FAIL  ${event.file?.replace(`${root}/`, '') ?? ''} > ${event.name}`);
  console.log(
    indent(
      String(event.details.error.cause instanceof Error ? event.details.error.cause.stack : event.details.error.cause),
    ),
  );
});
stream.on('test:complete', ({ name, file, details }) => {
  if (isFile(name))
    console.log(`done  ${(file ?? name).replace(`${root}/`, '')} (${(details.duration_ms / 1000).toFixed(1)} s)`);
});
stream.on('test:stderr', ({ message }) => process.stderr.write(message));
await new Promise<void>((resolve) => {
  stream.on('end', resolve);
  stream.resume();
});

if (skipped.size > 0) {
  console.log('\nNOT RUN:');
  for (const [reason, names] of skipped)
    console.log(`  ${names.length} checks: ${reason}\n${names.map((name) => `      ${name}`).join('\n')}`);
}
if (failures.length > 0) console.log(`\nFAILED:\n${failures.map((name) => `  ${name}`).join('\n')}`);
const skips = [...skipped.values()].reduce((sum, names) => sum + names.length, 0);
if (files.length === 0) failed++;
console.log(`\n${passed} passed, ${failed} failed, ${skips} skipped`);
process.exit(failed === 0 ? 0 : 1);

function isFile(name: string): boolean {
  return name.endsWith('.test.ts');
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `      ${line}`)
    .join('\n');
}
