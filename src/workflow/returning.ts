/**
 * Knows our own results again when a PACS forwards them back to us (many forward whatever arrives in a study): taken in as new they would
 * be derived from once more, and so on for ever. Holds keyed fingerprints only, so that the database links no result to its outward name.
 */
import { createHmac } from 'node:crypto';
import { asciiValue, type DataSet } from '../dicom/data-set.ts';
import { MANUFACTURER } from '../dicom/implementation.ts';
import type { Gateway } from '../gateway.ts';

/** Before the objects go out: a PACS may forward the first while the second is still on its way. */
export function rememberOutgoing(gateway: Gateway, sopInstanceUIDs: readonly string[]): void {
  gateway.database.transaction(() => {
    for (const uid of sopInstanceUIDs) {
      gateway.database.run('INSERT OR IGNORE INTO sent_out (fingerprint) VALUES (?)', fingerprint(gateway, uid));
    }
  });
}

/** Whether an object bears our name as its maker: what does not, nearly everything that comes, need not be looked up. */
export function bearsOurName(dataSet: DataSet): boolean {
  return asciiValue(dataSet, 0x00080070) === MANUFACTURER;
}

/** Whether we sent an object of this SOP Instance UID out ourselves. */
export function isReturning(gateway: Gateway, sopInstanceUID: string): boolean {
  return (
    gateway.database.get('SELECT 1 FROM sent_out WHERE fingerprint = ?', fingerprint(gateway, sopInstanceUID)) !==
    undefined
  );
}

function fingerprint(gateway: Gateway, uid: string): Buffer {
  return createHmac('sha256', gateway.wall.master).update('isthmus outgoing\n').update(uid).digest();
}
