/**
 * Media types: parsing of Content-Type, Accept and the `accept` query parameter, and the one negotiation of the origin server
 * (PS3.18 8.7.4 to 8.7.8). Unknown entries are passed over; what is left decides; nothing left is 406.
 */
import { Refusal } from '../dicom/refusal.ts';

/** `type/subtype` in lower case with its parameters, names in lower case, values without quotes. */
export interface MediaType {
  readonly name: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** One way a resource can be had. */
export interface Offer {
  readonly multipart: boolean;
  /** The type of the representation: of the body, or of each part. */
  readonly type: string;
  /** The transfer syntaxes there are; undefined for types that have none (JSON). */
  readonly syntaxes?: readonly Syntax[];
}

export interface Syntax {
  readonly uid: string;
  /** What else than its own UID and `*` asks for it: `default`, where no syntax is named (PS3.18 8.7.3.4), or other UIDs. */
  readonly answers: readonly string[];
  /** Has to be made: `*`, as stored, does not ask for it, and at equal weight what is stored goes first. */
  readonly converted?: boolean;
}

export interface Choice {
  readonly offer: Offer;
  /** Transfer syntaxes the caller takes for it, best first: UIDs, `*` = as stored, `default`. Empty for an offer without. */
  readonly transferSyntaxes: readonly string[];
  /** True when a wildcard chose it, so that the caller never named a type. */
  readonly byWildcard: boolean;
}

export interface AcceptRequest {
  /** The Accept header; undefined when there is none. */
  readonly header: string | undefined;
  /** Values of the `accept` query parameter, decoded. */
  readonly parameter?: readonly string[];
  /** Answer 406 where no Accept header came, as PS3.18 8.7.5 has it; otherwise that is taken as any type. */
  readonly strict?: boolean;
}

interface Range extends MediaType {
  readonly q: number;
}

/** Names that clients use for a type, and the name it has now (PS3.18 table 8.7.3-5). */
const LEGACY_NAMES: ReadonlyMap<string, string> = new Map([
  ['application/json', 'application/dicom+json'],
  ['image/x-dicom-rle', 'image/dicom-rle'],
  ['image/x-jls', 'image/jls'],
  ['image/dicom+jpeg', 'image/jpeg'],
  ['image/x-dicom+jpeg', 'image/jpeg'],
  ['image/jhc', 'image/jphc'],
]);

/** Characters of a token (RFC 9110 5.6.2) and `/`, which clients leave unquoted in `type=application/dicom`. */
const VALUE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z/]+$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const TYPE = /^(?:\*\/\*|[!#$%&'+\-.^_`|~0-9a-z]+\/(?:\*|[!#$%&'+\-.^_`|~0-9a-z]+))$/;
const Q = /^(?:[01]?\.[0-9]*|[01])$/;

/** Undefined when the text is no media type. */
export function parseMediaType(text: string): MediaType | undefined {
  const [first = '', ...rest] = splitOutsideQuotes(text, ';');
  const name = first.trim().toLowerCase();
  if (!TYPE.test(name)) return undefined;
  const parameters = new Map<string, string>();
  for (const piece of rest) {
    if (piece.trim() === '') continue;
    const at = piece.indexOf('=');
    if (at < 0) return undefined;
    const key = piece.slice(0, at).trim().toLowerCase();
    const value = parameterValue(piece.slice(at + 1).trim());
    if (!NAME.test(key) || value === undefined || parameters.has(key)) return undefined;
    parameters.set(key, value);
  }
  return { name, parameters };
}

/** A token as it stands, a quoted string without quotes and escapes; undefined when it is neither. */
function parameterValue(text: string): string | undefined {
  if (!text.startsWith('"')) return VALUE.test(text) ? text : undefined;
  if (text.length < 2 || !text.endsWith('"')) return undefined;
  const inner = text.slice(1, -1);
  return /^(?:[^"\\]|\\.)*$/.test(inner) ? inner.replace(/\\(.)/g, '$1') : undefined;
}

/** Splits at every separator that is not inside a quoted string. */
function splitOutsideQuotes(text: string, separator: ',' | ';'): string[] {
  const pieces: string[] = [];
  let start = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === '\\') at++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && character === separator) {
      pieces.push(text.slice(start, at));
      start = at + 1;
    }
  }
  pieces.push(text.slice(start));
  return pieces;
}

/** The entries of an Accept value that can be understood, with their weights (RFC 9110 12.5.1). */
export function parseAccept(text: string): Range[] {
  const ranges: Range[] = [];
  for (const piece of splitOutsideQuotes(text, ',')) {
    const mediaType = parseMediaType(piece);
    if (mediaType === undefined) continue;
    const weight = mediaType.parameters.get('q') ?? '1';
    if (!Q.test(weight)) continue;
    ranges.push({ ...mediaType, q: Math.min(1, Number(weight === '.' ? 0 : weight)) });
  }
  return ranges;
}

/**
 * The offer to send, PS3.18 8.7.8: the query parameter decides before the header; then the weight of the most specific entry that
 * names an offer; then the order of the offers, the first being the resource's default.
 * @throws Refusal NotAcceptable, listing what there is; BadRequest for a wildcard in the query parameter (8.3.3.1)
 */
export function chooseMediaType(request: AcceptRequest, offers: readonly Offer[]): Choice {
  const parameter = (request.parameter ?? []).flatMap((value) => parseAccept(value));
  if (parameter.some(({ name }) => name.includes('*')))
    throw new Refusal('BadRequest', 'the query parameter accept allows no wildcard media type (PS3.18 8.3.3.1)');
  const header = request.header?.trim() || (request.strict === true ? '' : '*/*');
  const choice = chooseFrom(parameter, offers) ?? chooseFrom(parseAccept(header), offers);
  if (choice === undefined) {
    const available = offers.flatMap(formatOffer).join(', ');
    throw new Refusal('NotAcceptable', `not available as asked for; available: ${available}`);
  }
  return choice;
}

/** Which of the syntaxes there are is meant; undefined: none. A caller who named no type takes what there is. */
export function syntaxFor({ transferSyntaxes, byWildcard }: Choice, syntaxes: readonly Syntax[]): Syntax | undefined {
  for (const asked of transferSyntaxes) {
    const found =
      syntaxes.find((syntax) => answersTo(syntax, asked, false)) ??
      syntaxes.find((syntax) => answersTo(syntax, asked, byWildcard));
    if (found !== undefined) return found;
  }
  return undefined;
}

function answersTo({ uid, answers, converted }: Syntax, asked: string, byWildcard: boolean): boolean {
  if (asked === '*') return converted !== true;
  return asked === uid || answers.includes(asked) || (byWildcard && asked === 'default');
}

/** Whether a range asks for what is there already. */
function asksForStored({ syntaxes }: Offer, asked: string): boolean {
  return syntaxes?.some((syntax) => syntax.converted !== true && answersTo(syntax, asked, false)) === true;
}

function formatOffer({ multipart, type, syntaxes }: Offer): string[] {
  const name = multipart ? `multipart/related; type="${type}"` : type;
  return syntaxes === undefined ? [name] : syntaxes.map(({ uid }) => `${name}; transfer-syntax=${uid}`);
}

function chooseFrom(ranges: readonly Range[], offers: readonly Offer[]): Choice | undefined {
  let best: (Choice & { q: number }) | undefined;
  for (const offer of offers) {
    const matches = ranges
      .map((range) => ({ range, precision: precisionOf(range, offer) }))
      .filter(({ precision }) => precision > 0);
    const precision = Math.max(0, ...matches.map((match) => match.precision));
    // The most specific entries alone speak for the offer, so that `q=0` on a type excludes it from a wildcard.
    const decisive = matches
      .filter((match) => match.precision === precision)
      .map((match) => match.range)
      .filter(({ q }) => q > 0)
      .sort((a, b) => b.q - a.q || Number(asksForStored(offer, askedIn(b))) - Number(asksForStored(offer, askedIn(a))));
    const q = decisive[0]?.q ?? 0;
    if (q <= (best?.q ?? 0)) continue;
    const syntaxes = decisive.map(askedIn);
    best = {
      offer,
      q,
      transferSyntaxes: offer.syntaxes === undefined ? [] : [...new Set(syntaxes)],
      byWildcard: precision < EXACT,
    };
  }
  return best;
}

function askedIn({ parameters }: Range): string {
  return parameters.get('transfer-syntax') ?? 'default';
}

const EXACT = 4;

/** 0: does not match; 1 to 3: by a wildcard or an absent `type`, the more specific the higher; 4: named. */
function precisionOf(range: Range, offer: Offer): number {
  const precision = precisionOfType(range, offer);
  const asked = askedIn(range);
  const served = offer.syntaxes?.some((syntax) => answersTo(syntax, asked, precision < EXACT)) ?? asked === 'default';
  return served ? precision : 0;
}

function precisionOfType(range: Range, offer: Offer): number {
  if (range.name === '*/*') return 1;
  if (!offer.multipart) return matchType(range.name, offer.type);
  if (range.name === 'multipart/*') return 2;
  if (range.name !== 'multipart/related') return 0;
  const type = range.parameters.get('type');
  if (type === undefined) return 3;
  return TYPE.test(type.toLowerCase()) ? matchType(type.toLowerCase(), offer.type) : 0;
}

function matchType(asked: string, offered: string): number {
  if (asked === offered || LEGACY_NAMES.get(asked) === offered) return EXACT;
  if (asked === '*/*') return 2;
  return asked.endsWith('/*') && offered.startsWith(asked.slice(0, -1)) ? 3 : 0;
}
