/** What becomes of an arrival whose SOP Instance UID is there already: nothing to do, a replacement, or a refusal. */
import { Refusal } from '../dicom/refusal.ts';
import type { Archive, Arrival, Waiting } from './handle.ts';
import { instanceOf, readInstance, readInstanceBody, type InstanceRow } from './instance-rows.ts';
import { SPOOL_OFFSET } from './pack-writing.ts';

export interface Planned extends Waiting {
  readonly replaces: InstanceRow | undefined;
}

/** Undefined when there is nothing to write, the sender having been answered. */
export async function decide(archive: Archive, one: Waiting): Promise<Planned | undefined> {
  const { arrival } = one;
  const stored = instanceOf(archive, arrival.described.sopInstanceUID);
  if (arrival.inPlaceOf !== undefined && stored?.version !== arrival.inPlaceOf) {
    one.resolve({ outcome: 'gone', studyKey: stored?.studyKey ?? 0 });
    return undefined;
  }
  if (stored === undefined) return { ...one, replaces: undefined };
  const same =
    stored.lengthBytes === arrival.lengthBytes &&
    stored.crc === arrival.crc &&
    (await sameBytes(archive, stored, arrival));
  const { duplicates } = archive.options;
  if (same || (duplicates === 'keep-first' && arrival.inPlaceOf === undefined)) {
    one.resolve({ outcome: 'already-there', studyKey: stored.studyKey });
    return undefined;
  }
  if (duplicates === 'reject' && arrival.inPlaceOf === undefined && !(await sameSource(archive, stored, arrival))) {
    throw new Refusal('Duplicate', 'the SOP Instance UID (0008,0018) is already there with other content');
  }
  return { ...one, replaces: stored };
}

/** Whether the sender gave what it gave before: what was made of it may differ, by rules or by what is known of the patient since. */
async function sameSource(archive: Archive, stored: InstanceRow, arrival: Arrival): Promise<boolean> {
  const { source } = arrival;
  if (source === undefined || source.digest !== stored.source) return false;
  if (source.coversPixels) return true;
  if (stored.lengthBytes - stored.headLengthBytes !== arrival.lengthBytes - arrival.headBytes) return false;
  return sameBytes(archive, stored, arrival, true);
}

/** Whether an arrival has the very bytes of a stored instance, or of its pixel data. */
async function sameBytes(
  archive: Archive,
  stored: InstanceRow,
  arrival: Arrival,
  pixelsOnly = false,
): Promise<boolean> {
  const { content } = arrival;
  let memory = content.kind === 'memory' ? Buffer.concat(content.chunks) : undefined;
  let at = pixelsOnly ? arrival.headBytes : 0;
  for await (const chunk of pixelsOnly ? readInstanceBody(archive, stored) : readInstance(archive, stored)) {
    if (content.kind === 'file') {
      memory ??= Buffer.allocUnsafe(chunk.length);
      let length = 0;
      while (length < chunk.length) {
        const { bytesRead } = await content.handle.read(
          memory,
          length,
          chunk.length - length,
          SPOOL_OFFSET + at + length,
        );
        if (bytesRead === 0) return false;
        length += bytesRead;
      }
    }
    const arriving =
      content.kind === 'file' ? memory?.subarray(0, chunk.length) : memory?.subarray(at, at + chunk.length);
    if (arriving?.equals(chunk) !== true) return false;
    at += chunk.length;
  }
  return true;
}
