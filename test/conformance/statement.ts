/**
 * The conformance statement (PS3.2), made of the tables that the code uses. Run it to write conformance/statement.md; a test checks
 * that the file is what the tables say.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readYamlFile } from '../../src/config/yaml-file.ts';
import { compileProfile, type Option, type PrivateCreators, type ProfileFile } from '../../src/deidentify/profile.ts';
import { OPTION_CODES } from '../../src/deidentify/stamps.ts';
import { formatTag } from '../../src/dicom/data-set.ts';
import { keywordOf, tag } from '../../src/dicom/dictionary.ts';
import { REFUSALS } from '../../src/dicom/refusal.ts';
import { storageSopClasses } from '../../src/dicom/sop-class.ts';
import { transferSyntaxes } from '../../src/dicom/transfer-syntax.ts';
import { matchingTable, type Level } from '../../src/archive/search.ts';
import { describeMethod } from '../../src/dicomweb/capabilities.ts';
import { FRAME_TYPES } from '../../src/codecs/recognise.ts';
import { MAX_DEPTH } from '../../src/dicom/reader.ts';
import { EXPOSED_HEADERS } from '../../src/dicomweb/cors.ts';
import { MAX_ITEM_BYTES } from '../../src/dicomweb/json-items.ts';
import { DOCUMENT_TYPES } from '../../src/dicomweb/document.ts';
import { MAX_RESULTS } from '../../src/dicomweb/search-answer.ts';
import {
  ANNOTATIONS,
  DEFAULT_QUALITY,
  ICC_PROFILES,
  MOST_PIXELS_A_SIDE,
} from '../../src/dicomweb/rendering-request.ts';
import { THUMBNAIL_SIDE } from '../../src/dicomweb/thumbnail.ts';
import { URI_PARAMETERS } from '../../src/dicomweb/wado-uri.ts';
import { MOST_CHANGES } from '../../src/dicomweb/changefeed.ts';
import { ROUTES } from '../../src/dicomweb/router.ts';
import { STEP_ATTRIBUTES, STEP_KEYS } from '../../src/workitems/attributes.ts';

export const STATEMENT = fileURLToPath(new URL('../../conformance/statement.md', import.meta.url));

const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
const hex = (status: number): string => status.toString(16).toUpperCase().padStart(4, '0');

function routes(): string {
  const rows = ROUTES.map((route) => {
    const { representations, accepts, statuses } = describeMethod(route);
    const types = [...accepts.map((type) => `takes \`${type}\``), ...representations.map((type) => `\`${type}\``)];
    const path = `\`${route.path.replace(/[:*](\w+)/g, '{$1}')}\``;
    return [route.transaction, route.method, path, route.roles.join(', '), types.join('<br>'), statuses.join(', ')];
  });
  return table(['Transaction', 'Method', 'Resource', 'Role', 'Media types, default first', 'Statuses'], rows);
}

function keys(level: Level): string {
  const rows = matchingTable(level)
    .filter((key) => key.level === level)
    .map(({ path, matching }) => [path.map(keywordOf).join('.'), path.map(formatTag).join(' > '), matching]);
  return table(['Attribute', 'Tag', 'Matching'], rows);
}

function stepAttributes(): string {
  const name = (path: readonly number[]): string => path.map(keywordOf).join('.');
  const keys = new Set(STEP_KEYS.map(name));
  const matched = (path: string): string =>
    keys.has(path) ? 'yes' : [...keys].some((key) => key.startsWith(`${path}.`)) ? 'by what is in it' : 'no';
  const rows = STEP_ATTRIBUTES.map(({ path, create, set, final, returned }) => [
    name(path),
    create,
    set,
    final,
    matched(name(path)),
    returned,
  ]);
  return table(['Attribute', 'Create', 'Update', 'Final state', 'Matched', 'Returned'], rows);
}

function syntaxes(): string {
  const rows = [...transferSyntaxes()]
    .filter(({ referenced }) => !referenced)
    .map(({ name, uid, compression, mediaType }) => [name, `\`${uid}\``, compression, mediaType ?? 'none by itself']);
  return table(['Transfer syntax', 'UID', 'Compression', 'Media type of a frame'], rows);
}

function refusals(): string {
  const rows = Object.entries(REFUSALS).map(([reason, { dimseStatus, failureReason, httpStatus }]) => [
    reason,
    String(httpStatus),
    hex(failureReason),
    hex(dimseStatus),
  ]);
  return table(['Reason', 'HTTP status', 'Failure Reason (0008,1197)', 'DIMSE status'], rows);
}

/** PS3.15 E.1.1: a de-identifier says which profile and options it conforms to, and which private attributes it keeps (E.3.10). */
function deidentification(): string {
  const options = Object.keys(OPTION_CODES).map((option) => `\`${option}\` (${OPTION_CODES[option as Option][0]})`);
  const { edition, creators } = readYamlFile(join(CONFIG, 'safe-private.yaml'), 'safe-private') as {
    edition: string;
    creators: PrivateCreators;
  };
  const rows = Object.entries(creators).flatMap(([creator, entries]) =>
    entries.map(({ tag, vr, meaning }) => [creator, `(${tag})`, vr, meaning]),
  );
  return `Basic Application Level Confidentiality Profile (113100), PS3.15 2024b, with the options ${options.join(', ')}; dates shifted (113107) or kept
(113106); private attributes by list (113111). Attributes that Table E.1-1 does not name stay only as numbers, codes and geometry. Private attributes
that may be kept, ${edition}:

${table(['Private creator', 'Tag', 'VR', 'Meaning'], rows)}`;
}

/** What a person who chooses a profile asks of it, answered from its file. */
function profiles(): string {
  const files = readdirSync(join(CONFIG, 'profiles'))
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .map((name) => readYamlFile(join(CONFIG, 'profiles', name), 'profile') as ProfileFile);
  const questions: readonly (readonly [string, (file: ProfileFile) => string])[] = [
    ['Names and numbers of people', () => 'patient: pseudonym; all others: removed, emptied or a dummy'],
    ['Dates and times', datesOf],
    ['Ages', agesOf],
    [
      'Sex, size, weight and other characteristics',
      (file) => byOption(file, 'retain-patient-characteristics', 'kept, text cleaned', 'removed or emptied'),
    ],
    ['Geography: addresses, regions, countries', (file) => ruleOf(file, GEOGRAPHY)],
    ['Institution', (file) => byOption(file, 'retain-institution-identity', 'kept')],
    ['Device: serial numbers, stations', (file) => byOption(file, 'retain-device-identity', 'kept')],
    ['Descriptions', (file) => byOption(file, 'clean-descriptors', freeTextOf(file))],
    ['Text of reports', (file) => byOption(file, 'clean-structured-content', freeTextOf(file), 'a dummy')],
    ['Text objects of presentation states', (file) => byOption(file, 'clean-graphics', freeTextOf(file), 'a dummy')],
    ['Text that Table E.1-1 does not name', ({ unknown }) => UNKNOWN[unknown]],
    ['Overlays, curves, icons, signatures', () => 'removed'],
    ['Encapsulated CDA', ({ documents }) => (documents === 'clean' ? 'names masked, text cleaned, or held' : 'held')],
    ['Other documents (PDF, STL, OBJ, MTL), speech', () => 'held'],
    ['Private attributes', (file) => (file.private?.mode === 'safe-list' ? 'those of the list below' : 'removed')],
    ['Pixels that may hold text', ({ pixels }) => HELD[typeof pixels === 'string' ? pixels : 'clean'] ?? ''],
    ['Faces in CT and MR of the head', ({ faces }) => HELD[faces] ?? ''],
    ['UIDs', (file) => byOption(file, 'retain-uids', 'kept', 'pseudonyms')],
    [
      'Keys',
      ({ keys }) =>
        keys === 'once' ? 'made once and forgotten; no way back' : 'of the project; the way back is in the vault',
    ],
    [
      'In force',
      ({ determination }) =>
        determination === undefined ? 'always' : 'for those and as long as its determination says',
    ],
  ];
  return table(
    ['', ...files.map(({ profile }) => `\`${profile}\``)],
    questions.map(([what, answer]) => [what, ...files.map(answer)]),
  );
}

const GEOGRAPHY = ['PatientAddress', 'RegionOfResidence', 'CountryOfResidence', 'ReferringPhysicianAddress'];

/** By the rules that the file compiles to. */
function ruleOf(file: ProfileFile, keywords: readonly string[]): string {
  const { rules } = compileProfile(file);
  const actions = new Set(keywords.map((keyword) => rules.get(tag(keyword))?.action ?? 'by what it is'));
  return [...actions].map((action) => (action === 'X' ? 'removed' : action)).join(', ');
}

const HELD: Readonly<Record<string, string>> = {
  quarantine: 'held',
  allow: 'pass, and the object says so',
  clean: 'text blanked, held where that fails',
  deface: 'face removed, held where that fails',
};
const UNKNOWN = { remove: 'removed', clean: 'cleaned', quarantine: 'held' } as const;

function byOption(file: ProfileFile, option: Option, then: string, otherwise = 'removed'): string {
  return file.options?.includes(option) === true ? then : otherwise;
}

function freeTextOf({ freeText }: ProfileFile): string {
  return freeText === 'scrub' ? 'names and identifiers taken out' : 'only clinical words stay';
}

function datesOf({ dates }: ProfileFile): string {
  switch (dates.mode) {
    case 'shift':
      return `moved by ${-dates.windowDays[1]} to ${-dates.windowDays[0]} days into the past, one offset a patient; times ${dates.times === 'keep' ? 'kept' : 'removed'}`;
    case 'year-only':
      return 'only the year stays; times removed';
    case 'remove':
      return 'removed';
    case 'keep':
      return 'kept';
  }
}

function agesOf({ ages }: ProfileFile): string {
  return { remove: 'removed', keep: 'kept', 'cap-89': 'kept to 89, above that `090Y`' }[ages];
}

/** The whole file. */
export function formatStatement(): string {
  const classes = storageSopClasses().map(({ name, uid }) => [name, `\`${uid}\``]);
  return `# DICOM conformance statement

Isthmus is a gateway between a PACS and those who work with its images: it de-identifies what it receives, stores it, serves it over
DICOMweb under pseudonyms, and sends results back. This statement has the order of PS3.2. It is made of the tables that the program
uses (\`node test/conformance/statement.ts\`); a test fails when it is not what they say.

## 1. Media types and services: PS3.18 Studies Service and Worklist Service

Isthmus plays the role of origin server, as a native implementation (no proxy of a DIMSE service): of the Studies Service, the Worklist Service with notifications, and the URI Service. As user agent it stores to and searches at the nodes that results go to. The base is \`/dicom-web\`. \`HEAD\` is answered wherever \`GET\` is, \`OPTIONS\` everywhere with Capabilities (PS3.18 8.9) as WADL or JSON.

${routes()}

### 1.1 Search (QIDO-RS)

- At most ${MAX_RESULTS} results in one answer; how many are left is told by \`Warning: 299\`. An answer that would be longer than 64 Mi characters is 413.
- Nothing found is 204 (\`http.emptySearch: 200\` makes it 200 with an empty array).
- Order: studies by Study Date and Study Time, newest first, then Study Instance UID; series and instances by number, then UID.
- \`fuzzymatching\`, \`emptyvaluematching\`, \`multiplevaluematching\`, \`includefield\`, \`limit\` and \`offset\` are supported at every resource.
- Text is compared as it is written, case and accents included, without blanks at its ends. \`*\` and \`?\` are wild cards in text and names only; a value has at most 1024 characters and 10 \`*\`.
- Person names are compared without case, accents (all combining marks) and width; letters without a decomposition are spelled out (\`ß\` as \`ss\`, \`ø\` as \`o\`, \`æ\` as \`ae\`). A value without \`=\` is matched against each component group, one with \`=\` group by group. Wild cards reach over components, not over groups.
- Fuzzy matching adds to what literal matching finds: names in which every word of the value begins a word, or has the sound of one (Latin and Cyrillic letters), in any order and component; hyphens, apostrophes and blanks do not count.
- Multiple values (PS3.4 C.2.2.2.8) are parted by a backslash and all have to be there. Without \`multiplevaluematching\`, values of Modalities in Study parted by a backslash are alternatives.
- Whole numbers and decimal strings are compared as numbers (PS3.4 C.2.2.2.1).
- A date range and a time range of the same study or procedure step are one interval. Timezone Offset From UTC as a key tells the zone of the dates and times of the query; a study that declares no offset is taken to be in that zone.
- Keys of one Request Attributes Sequence are matched in the same item.
- A private attribute needs its Private Creator as a key, in whatever block; text, numbers and names of up to 128 characters can be matched, 256 values of an instance. A study or series matches when one of its instances does.
- An unknown, malformed, repeated or unsupported key, or a value that is none, is 400 and named by its key.

Study keys:

${keys('study')}

Series keys, besides those of studies:

${keys('series')}

Instance keys, besides those of studies and series:

${keys('instance')}

### 1.2 Store (STOW-RS)

- Metadata as JSON (one array of any length) or XML (a part for each instance), bulk data in parts of their own. A part is found by Content-Location (absolute, relative to \`/studies\`, percent-encoded or not) or Content-ID; nothing is fetched from elsewhere. A part may be named by several instances; a missing one fails its instance (C000), an unused one is an item of Other Failures Sequence (C000).
- Text of one instance's metadata: at most ${MAX_ITEM_BYTES / 2 ** 20} MiB, nested to ${MAX_DEPTH} sequences.
- Pixel data in bulk data: \`application/octet-stream\` in little endian, or in a compressed transfer syntax where its parameter says so; frames as ${[...FRAME_TYPES.keys()].map((type) => `\`${type}\``).join(', ')}, unchanged, one part a frame, under the BulkDataURI or \`/frames/{number}\` below it; \`image/png\` and \`image/gif\`, decoded to Explicit VR Little Endian; \`video/mpeg\`, \`video/mp4\`, \`video/H264\` and \`video/H265\`, unchanged, one part. Transfer syntax and Image Pixel attributes are told by the stream; what the metadata or the part says has to agree (A900). RLE, JPEG XL and uncompressed data need the attributes.
- Documents (PDF, CDA, STL, OBJ, MTL): MIME Type of Encapsulated Document and its length are completed or have to agree.
- What no profile can clean (video, documents, unsafe pixels) is sealed for a person: 202 with Warning Reason B000. Values that their VR or multiplicity does not allow are stored: 202 with B007 and a Failed Attributes Sequence (0074,1048) of Selector Attribute and Error Comment, which holds no value.
- De-identification is not reported as a coercion: Original Attributes Sequence would name the patient. The answer has the sender's own UIDs.
- The same object under the same SOP Instance UID is a success, also when rules or what is known of the patient have changed since; other content follows \`archive.duplicates\` (0111).
- 507 with Retry-After when less than \`archive.reserveMb\` would be left on the disk, before the body is read (also before 100 Continue), and when the disk fills up on the way; then nothing of the instance is left. 503 with Retry-After when the disk has failed, until a restart.
- 400 when nothing of the request could be read as an object; 409 when objects could be told apart and none was stored.

### 1.3 Deviations from PS3.18

- A key of a search that is no attribute, or that cannot be matched on, is 400 rather than passed over (8.3): without its filter the answer would hold other patients. Unknown parameters of other transactions are passed over.
- Of \`Accept\` types that the resource does not have are passed over, also where DICOM and rendered types are mixed (8.7.5 says 400): browsers send both.
- By WADO-URI \`rows\` and \`columns\` go together (9.5.1.2.4), and \`region\` does not go with a presentation state (9.5.2.4): 400.
- Store answers for an unsupported SOP Class or transfer syntax are 409 with a Failure Reason for each instance (table 10.5.3-1), not 501 (8.5).
- A request without \`Accept\` is answered as if it took any type (8.7.5 says 406; \`http.strictAccept: true\` does).
- One object by itself may be stored as single-part \`application/dicom\`, metadata with all its values inline as single-part JSON or XML.
- A request to store that holds no instance is 400. An instance whose UIDs are none is held for review (202) rather than refused.
- \`DELETE\` of a study, series or instance is an extension: 204, from then on 410; 409 while the study is received or work on it is not finished; 412 where If-Match, If-None-Match or If-Unmodified-Since do not hold. It is written into the audit trail; what the PACS holds is not touched.
- \`application/zip\` of a study, series or instance is an extension: Part 10 files as they are stored, whatever their transfer syntax (\`transfer-syntax=*\` may stand with it).
- The bulkdata and pixeldata resources (CP-2040) give compressed pixel data frame by frame, native pixel data as one value; 206 when some of it is left out because it cannot be had as asked for. A frame that cannot be made goes out as it is stored, and says so.
- A Retrieve URL is given to a sender only where its role may also view: it reveals the pseudonym.

### 1.4 Rendered resources and WADO-URI

- \`annotation\`: ${ANNOTATIONS.join(', ')}, in the corners of the picture; other keywords are told by \`Warning: 299\`. The archive holds pseudonyms, so \`patient\` shows a pseudonym.
- \`iccprofile\`: ${ICC_PROFILES.join(', ')}. \`no\` (the default) leaves the colours as they are stored; \`yes\` puts the image's own profile in, or sRGB; a colour space converts to it. 400 with a type that holds no profile.
- \`viewport\` and \`window\` as in 8.3.5.1; with a presentation state \`viewport=vw,vh\` alone. Without \`window\` the object's first window or VOI table, else from the frame's darkest to its brightest.
- Presentation states: Grayscale and Color Softcopy. What they leave out is the identity, whatever the image says (PS3.4 N.2.1). True size is that of a screen of 96 pixels an inch. Mask subtraction, pseudo-colour, blending, XA/XRF and planar states are 406, so are graphics in MATRIX coordinates; compound graphics are passed over.
- Structured reports, key object selections and encapsulated documents: ${DOCUMENT_TYPES.join(', ')} (PDF where it is one). Text is UTF-8; a document sent by itself bears a Content Security Policy without scripts.
- \`quality\` is that of the JPEG encoder, 1 to 100 (the default is ${DEFAULT_QUALITY}); PNG and GIF are without loss whatever it says.
- Thumbnails fit a square of ${THUMBNAIL_SIDE} pixels a side, or the \`viewport\` asked for, up to ${MOST_PIXELS_A_SIDE}: the middle frame of the instance, the middle image of the first series that has some. Where letters may be burnt in, and where there is no picture, a neutral icon of the same size.
- Of several frames JPEG and PNG show the middle one; GIF shows all, or those listed, with Frame Time (Vector), Recommended Display Frame Rate or Cine Rate. Video is passed on as it is stored.
- Not decoded, hence passed on as stored and 406 in any other form: retired JPEG processes (progressive, spectral selection), JPEG XL, MPEG-2, MPEG-4, HEVC, JPIP.
- WADO-URI is answered at \`/dicom-web/wado\`; parameters: ${URI_PARAMETERS.join(', ')}. \`anonymize=yes\` gives the object under a new SOP Instance UID, always the same.

### 1.5 Browsers

Pages of the origins in \`http.allowedOrigins\` may read answers; a preflight is told from a request for Capabilities by \`Access-Control-Request-Method\`. Exposed: ${EXPOSED_HEADERS}.

### 1.6 Worklist (UPS-RS)

- Every pipeline run and every delivery of the gateway is a work item, and others may schedule, claim and end work items of theirs. The gateway itself performs its own: nobody else can claim or change them, a cancel request (role radiology-it) ends them at once, also under way. Work that is started anew after it was CANCELED is a new work item with the old one in its Replaced Procedure Step Sequence.
- The payload of a request is one data set as \`application/dicom+json\`, at most 4 MiB. The UID of a new work item is taken from \`?{uid}\`, \`?workitem={uid}\`, else from SOP Instance UID in the data set, else made. The Transaction UID of an update is taken from \`?{uid}\`, \`?transaction-uid={uid}\` or the data set.
- Attributes of type 2 that a creation leaves out are filled in empty, Worklist Label with \`WORKLIST\`; the answer has the Warning of a modified work item. Attributes of other modules and private ones are not kept.
- Names of people, free text and whatever PS3.15 Table E.1-1 takes from an object (UIDs, date-times and who performs by station, code and organization apart) are emptied in what others schedule or change, at any depth, with the Warning. Patient ID and Patient's Name stay when they are pseudonyms that the archive gives out. UIDs are taken as they come: who schedules work here names studies by the pseudonyms found here. Labels are kept: they are the sender's to keep free of names.
- Final state requirements are those of the table below; the moment of cancellation is filled in. A CANCELED work item needs a Procedure Step Discontinuation Reason Code Sequence.
- A cancel request for work in progress elsewhere is 202 when somebody has subscribed to the work item, else 409: the performer cannot be contacted.
- Search follows 1.1, results ordered by Scheduled Procedure Step Start DateTime, then UID. Timezone Offset From UTC is no key: a date-time with an offset is compared as UTC, one without as it is written.
- Subscriptions to a work item, the worklist (\`1.2.840.10008.5.1.4.34.5\`) and the filtered worklist (\`...34.5.1\`, \`filter\` of match keys). A deletion lock is granted to callers with the role sender or radiology-it, and is never removed by the gateway. An AE title belongs to the caller who used it first, until nothing of it is left.
- Notification connections (8.10): \`GET\` with \`Upgrade: websocket\` to \`/dicom-web/ws/subscribers/{aet}\` (also \`/dicom-web/subscribers/{aet}\` and \`/ws/subscribers/{aet}\`), bearer token as elsewhere, pages only of the own origin and of \`http.allowedOrigins\`. One connection for each AE title: the later one takes over. Event reports are handed over in order; what could not be handed over waits (\`worklist.eventsPerSubscriber\`, \`worklist.eventDays\`) and may come twice after a break. SCP Status Change is sent at start (RESTARTED, both lists WARM START) and before the end (GOING DOWN). The Affected SOP Class UID is UPS Push (PS3.4 CC.2.4.3).
- Ended work items are kept for \`retention.workItemDays\` and while a deletion lock is on them; then they are 410.

${stepAttributes()}

### 1.7 Change feed (extension)

\`GET /changefeed\` and \`/changefeed/latest\` in the form of Microsoft's dicom-server: entries with Sequence, StudyInstanceUid, SeriesInstanceUid, SopInstanceUid, Action (create, update, delete), Timestamp (UTC), State (current, replaced, deleted) and, unless \`includeMetadata=false\`, the Metadata of the instance as it is now. \`limit\` is 1 to ${MOST_CHANGES}, 100 by default. \`offset\` is the last Sequence already read; with \`startTime\` (inclusive) or \`endTime\` (exclusive), both RFC 3339 with an offset, it counts entries of that window. An entry is shown once it is durable; Sequence has no holes but those of what was erased, and is never given twice. Entries are kept for ever, or for \`retention.changeDays\`: a Warning tells a follower whose \`offset\` is before what is kept.

## 2. Transfer syntaxes

What can be stored; a retrieval gives the stored syntax where it is asked for by its UID, by \`*\`, or by no type at all.

${syntaxes()}

## 3. Status codes

${refusals()}

## 4. Character sets

Every Specific Character Set of PS3.3 C.12.1.1.2 is read. Answers and queries are UTF-8, the one value of \`charset\` that is supported.

## 5. Security

Bearer tokens (RFC 6750), also as the password of Basic (RFC 7617), with the roles named above; TLS 1.2 or later. Without tokens only callers on this machine are served. Rows of the audit trail bear the event names of PS3.15 A.5.3.

## 6. De-identification

### 6.1 What each profile does

${profiles()}

"Held": sealed in quarantine for a person to decide. Encapsulated documents are held under every profile, CDA too: names stand in its narrative, in
its coded entries and in what it embeds (scans, PDF), and nothing proves a cleaned document free of them. Overlays are removed under Clean Graphics
too (PS3.15 E.3.3): whether a bitmap holds handwriting no search of it can prove. Texts are searched for what the object says of its people, places and
numbers, and for what the objects that came before it said of the same study or patient.

### 6.2 Profile, options, private attributes

${deidentification()}

## 7. Storage SOP classes

${table(['SOP class', 'UID'], classes)}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(STATEMENT, formatStatement());
