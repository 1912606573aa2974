/** The metadata of instances as texts deflated against their series' first one, as streams that are not ended: many are inflated at once. */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';

/** Not ended, and whole bytes: so the texts of many instances can be inflated as one stream. */
export function deflateMetadata(text: Buffer, dictionary: Buffer): Buffer {
  // A window no larger than what it looks back on, tables no larger than its text: most of what a short text costs is making the stream.
  const windowBits = Math.min(15, Math.max(9, 32 - Math.clz32(dictionary.length + text.length)));
  return deflateRawSync(text, { dictionary, level: 3, memLevel: 6, windowBits, finishFlush: constants.Z_SYNC_FLUSH });
}

/** The text of `metadata.json` under its series' dictionary. */
export function inflateMetadata(json: Buffer, dictionary: Buffer): string {
  return inflateRawSync(json, { dictionary, finishFlush: constants.Z_SYNC_FLUSH }).toString('utf8');
}

/** What ends a stream that can be followed by another: an empty stored block (RFC 1951 3.2.4). */
const UNENDED = Buffer.from([0, 0, 0xff, 0xff]);

/** Before each text; no JSON has it. */
const MARK = 2;

const MOST_STORED_BYTES = 65_535;

/** The same for instances of one series, all at once, as bytes: the dictionary goes before each as bytes of the stream. */
export function inflateManyMetadata(jsons: readonly Buffer[], dictionary: Buffer): Buffer[] {
  const marked = Buffer.concat([Buffer.from([MARK]), dictionary]);
  if (
    jsons.length < 2 ||
    marked.length > MOST_STORED_BYTES ||
    !jsons.every((json) => json.subarray(-UNENDED.length).equals(UNENDED))
  )
    return jsons.map((json) => inflateRawSync(json, { dictionary, finishFlush: constants.Z_SYNC_FLUSH }));
  const header = Buffer.alloc(5);
  header.writeUInt16LE(marked.length, 1);
  header.writeUInt16LE(0xffff - marked.length, 3);
  const inflated = inflateRawSync(Buffer.concat(jsons.flatMap((json) => [header, marked, json])), {
    finishFlush: constants.Z_SYNC_FLUSH,
    // Most texts are about as long as the first one: then all of them are in one chunk, and nothing is put together from many.
    chunkSize: Math.max(constants.Z_MIN_CHUNK, Math.ceil(jsons.length * marked.length * 2.1)),
  });
  const texts: Buffer[] = [];
  for (let at = 0; at < inflated.length;) {
    const next = inflated.indexOf(MARK, at + marked.length);
    const end = next < 0 ? inflated.length : next;
    texts.push(inflated.subarray(at + marked.length, end));
    at = end;
  }
  return texts;
}

/** What the instances of a series have in common is stored once: the first one's text is the dictionary for all. */
export function inflateDictionary(stored: Buffer): Buffer {
  const key = stored.toString('latin1');
  let dictionary = DICTIONARIES.get(key);
  if (dictionary === undefined) {
    dictionary = inflateRawSync(stored);
    if (DICTIONARIES.size >= MOST_DICTIONARIES) DICTIONARIES.clear();
    DICTIONARIES.set(key, dictionary);
  }
  return dictionary;
}

/** By what they are inflated from: the instances of a series come one after another. */
const DICTIONARIES = new Map<string, Buffer>();

const MOST_DICTIONARIES = 16;
