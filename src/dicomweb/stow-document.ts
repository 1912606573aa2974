/** Encapsulated documents (PS3.3 A.45) from bulk data: what the part says of itself completes the metadata or has to agree with it. */
import { Refusal } from '../dicom/refusal.ts';
import { elementIn, settle, type JsonObject } from './json-object.ts';
import { partsOf, theOne, type BulkParts } from './stow-parts.ts';

const ENCAPSULATED_DOCUMENT = '00420011';
const MIME_TYPE = '00420012';
const DOCUMENT_LENGTH = '00420015';

const CLASS = '1.2.840.10008.5.1.4.1.1.104.';
/** SOP Class -> the media type that MIME Type of Encapsulated Document has (PS3.3 A.45.1 to A.105), then others that senders give a part. */
const DOCUMENT_TYPES: ReadonlyMap<string, readonly [value: string, ...others: string[]]> = new Map([
  [`${CLASS}1`, ['application/pdf']],
  [`${CLASS}2`, ['text/XML', 'application/xml', 'application/hl7-cda+xml', 'text/xml']],
  [`${CLASS}3`, ['model/stl', 'application/sla', 'application/vnd.ms-pki.stl']],
  [`${CLASS}4`, ['model/obj', 'text/plain']],
  [`${CLASS}5`, ['model/mtl', 'text/plain']],
]);

const OCTETS = 'application/octet-stream';

/** The metadata with MIME Type and length of the document. @throws Refusal DataSetMismatch, CannotUnderstand */
export function describeDocument(bulk: BulkParts, json: JsonObject, sopClassUID: string): JsonObject {
  const types = DOCUMENT_TYPES.get(sopClassUID);
  const uri = elementIn(json, ENCAPSULATED_DOCUMENT)?.BulkDataURI;
  if (typeof uri !== 'string') return json;
  const { type, kept } = theOne(partsOf(bulk, uri));
  if (types === undefined || ![OCTETS, ...types].some((one) => one.toLowerCase() === type.name))
    throw new Refusal('DataSetMismatch', 'the media type of the document is none of its SOP Class (PS3.3 A.45)');
  const described = { ...json };
  const [value, ...others] = types;
  settle(described, MIME_TYPE, 'LO', value, (found) =>
    [value, ...others].some((one) => one.toLowerCase() === String(found).toLowerCase()),
  );
  // (0042,0015) counts the document without the byte that makes it even (PS3.3 C.24.2).
  settle(described, DOCUMENT_LENGTH, 'UL', kept.lengthBytes);
  return described;
}
