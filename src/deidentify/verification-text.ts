/** A verification report as a person reads it: plain text, columns by blanks. */
import type { Found, TextKept, Verification } from './verify.ts';

export function formatVerification(report: Verification): string {
  const { residue, uids, pixels } = report;
  const lines = [
    `Verification of study ${report.studyInstanceUID}`,
    `Project ${report.project}, ${report.instances} objects (${report.derived} derived), ${report.verifiedAt}`,
    '',
    `VERDICT: ${report.verdict}`,
    ...bullets(report.reasons),
    ...section('Remarks', bullets(report.remarks)),
    ...section(
      'Rule sets',
      report.ruleSets.map(
        ({ profile, hash, edition, instances }) => `  ${profile}  ${edition}  ${hash}  ${instances} objects`,
      ),
    ),
    ...section('Attributes by action', columns(Object.entries(report.counts))),
    ...section('Residue', [
      residue.searched
        ? `  ${residue.forms} forms of names, numbers and places and ${residue.originalUids} original UIDs searched in ${report.instances} objects: found in ${residue.foundIn}`
        : '  not searched: no way leads back from these pseudonyms',
      ...places(residue.found),
    ]),
    ...section('UIDs', [
      ...columns([
        ['in the study', uids.inStudy],
        ['elsewhere in the archive', uids.elsewhere],
        ['known, not here', uids.external],
        ['unknown', uids.unknown],
      ]),
      ...places(uids.unknownAt),
    ]),
    ...section('Pixels', [
      ...columns([
        ['images', pixels.images],
        ['searched for text', pixels.looked],
        ['places blanked', pixels.boxes],
        ['text cleaned (113101)', pixels.textCleaned],
        ['faces cleaned (113102)', pixels.facesCleaned],
        ...Object.entries(pixels.burnedIn).map(([say, count]) => [`burned-in annotation: ${say}`, count] as const),
        ...Object.entries(pixels.recognizable).map(([say, count]) => [`recognizable features: ${say}`, count] as const),
        ['identity may not be removed', pixels.identityNotRemoved],
      ]),
    ]),
    ...section(
      'Required attributes lost (type, attribute, SOP Class)',
      report.iodDelta.map(({ type, path, sopClassUID }) => `  ${type}  ${path}  ${sopClassUID}`),
    ),
    ...section('Text kept (different values, attribute)', report.textKept.flatMap(textLines)),
    ...section('Waiting in quarantine', [`  ${report.sealed} objects`]),
  ];
  return `${lines.join('\n')}\n`;
}

function section(title: string, lines: readonly string[]): string[] {
  return ['', title, ...(lines.length === 0 ? ['  none'] : lines)];
}

function bullets(sentences: readonly string[]): string[] {
  return sentences.map((sentence) => `  - ${sentence}`);
}

function columns(rows: readonly (readonly [string, number])[]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, count]) => `  ${name.padEnd(width)}  ${String(count).padStart(8)}`);
}

function places(found: readonly Found[]): string[] {
  return found.map(({ sopInstanceUID, path }) => `  ${path}  in ${sopInstanceUID}`);
}

/** Control characters of a hostile value would act on the reader's terminal. */
function textLines({ path, keyword, distinct, atLeast, values }: TextKept): string[] {
  const shown = values.map(
    (value) => `      ${JSON.stringify(value).replaceAll(/[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?')}`,
  );
  return [`  ${String(distinct).padStart(6)}${atLeast ? '+' : ' '} ${path} ${keyword}`, ...shown];
}
