/**
 * Structured reports, key object selections and encapsulated documents to be read (PS3.18 table 8.7.4-1): HTML without scripts, plain
 * text, XML, and PDF where it is one. Whatever comes from an object is escaped.
 */
import { readBulkData } from '../archive/frames.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import { metadataOf, withBase } from '../archive/metadata.ts';
import { asciiValue, characterSetOf, findElement, numberValue, textValue, type DataSet } from '../dicom/data-set.ts';
import type { DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { registeredUid } from '../dicom/sop-class.ts';
import { factsOf, readReport, type ContentItem, type Report } from './content-tree.ts';
import { headOf } from './drawing.ts';
import type { Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import { chunksOf, type OutgoingPart } from './multipart.ts';
import { formatNativeModel } from './native-model.ts';
import { instanceUrl } from './wado.ts';

const REPORTS = '1.2.840.10008.5.1.4.1.1.88.';
const ENCAPSULATED = '1.2.840.10008.5.1.4.1.1.104.';
const PDF = '1.2.840.10008.5.1.4.1.1.104.1';
const CDA = '1.2.840.10008.5.1.4.1.1.104.2';
const ENCAPSULATED_DOCUMENT = '00420011';

export function isDocument(sopClassUID: string): boolean {
  return sopClassUID.startsWith(REPORTS) || sopClassUID.startsWith(ENCAPSULATED);
}

const TEXTS = ['text/html', 'text/plain', 'text/xml'];
export const DOCUMENT_TYPES: readonly string[] = [...TEXTS, 'application/pdf'];

/** HTML by default; none for what is no document. */
export function documentOffers(documents: readonly InstanceRow[]): Offer[] {
  if (documents.length === 0) return [];
  const types = documents.some(({ sopClassUID }) => sopClassUID === PDF) ? DOCUMENT_TYPES : TEXTS;
  return types.map((type) => ({ multipart: false, type }));
}

/** For a document sent by itself: whoever opens it in a browser opens it without scripts, forms and what lies elsewhere. */
export function policyOf(type: string): string {
  if (type === 'application/pdf') return "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'";
  return "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-top-navigation-by-user-activation allow-popups";
}

/** @throws Refusal NotAcceptable for a document that has no such form */
export async function drawDocument(exchange: Exchange, type: string, instance: InstanceRow): Promise<OutgoingPart> {
  const body = await bodyOf(exchange, type, instance);
  return {
    // XML says in its first line how it is written.
    contentType: type === 'text/html' || type === 'text/plain' ? `${type}; charset=utf-8` : type,
    contentLocation: `${instanceUrl(exchange, instance)}/rendered`,
    lengthBytes: body.length,
    body,
  };
}

async function bodyOf(exchange: Exchange, type: string, instance: InstanceRow): Promise<Buffer> {
  const { sopClassUID } = instance;
  if (type === 'application/pdf') {
    if (sopClassUID !== PDF) throw new Refusal('NotAcceptable', 'the instance holds no PDF; available: text/html');
    return documentBytes(exchange, instance);
  }
  if (type === 'text/xml')
    return sopClassUID === CDA ? documentBytes(exchange, instance) : Buffer.from(modelOf(exchange, instance));
  const { dataSet } = (await headOf(exchange, instance)).head;
  const kind = registeredUid(sopClassUID)?.name.replace(/ Storage$/, '') ?? 'Document';
  if (sopClassUID.startsWith(REPORTS)) {
    const report = readReport(dataSet, kind);
    return Buffer.from(type === 'text/html' ? reportHtml(exchange, instance, report) : reportText(report));
  }
  const source = sopClassUID === CDA ? (await documentBytes(exchange, instance)).toString('utf8') : undefined;
  const enclosed = enclosedOf(dataSet, kind);
  return Buffer.from(
    type === 'text/html' ? enclosedHtml(exchange, instance, enclosed, source) : enclosedText(enclosed, source),
  );
}

/** Encapsulated Document (0042,0011) without its padding; Encapsulated Document Length (0042,0015) tells how long it is. */
async function documentBytes(exchange: Exchange, instance: InstanceRow): Promise<Buffer> {
  const data = await readBulkData(exchange.gateway.archive, instance, ENCAPSULATED_DOCUMENT);
  if (data.kind !== 'value') throw new Refusal('NotAcceptable', 'the instance holds no document');
  const chunks: Uint8Array[] = [];
  for await (const chunk of chunksOf(data.bytes)) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const { dataSet } = (await headOf(exchange, instance)).head;
  const told = numberValue(dataSet, 0x00420015);
  if (told !== undefined && told > 0 && told <= bytes.length) return bytes.subarray(0, told);
  return bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes;
}

function modelOf({ gateway, baseUrl }: Exchange, instance: InstanceRow): string {
  const [text = '{}'] = metadataOf(gateway.archive, instance);
  return formatNativeModel(JSON.parse(withBase(text, baseUrl)) as DicomJson);
}

function reportHtml(exchange: Exchange, instance: InstanceRow, { title, facts, content }: Report): string {
  return page(title, facts, content.map((item) => itemHtml(exchange, instance, item, 2)).join('\n'));
}

function page(title: string, facts: Report['facts'], body: string): string {
  const rows = facts.map(([name, value]) => `<tr><th scope="row">${escape(name)}</th><td>${escape(value)}</td></tr>`);
  return `<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
th { text-align: left; padding-right: 1.5rem; font-weight: 500; color: #555 }
section { margin-left: 1rem }
h2, h3, h4, h5, h6 { margin: 1rem 0 .25rem -1rem; font-size: 1.1rem }
p { margin: .25rem 0; white-space: pre-wrap }
p > b { font-weight: 500; color: #555 }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>${escape(title)}</h1>
<table>${rows.join('')}</table>
${body}
</body>
</html>
`;
}

const LOWEST_HEADING = 6;

function itemHtml(exchange: Exchange, instance: InstanceRow, item: ContentItem, level: number): string {
  const { name, valueType } = item;
  const below = item.children.map((child) => itemHtml(exchange, instance, child, level + 1)).join('\n');
  const heading = `h${Math.min(level, LOWEST_HEADING)}`;
  if (valueType === 'CONTAINER')
    return `<section>${name === undefined ? '' : `<${heading}>${escape(name)}</${heading}>`}\n${below}</section>`;
  const label = name === undefined ? '' : `<b>${escape(name)}:</b> `;
  const links = item.references.map((reference) => linkTo(exchange, instance, reference));
  const shown = [...(item.value === undefined ? [] : [escape(item.value)]), ...links].join(' ');
  return `<p>${label}${shown}</p>${below === '' ? '' : `\n<section>${below}</section>`}`;
}

/** To the picture where it is here; else what it is called. */
function linkTo(
  exchange: Exchange,
  { studyInstanceUID }: InstanceRow,
  { sopInstanceUID, frames }: ContentItem['references'][number],
): string {
  const target = instanceOf(exchange.gateway.archive, sopInstanceUID, studyInstanceUID);
  if (target === undefined) return `<span>object ${escape(sopInstanceUID)}, which is not here</span>`;
  const [frame] = frames;
  const pictured = target.frameCount > 0 || isDocument(target.sopClassUID);
  const place = !pictured
    ? '/metadata'
    : frame !== undefined && frame >= 1 && frame <= target.frameCount
      ? `/frames/${frame}/rendered`
      : '/rendered';
  const text = `${target.modality} ${target.instanceNumber === undefined ? 'object' : `object ${target.instanceNumber}`}${frame === undefined ? '' : `, frame ${frame}`}`;
  return `<a href="${escape(instanceUrl(exchange, target) + place)}">${escape(text)}</a>`;
}

function reportText({ title, facts, content }: Report): string {
  const lines: string[] = [];
  const add = (item: ContentItem, depth: number): void => {
    const references = item.references.map(({ sopInstanceUID, frames }) =>
      frames.length === 0 ? sopInstanceUID : `${sopInstanceUID}, frames ${frames.join()}`,
    );
    const shown = [...(item.value === undefined ? [] : [item.value]), ...references].join(' ');
    const indent = '  '.repeat(depth);
    lines.push(
      `${indent}${[item.name, shown].filter((part) => part !== undefined && part !== '').join(': ')}`.replace(
        /\r\n?|\n/g,
        `\n${indent}  `,
      ),
    );
    for (const child of item.children) add(child, depth + 1);
  };
  for (const item of content) add(item, 0);
  return textPage(title, facts, lines.join('\n'));
}

function textPage(title: string, facts: Report['facts'], body: string): string {
  const head = facts.map(([name, value]) => `${name}: ${value}`);
  return `${[title, '', ...head, '', body].join('\n')}\n`;
}

interface Enclosed {
  readonly title: string;
  readonly facts: Report['facts'];
  readonly type: string;
}

function enclosedOf(dataSet: DataSet, kind: string): Enclosed {
  const set = characterSetOf(dataSet);
  const element = findElement(dataSet, 0x00420011);
  const type = asciiValue(dataSet, 0x00420012) ?? 'unknown';
  const lengthBytes =
    numberValue(dataSet, 0x00420015) ?? (element === undefined ? 0 : element.valueEnd - element.valueStart);
  return {
    title: textValue(dataSet, 0x00420010, set) ?? kind,
    facts: [...factsOf(dataSet, set), ['Type', type], ['Size', `${lengthBytes} bytes`]],
    type,
  };
}

function enclosedHtml(
  exchange: Exchange,
  instance: InstanceRow,
  { title, facts }: Enclosed,
  source: string | undefined,
): string {
  const url = instanceUrl(exchange, instance);
  const place =
    instance.sopClassUID === PDF ? '/rendered?accept=application/pdf' : `/bulkdata/${ENCAPSULATED_DOCUMENT}`;
  const body =
    source === undefined
      ? `<p><a href="${escape(url + place)}">Open the document</a></p>`
      : `<pre>${escape(source)}</pre>`;
  return page(title, facts, body);
}

function enclosedText({ title, facts }: Enclosed, source: string | undefined): string {
  return textPage(title, facts, source ?? '');
}

/** For HTML text and double-quoted attributes; characters that HTML forbids are dropped. */
function escape(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}
