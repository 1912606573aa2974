/**
 * The hospital finds that two records are one person (HL7 ADT A40), or that it was wrong. From a merge on both lead to one pseudonym;
 * what was stored before keeps the pseudonym and the dates it was given, since a viewer may have cited them, and is told of.
 */
import { Refusal } from '../dicom/refusal.ts';
import { domainOf, forgetInMemory, type Wall } from './wall.ts';
import { findStudy, rewriteStudy, studiesOfPatient } from './crosswalk.ts';
import { knownPseudonym, patientPseudonym, survivorOf } from './patients.ts';

/** As the hospital writes it. */
export interface PatientRecord {
  /** Issuer of Patient ID (0010,0021); empty when the objects name none. */
  readonly issuer: string;
  /** Patient ID (0010,0020). */
  readonly id: string;
}

export interface Merged {
  /** The record that is no more. */
  readonly pseudonym: string;
  readonly survivor: string;
  /** Studies that stay under the pseudonym they were stored with; their results go back under the surviving record. */
  readonly earlierStudies: readonly string[];
}

/** @throws Refusal BadRequest when both lead to one pseudonym already */
export function mergePatients(wall: Wall, project: string, from: PatientRecord, into: PatientRecord): Merged {
  const domain = domainOf(wall, project);
  return wall.database.transaction(() => {
    const survivor = patientPseudonym(wall, domain, into.issuer, into.id).pseudonym;
    const pseudonym = patientPseudonym(wall, domain, from.issuer, from.id).pseudonym;
    if (pseudonym === survivor) throw new Refusal('BadRequest', 'the two records lead to one pseudonym already');
    wall.database.run(
      'INSERT INTO crosswalk_merged (project, pseudonym, survivor) VALUES (?, ?, ?)',
      project,
      pseudonym,
      survivor,
    );
    domain.patients.clear();
    forgetInMemory(wall);
    const earlierStudies = studiesUnder(wall, project, pseudonym);
    // The PACS files them under the surviving record now: a result under the old one would hang with nobody.
    for (const study of earlierStudies) renameRecord(wall, project, study, into);
    return { pseudonym, survivor, earlierStudies };
  });
}

function renameRecord(wall: Wall, project: string, study: string, record: PatientRecord): void {
  const row = findStudy(wall, project, study);
  if (row === undefined) return;
  const { '00100021': _issuer, ...attributes } = row.attributes;
  const issuer = record.issuer === '' ? {} : { '00100021': record.issuer };
  rewriteStudy(wall, project, study, { ...row, attributes: { ...attributes, '00100020': record.id, ...issuer } });
}

/** Parts two records again: each has the pseudonym and the results it had before. @throws Refusal NotFound when they were not merged */
export function partPatients(wall: Wall, project: string, from: PatientRecord): { readonly pseudonym: string } {
  return wall.database.transaction(() => {
    const pseudonym = knownPseudonym(wall, project, from.issuer, from.id);
    const { changes } =
      pseudonym === undefined
        ? { changes: 0 }
        : wall.database.run('DELETE FROM crosswalk_merged WHERE project = ? AND pseudonym = ?', project, pseudonym);
    if (pseudonym === undefined || changes === 0)
      throw new Refusal('NotFound', 'the record was not merged into another');
    domainOf(wall, project).patients.clear();
    forgetInMemory(wall);
    for (const study of studiesUnder(wall, project, pseudonym)) renameRecord(wall, project, study, from);
    return { pseudonym };
  });
}

function studiesUnder(wall: Wall, project: string, pseudonym: string): string[] {
  return recordsUnder(wall, project, pseudonym).flatMap((one) => studiesOfPatient(wall, project, one));
}

/** Every pseudonym that stands for one person in a project, whichever of them is given. */
export function recordsOf(wall: Wall, project: string, pseudonym: string): string[] {
  return recordsUnder(wall, project, survivorOf(wall, project, pseudonym));
}

/** A pseudonym and all that were merged into it. */
function recordsUnder(wall: Wall, project: string, pseudonym: string): string[] {
  const records = [pseudonym];
  for (let next = 0; next < records.length; next++) {
    const rows = wall.database.all(
      'SELECT pseudonym FROM crosswalk_merged WHERE project = ? AND survivor = ? ORDER BY pseudonym',
      project,
      records[next] ?? '',
    );
    records.push(...rows.map((row) => row['pseudonym'] as string));
  }
  return records;
}
