/** An object whose content is a clinical document: taken out of it, cleaned by the profile, put back. */
import { findElement, numberValue, valueBytes, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { isUid } from '../dicom/uid.ts';
import { writeElement, writeNumbers } from '../dicom/writer.ts';
import { saysOf, type ClinicalDocument, type DocumentTools } from './cda.ts';
import { retained, type Said } from './identity.ts';
import type { Option } from './profile.ts';
import { pseudonymOfUid } from './pseudonyms.ts';
import type { Insert, Rewriting } from './rewriting.ts';
import { pseudonymFor } from './value-outcomes.ts';
import { changedDate } from './value-rules.ts';

const ENCAPSULATED_DOCUMENT = tag('EncapsulatedDocument');
const ENCAPSULATED_DOCUMENT_LENGTH = tag('EncapsulatedDocumentLength');

/** Without the padding, where the object says how long it is. */
export function documentOf(dataSet: DataSet): Buffer {
  const element = findElement(dataSet, ENCAPSULATED_DOCUMENT);
  if (element === undefined) return Buffer.alloc(0);
  const bytes = valueBytes(dataSet, element);
  const length = numberValue(dataSet, ENCAPSULATED_DOCUMENT_LENGTH) ?? bytes.length;
  return bytes.length - length === 1 ? bytes.subarray(0, length) : bytes;
}

/** What the document says of its patient, of all that the profile does not retain. */
export function saidBy(document: ClinicalDocument | undefined, options: ReadonlySet<Option>): Said {
  if (document === undefined) return [];
  return saysOf(document).filter(([keyword]) => !retained(options)(tag(keyword)));
}

export function documentTools(run: Rewriting): DocumentTools {
  const uid = (original: string): string => {
    if (isWellKnownUid(original)) return original;
    const pseudonym = pseudonymFor(run.profile, run.domain, original);
    if (isUid(original)) run.uids.set(pseudonym, original);
    return pseudonym;
  };
  return {
    clean: (text) => run.cleaner().clean(text),
    time: (value) => changedDate(run, value, 'DT'),
    uid,
    // Never kept, whatever UIDs are: the extension is a number of somebody's.
    identifier: (root, extension) => pseudonymOfUid(run.domain, `${root}^${extension}`),
    retainsPatient: run.profile.options.has('retain-patient-characteristics'),
  };
}

export function documentInserts(document: Buffer | undefined): Insert[] {
  if (document === undefined) return [];
  return [
    [ENCAPSULATED_DOCUMENT, (sink) => writeElement(sink, ENCAPSULATED_DOCUMENT, 'OB', document)],
    [ENCAPSULATED_DOCUMENT_LENGTH, (sink) => writeNumbers(sink, ENCAPSULATED_DOCUMENT_LENGTH, 'UL', [document.length])],
  ];
}
