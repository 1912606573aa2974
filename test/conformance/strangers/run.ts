/**
 * Strangers' tools against real gateways: each suite tells what held, what failed and, loudly, what was not run and why.
 *   npm run conformance                   every suite
 *   npm run conformance -- dcmtk ohif     these
 *   npm run conformance -- --complete     what was not run counts as failed
 */
import { dcmtkSuite } from './dcmtk.ts';
import { dimseJsSuite } from './dcmjs-dimse.ts';
import { javascriptSuite } from './dicomweb-client-js.ts';
import { ohifSuite } from './ohif.ts';
import { orthancSuite } from './orthanc.ts';
import { orthancTestsSuite } from './orthanc-tests.ts';
import { pythonSuite } from './dicomweb-client-python.ts';
import { runSuite, type Outcome } from './suite.ts';
import { openTools } from './tools.ts';

const SUITES = [dcmtkSuite, orthancSuite, pythonSuite, javascriptSuite, dimseJsSuite, orthancTestsSuite, ohifSuite];

if (!process.versions.node.startsWith('24.')) {
  console.error(
    `Node ${process.versions.node} runs this, Node 24 is needed: use "npm run conformance", which brings it`,
  );
  process.exit(1);
}
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const complete = process.argv.includes('--complete');
const unknown = words.filter((word) => !SUITES.some(({ name }) => name === word));
if (unknown.length > 0) {
  console.error(`no such suite: ${unknown.join(', ')}; there are ${SUITES.map(({ name }) => name).join(', ')}`);
  process.exit(1);
}

const tools = openTools();
const outcomes: Outcome[] = [];
for (const suite of SUITES) {
  if (words.length === 0 || words.includes(suite.name)) outcomes.push(await runSuite(suite, tools));
}

const WIDTHS = [16, 8, 8, 9, 9, 9] as const;
const row = (...cells: (string | number)[]): string =>
  cells
    .map((cell, n) => (n === 0 ? String(cell).padEnd(WIDTHS[n] ?? 0) : String(cell).padStart(WIDTHS[n] ?? 0)))
    .join('');
console.log(`\n${row('suite', 'passed', 'failed', 'differs', 'not run', 'seconds')}`);
for (const { suite, passed, failed, differing, notRun, seconds } of outcomes)
  console.log(row(suite, passed.length, failed.length, differing.length, notRun.length, seconds.toFixed(1)));
const missing = outcomes.flatMap(({ suite, notRun }) => notRun.map(([name, why]) => `  ${suite} > ${name}: ${why}`));
if (missing.length > 0) console.log(`\nNOT RUN:\n${missing.join('\n')}`);
const failures = outcomes.flatMap(({ suite, failed }) => failed.map((name) => `  ${suite} > ${name}`));
if (failures.length > 0) console.log(`\nFAILED:\n${failures.join('\n')}`);
const passes = outcomes.reduce((sum, { passed }) => sum + passed.length, 0);
const differences = outcomes.reduce((sum, { differing }) => sum + differing.length, 0);
console.log(
  `\n${passes} passed, ${failures.length} failed, ${differences} differ on purpose, ${missing.length} not run`,
);
process.exit(failures.length > 0 || passes === 0 || (complete && missing.length > 0) ? 1 : 0);
