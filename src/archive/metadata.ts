/** WADO-RS metadata: DICOM JSON made at arrival, given out as it is but for the base of its URLs. */
import type { Archive } from './handle.ts';
import { inflateDictionary, inflateMetadata } from './index-rows.ts';

export { BASE, withBase } from './attributes.ts';

export interface MetadataScope {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID?: string | undefined;
  readonly sopInstanceUID?: string | undefined;
}

/** One JSON object for each instance, in the order of `instancesOf`; URLs in it begin with BASE until `withBase` is applied. */
export function* metadataOf(archive: Pick<Archive, 'database'>, scope: MetadataScope): Generator<string> {
  const { database } = archive;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = scope;
  // A page at a time: a reader in the middle of an answer must not keep the database from being written.
  const where = ['study.study_uid = ?'];
  const values = [studyInstanceUID];
  if (seriesInstanceUID !== undefined) {
    where.push('series.series_uid = ?');
    values.push(seriesInstanceUID);
  }
  if (sopInstanceUID !== undefined) {
    where.push('instance.sop_uid = ?');
    values.push(sopInstanceUID);
  }
  const instances = database.all(
    `SELECT instance.id AS id, series.id AS series FROM study JOIN series ON series.study = study.id
       JOIN instance ON instance.series = series.id
     WHERE ${where.join(' AND ')} ORDER BY series.number, series.series_uid, instance.number, instance.sop_uid`,
    ...values,
  );
  let series = -1;
  let dictionary: Buffer = Buffer.alloc(0);
  for (const { id, series: itsSeries } of instances) {
    if (itsSeries !== series) {
      series = Number(itsSeries);
      const row = database.get('SELECT dictionary FROM series WHERE id = ?', series);
      if (row === undefined) continue;
      dictionary = inflateDictionary(row['dictionary'] as Buffer);
    }
    const row = database.get('SELECT json FROM metadata WHERE instance = ?', Number(id));
    // Deleted since the list was made.
    if (row !== undefined) yield inflateMetadata(row['json'] as Buffer, dictionary);
  }
}
