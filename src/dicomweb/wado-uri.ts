/**
 * WADO-URI (PS3.18 section 9): one object, named and shaped by the query alone. Bytes and pictures come from where WADO-RS takes them.
 * Parameters of other names are passed over (9.1.2.1).
 */
import { isWithheld } from '../archive/withheld.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import type { Window } from '../codecs/presentation.ts';
import { isPresentationState } from '../codecs/softcopy-state.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid, uidFrom } from '../dicom/uid.ts';
import { transferSyntax } from '../dicom/transfer-syntax.ts';
import { DOCUMENT_TYPES, documentOffers } from './document.ts';
import type { Exchange } from './exchange.ts';
import { chooseMediaType, parseAccept, syntaxFor, type Choice, type Offer } from './media-type.ts';
import {
  annotationsOf,
  decimal,
  DEFAULT_QUALITY,
  MOST_PIXELS_A_SIDE,
  single,
  whole,
  type RenderingRequest,
  type ViewportRequest,
  type Region,
} from './rendering-request.ts';
import { kindOf, PICTURES, renderFrame, renderOne, renderUnder, tellUnsupported } from './rendered.ts';
import { objectSyntaxes } from './transcode.ts';
import { missing, sendObject } from './wado.ts';

const DICOM = 'application/dicom';
/** What only a picture has (9.4.1.2.2): not to be asked of an object. */
const PICTURE_PARAMETERS = [
  'annotation',
  'imageAnnotation',
  'rows',
  'columns',
  'region',
  'windowCenter',
  'windowWidth',
  'frameNumber',
  'presentationUID',
  'presentationSeriesUID',
];

export const URI_PARAMETERS: readonly string[] = [
  'requestType',
  'studyUID',
  'seriesUID',
  'objectUID',
  'contentType',
  'charset',
  'anonymize',
  'transferSyntax',
  'imageQuality',
  ...PICTURE_PARAMETERS,
];

/** @throws Refusal BadRequest, NotFound, Gone, NotAcceptable */
export async function retrieveByUri(exchange: Exchange): Promise<void> {
  const { query } = exchange;
  if (single(query, 'requestType') !== 'WADO') throw bad('requestType', 'is WADO');
  const uids = {
    studyInstanceUID: uid(exchange, 'studyUID'),
    seriesInstanceUID: uid(exchange, 'seriesUID'),
    sopInstanceUID: uid(exchange, 'objectUID'),
  };
  const isAnonymized = anonymized(exchange);
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = uids;
  const { archive } = exchange.gateway;
  const instance = instanceOf(archive, sopInstanceUID, studyInstanceUID, seriesInstanceUID);
  if (instance === undefined || isWithheld(archive, studyInstanceUID)) throw missing(exchange, uids);
  const choice = chosen(exchange, instance);
  if (choice.offer.type === DICOM) return sendDicom(exchange, choice, instance, isAnonymized);
  // dicomweb-client asks for a picture as stored, which says nothing.
  if ((single(query, 'transferSyntax') ?? '*') !== '*')
    throw bad('transferSyntax', 'goes with contentType=application/dicom alone');
  await sendRendered(exchange, choice, instance, isAnonymized);
}

function bad(name: string, rule: string): Refusal {
  return new Refusal('BadRequest', `the query parameter ${name} ${rule} (PS3.18 9.4.1.2)`);
}

function refuse({ query }: Exchange, names: readonly string[], rule: string): void {
  const found = names.find((name) => query.some(([key]) => key === name));
  if (found !== undefined) throw bad(found, rule);
}

function uid({ query }: Exchange, name: string): string {
  const value = single(query, name);
  if (value === undefined || !isUid(value)) throw bad(name, 'stands once and is a UID');
  return value;
}

function anonymized({ query }: Exchange): boolean {
  const value = single(query, 'anonymize');
  if (value !== undefined && value !== 'yes') throw bad('anonymize', 'is yes, or left out');
  return value === 'yes';
}

/**
 * The picture or text of the object by default, or the object itself; `contentType` decides before the Accept header.
 * @throws Refusal BadRequest, NotAcceptable
 */
function chosen(exchange: Exchange, instance: InstanceRow): Choice {
  const { request, response, query, gateway } = exchange;
  response.vary('Accept');
  const contentType = single(query, 'contentType')?.trim();
  if (contentType !== undefined) refuseMixed(contentType);
  const choice = chooseMediaType(
    {
      // The syntax comes in a parameter of its own.
      header: request.headers.accept,
      ...(contentType === undefined || contentType === '' ? {} : { parameter: [contentType] }),
      strict: gateway.config.http.strictAccept,
    },
    [...renderedOffers(instance), { multipart: false, type: DICOM }],
  );
  return choice.offer.type === DICOM ? withSyntax(exchange, choice, instance) : choice;
}

function renderedOffers(instance: InstanceRow): readonly Offer[] {
  const kind = kindOf(instance);
  return kind === 'document' ? documentOffers([instance]) : kind === 'none' ? [] : PICTURES;
}

/** One DICOM type or rendered ones (9.1.2.2.1); of parameters a weight alone. @throws Refusal BadRequest */
function refuseMixed(contentType: string): void {
  const ranges = parseAccept(contentType);
  if (ranges.length === 0) throw bad('contentType', 'is a list of media types');
  if (ranges.some(({ parameters }) => [...parameters.keys()].some((name) => name !== 'q')))
    throw bad('contentType', 'has no media type parameters');
  const isDicom = ranges.map(({ name }) => name === DICOM);
  if (isDicom.includes(true) && isDicom.includes(false))
    throw bad('contentType', 'is application/dicom or a list of rendered types');
}

/** 9.4.1.2.3.1: `*` takes the stored syntax. @throws Refusal BadRequest for what is no UID, NotAcceptable for one there is not */
function withSyntax({ query }: Exchange, choice: Choice, instance: InstanceRow): Choice {
  const asked = single(query, 'transferSyntax')?.trim();
  if (asked !== undefined && asked !== '*' && !isUid(asked)) throw bad('transferSyntax', 'is one UID');
  const syntaxes = objectSyntaxes(instance);
  const withAll = {
    offer: { ...choice.offer, syntaxes },
    transferSyntaxes: [asked ?? 'default'],
    // Who names no syntax takes what there is.
    byWildcard: asked === undefined,
  };
  if (syntaxFor(withAll, syntaxes) === undefined) {
    const known = asked === undefined ? undefined : transferSyntax(asked);
    throw new Refusal(
      'NotAcceptable',
      `the object cannot be had in ${known?.name ?? 'this transfer syntax'}; available: ${syntaxes.map((one) => one.uid).join(', ')}`,
    );
  }
  return withAll;
}

async function sendDicom(
  exchange: Exchange,
  choice: Choice,
  instance: InstanceRow,
  isAnonymized: boolean,
): Promise<void> {
  refuse(exchange, PICTURE_PARAMETERS, 'does not go with contentType=application/dicom');
  await sendObject(exchange, choice, instance, isAnonymized ? anonymousUid(instance) : undefined);
}

/** The archive names nobody; what is left to do is that it be another object (9.4.1.2.1.3). The same one each time. */
function anonymousUid({ sopInstanceUID }: InstanceRow): string {
  return uidFrom('WADO-URI anonymize', sopInstanceUID);
}

async function sendRendered(
  exchange: Exchange,
  choice: Choice,
  instance: InstanceRow,
  isAnonymized: boolean,
): Promise<void> {
  const { query, gateway } = exchange;
  const kind = kindOf(instance);
  if (kind === 'document') {
    refuse(exchange, PICTURE_PARAMETERS, `does not go with ${DOCUMENT_TYPES.join(', ')}`);
    return renderOne(exchange, choice, instance, readUriRequest(exchange, instance, isAnonymized));
  }
  const request = readUriRequest(exchange, instance, isAnonymized);
  tellUnsupported(exchange, request);
  const frame = frameNumber(exchange, instance);
  const stateUID = single(query, 'presentationUID');
  if (stateUID === undefined) {
    refuse(exchange, ['presentationSeriesUID'], 'goes with presentationUID');
    if (frame === undefined) return renderOne(exchange, choice, instance, request);
    return renderFrame(exchange, choice, { instance, frame }, request);
  }
  refuse(exchange, ['windowCenter', 'windowWidth'], 'does not go with presentationUID');
  const seriesInstanceUID = uid(exchange, 'presentationSeriesUID');
  const sopInstanceUID = uid(exchange, 'presentationUID');
  const { studyInstanceUID } = instance;
  const state = instanceOf(gateway.archive, sopInstanceUID, studyInstanceUID, seriesInstanceUID);
  if (state === undefined) throw missing(exchange, { studyInstanceUID, seriesInstanceUID, sopInstanceUID });
  if (!isPresentationState(state.sopClassUID)) throw bad('presentationUID', 'names a presentation state');
  // Of what the state displays the region, and that in the size asked for (9.5.2).
  const { viewport, region } = underState(exchange, instance);
  await renderUnder(
    exchange,
    choice,
    { instance, state, frame },
    { ...request, viewport, ...(region === undefined ? {} : { region }) },
  );
}

/** 400 where WADO-RS has 404, and of what has a single frame (9.5.2.1; by table 8.7.2-1 that is no multi-frame image). */
function frameNumber({ query }: Exchange, { frameCount }: InstanceRow): number | undefined {
  const text = single(query, 'frameNumber');
  if (text === undefined) return undefined;
  if (frameCount < 2) throw bad('frameNumber', 'is for what has more than one frame');
  if (!/^[1-9]\d{0,8}$/.test(text)) throw bad('frameNumber', 'is a number from 1');
  if (Number(text) > frameCount) throw bad('frameNumber', `is at most ${frameCount} here`);
  return Number(text);
}

function readUriRequest(exchange: Exchange, instance: InstanceRow, isAnonymized: boolean): RenderingRequest {
  const { query } = exchange;
  const quality = single(query, 'imageQuality');
  const named = single(query, 'imageAnnotation') ?? single(query, 'annotation');
  const annotations = annotationsOf(named, 'imageAnnotation');
  return {
    viewport: viewportOf(exchange, instance),
    window: windowOf(exchange),
    quality: quality === undefined ? DEFAULT_QUALITY : whole(quality, 'imageQuality', 100),
    iccProfile: 'no',
    ...annotations,
    // Who asks for nobody's picture gets no name in it either.
    annotations: annotations.annotations.filter((one) => !(isAnonymized && one === 'patient')),
  };
}

function windowOf({ query }: Exchange): Window | undefined {
  const center = single(query, 'windowCenter');
  const width = single(query, 'windowWidth');
  if (center === undefined && width === undefined) return undefined;
  if (center === undefined || width === undefined) throw bad('windowWidth', 'and windowCenter go together');
  const window = {
    center: decimal(center, 'windowCenter'),
    width: decimal(width, 'windowWidth'),
    shape: 'linear',
  } as const;
  if (window.width < 1) throw bad('windowWidth', 'is at least 1');
  return window;
}

/** `rows` and `columns` bound the size of the picture; `region` is a part of the image in parts of its width and height. */
function viewportOf(exchange: Exchange, instance: InstanceRow): ViewportRequest | undefined {
  const { query } = exchange;
  const [rows, columns, region] = ['rows', 'columns', 'region'].map((name) => single(query, name));
  if (rows === undefined && columns === undefined && region === undefined) return undefined;
  const { rows: imageRows = 1, columns: imageColumns = 1 } = instance;
  const part = region === undefined ? undefined : regionOf(region, imageRows, imageColumns);
  // Each is a maximum; where one is left out the other decides (9.5.2.5, though 9.5.1.2.4 wants both of the user agent).
  const size = (text: string | undefined, name: string, own: number): number =>
    text === undefined
      ? Math.min(isSized(exchange) ? MOST_PIXELS_A_SIDE : own, MOST_PIXELS_A_SIDE)
      : whole(text, name, MOST_PIXELS_A_SIDE);
  return {
    width: size(columns, 'columns', part?.width ?? imageColumns),
    height: size(rows, 'rows', part?.height ?? imageRows),
    left: part?.left ?? 0,
    top: part?.top ?? 0,
    sourceWidth: part?.width,
    sourceHeight: part?.height,
    flipHorizontal: false,
    flipVertical: false,
  };
}

function isSized({ query }: Exchange): boolean {
  return query.some(([name]) => name === 'rows' || name === 'columns');
}

function underState(
  exchange: Exchange,
  instance: InstanceRow,
): { viewport: ViewportRequest | undefined; region: Region | undefined } {
  const viewport = viewportOf(exchange, instance);
  const text = single(exchange.query, 'region');
  const whole = { left: 0, top: 0, sourceWidth: undefined, sourceHeight: undefined };
  return {
    viewport: viewport && isSized(exchange) ? { ...viewport, ...whole } : undefined,
    region: text === undefined ? undefined : regionOf(text, instance.rows ?? 1, instance.columns ?? 1),
  };
}

/** In whole pixels, at least one. */
function regionOf(text: string, rows: number, columns: number): Region {
  const parts = text.split(',').map((part) => decimal(part.trim(), 'region'));
  const [xmin = -1, ymin = -1, xmax = -1, ymax = -1] = parts;
  const isPart = parts.length === 4 && parts.every((part) => part >= 0 && part <= 1) && xmin < xmax && ymin < ymax;
  if (!isPart) throw bad('region', 'is xmin,ymin,xmax,ymax, each from 0 to 1');
  const left = Math.min(columns - 1, Math.floor(xmin * columns));
  const top = Math.min(rows - 1, Math.floor(ymin * rows));
  return {
    left,
    top,
    width: Math.max(1, Math.min(columns, Math.ceil(xmax * columns)) - left),
    height: Math.max(1, Math.min(rows, Math.ceil(ymax * rows)) - top),
  };
}
