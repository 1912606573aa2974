/** The Native DICOM Model (PS3.19 A.1): a data set of the DICOM JSON model as XML. */
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, keywordOf, privateCreatorTag } from '../dicom/dictionary.ts';
import type { DicomJson, DicomJsonElement, PersonName } from '../dicom/json.ts';

export function formatNativeModel(object: DicomJson): string {
  return (
    '<?xml version="1.0" encoding="UTF-8"?>\n' +
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">' +
    `${formatAttributes(object)}</NativeDicomModel>\n`
  );
}

function formatAttributes(object: DicomJson): string {
  return Object.entries(object)
    .map(([at, element]) => {
      const tag = Number.parseInt(at, 16);
      const keyword = keywordOf(tag) ?? '';
      const creator = isPrivate(tag) ? creatorOf(object, tag) : '';
      const attributes =
        `tag="${at}" vr="${element.vr}"` +
        (keyword === '' ? '' : ` keyword="${keyword}"`) +
        (creator === '' ? '' : ` privateCreator="${escape(creator)}"`);
      const content = formatContent(element);
      return content === ''
        ? `<DicomAttribute ${attributes}/>`
        : `<DicomAttribute ${attributes}>${content}</DicomAttribute>`;
    })
    .join('');
}

function creatorOf(object: DicomJson, tag: number): string {
  const at = privateCreatorTag(tag);
  const element = at === undefined ? undefined : object[tagKey(at)];
  const [creator] = element !== undefined && 'Value' in element ? (element.Value ?? []) : [];
  return typeof creator === 'string' ? creator.trim() : '';
}

function formatContent(element: DicomJsonElement): string {
  if ('BulkDataURI' in element && element.BulkDataURI !== undefined)
    return `<BulkData uri="${escape(element.BulkDataURI)}"/>`;
  if ('InlineBinary' in element && element.InlineBinary !== undefined)
    return `<InlineBinary>${element.InlineBinary}</InlineBinary>`;
  if (!('Value' in element) || element.Value === undefined) return '';
  if (element.vr === 'SQ')
    return element.Value.map((item, index) => `<Item number="${index + 1}">${formatAttributes(item)}</Item>`).join('');
  // An empty value among others is left out, since the numbers tell where it was; the last one tells how many there are.
  const last = element.Value.length - 1;
  const name = element.vr === 'PN' ? 'PersonName' : 'Value';
  return element.Value.map((value, index) =>
    value === null && index === last ? `<${name} number="${index + 1}"/>` : formatValue(value, index + 1),
  ).join('');
}

function formatValue(value: string | number | PersonName | null, number: number): string {
  if (value === null) return '';
  if (typeof value !== 'object') return `<Value number="${number}">${escape(String(value))}</Value>`;
  const { Alphabetic, Ideographic, Phonetic } = value;
  const groups = Object.entries({ Alphabetic, Ideographic, Phonetic })
    .map(([group, name]) => (name === undefined || name === '' ? '' : `<${group}>${formatName(name)}</${group}>`))
    .join('');
  return `<PersonName number="${number}">${groups}</PersonName>`;
}

/** In the order of PS3.5 6.2.1. */
const COMPONENTS = ['FamilyName', 'GivenName', 'MiddleName', 'NamePrefix', 'NameSuffix'];

function formatName(name: string): string {
  return name
    .split('^')
    .map((part, index) => {
      const component = COMPONENTS[index];
      return part === '' || component === undefined ? '' : `<${component}>${escape(part)}</${component}>`;
    })
    .join('');
}

/** Characters that XML 1.0 has no way to write are left out. */
function escape(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\r', '&#13;');
}
