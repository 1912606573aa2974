/** What an acceptor says to each proposed presentation context: PS3.8 9.3.3.2, PS3.4 B.3.1, PS3.5 section 10. */
import type { AnsweredContext, ProposedContext, RoleSelection } from './association-items.ts';
import { QUERY_CLASSES, STORAGE_COMMITMENT, type QueryOperation } from './sop-classes.ts';

export const VERIFICATION = '1.2.840.10008.1.1';
/** PS3.7 A.2.1: the one application context there is. */
export const APPLICATION_CONTEXT = '1.2.840.10008.3.1.1.1';
/** Bit 0 of the version field (PS3.8 9.3.2). */
export const PROTOCOL_VERSION = 1;

export const IMPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2';
export const EXPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const EXPLICIT_BIG_ENDIAN = '1.2.840.10008.1.2.2';
const STORAGE_ROOT = '1.2.840.10008.5.1.4.1.1.';

/** Storage SOP Classes outside the storage root (PS3.4 B.5 and GG.3, PS3.6 Table A-1, 2024b; the last three retired). */
const OTHER_STORAGE = new Set([
  '1.2.840.10008.5.1.4.34.1', // RT Beams Delivery Instruction Storage, trial
  '1.2.840.10008.5.1.4.34.7', // RT Beams Delivery Instruction Storage
  '1.2.840.10008.5.1.4.34.10', // RT Brachy Application Setup Delivery Instruction Storage
  '1.2.840.10008.5.1.4.38.1', // Hanging Protocol Storage
  '1.2.840.10008.5.1.4.39.1', // Color Palette Storage
  '1.2.840.10008.5.1.4.43.1', // Generic Implant Template Storage
  '1.2.840.10008.5.1.4.44.1', // Implant Assembly Template Storage
  '1.2.840.10008.5.1.4.45.1', // Implant Template Group Storage
  '1.2.840.10008.5.1.1.27', // Stored Print Storage
  '1.2.840.10008.5.1.1.29', // Hardcopy Grayscale Image Storage
  '1.2.840.10008.5.1.1.30', // Hardcopy Color Image Storage
]);

/** Query, retrieve and creation services that lie under the storage root: Protocol Approval and Inventory. */
const NOT_STORAGE = new Set([
  '1.2.840.10008.5.1.4.1.1.200.4',
  '1.2.840.10008.5.1.4.1.1.200.5',
  '1.2.840.10008.5.1.4.1.1.200.6',
  '1.2.840.10008.5.1.4.1.1.201.2',
  '1.2.840.10008.5.1.4.1.1.201.3',
  '1.2.840.10008.5.1.4.1.1.201.4',
  '1.2.840.10008.5.1.4.1.1.201.5',
  '1.2.840.10008.5.1.4.1.1.201.6',
]);

/**
 * Lossless for any pixel data, or able to carry it so, and explicit about VRs. PS3.6 Table A-1, 2024b.
 * JPEG 2000 (.91), .93, HTJ2K (.203) and JPEG XL (.112) may be either; they stand with the lossy ones.
 */
const LOSSLESS = new Set([
  '1.2.840.10008.1.2.1',
  '1.2.840.10008.1.2.1.98',
  '1.2.840.10008.1.2.1.99',
  '1.2.840.10008.1.2.4.57',
  '1.2.840.10008.1.2.4.58',
  '1.2.840.10008.1.2.4.65',
  '1.2.840.10008.1.2.4.66',
  '1.2.840.10008.1.2.4.70',
  '1.2.840.10008.1.2.4.80',
  '1.2.840.10008.1.2.4.90',
  '1.2.840.10008.1.2.4.92',
  '1.2.840.10008.1.2.4.110',
  '1.2.840.10008.1.2.4.201',
  '1.2.840.10008.1.2.4.202',
  '1.2.840.10008.1.2.5',
  '1.2.840.10008.1.2.8.1',
]);

/** JPIP and its HTJ2K form name a server that holds the pixels: what we stored would not be the image. */
const PIXELS_ELSEWHERE = new Set([
  '1.2.840.10008.1.2.4.94',
  '1.2.840.10008.1.2.4.95',
  '1.2.840.10008.1.2.4.204',
  '1.2.840.10008.1.2.4.205',
]);
const ENCAPSULATED_ROOT = '1.2.840.10008.1.2.4.';

/** PS3.5 Table 6.2-1, AE: 1 to 16 printable characters of ISO 646 without backslash, not only spaces. */
export function isAeTitle(text: string): boolean {
  return /^[\x20-\x5b\x5d-\x7e]{1,16}$/.test(text) && text.trim() !== '';
}

/** Every Storage SOP Class of the standard, also of editions to come. */
export function isStorageClass(sopClassUID: string): boolean {
  if (NOT_STORAGE.has(sopClassUID)) return false;
  return sopClassUID.startsWith(STORAGE_ROOT) || OTHER_STORAGE.has(sopClassUID);
}

/** What an SCP offers beside Verification and Storage. */
export interface Offer {
  /** Private or other Storage SOP Classes that are taken as well; '*' takes any. */
  readonly moreClasses: ReadonlySet<string>;
  readonly query?: ReadonlySet<QueryOperation>;
  /** As SCP (somebody asks us to commit), as SCU (somebody reports what we asked for). */
  readonly commitment?: { readonly scp: boolean; readonly scu: boolean };
}

/** `sends`: the requestor takes the SCP role for this class, so that objects go from us to it (C-GET). */
export function answerContext(proposed: ProposedContext, offer: Offer, sends = false): AnsweredContext {
  const refused = (result: number): AnsweredContext => ({
    id: proposed.id,
    result,
    // Not significant (PS3.8 9.3.3.2), but old peers want to read one.
    transferSyntaxUID: proposed.transferSyntaxUIDs[0] ?? IMPLICIT_LITTLE_ENDIAN,
  });
  const { abstractSyntax } = proposed;
  const isSmall = offersService(offer, abstractSyntax);
  const known = abstractSyntax === VERIFICATION || isStorageClass(abstractSyntax);
  if (!known && !isSmall && !takesAsStorage(offer, abstractSyntax)) return refused(3);
  const transferSyntaxUID = isSmall
    ? chooseUncompressed(proposed.transferSyntaxUIDs)
    : ((sends ? chooseUncompressed(proposed.transferSyntaxUIDs) : undefined) ??
      chooseTransferSyntax(proposed.transferSyntaxUIDs));
  if (transferSyntaxUID === undefined) return refused(4);
  return { id: proposed.id, result: 0, transferSyntaxUID };
}

function offersService({ query, commitment }: Offer, abstractSyntax: string): boolean {
  const queryClass = QUERY_CLASSES.get(abstractSyntax);
  if (queryClass !== undefined) return query?.has(queryClass.operation) === true;
  return abstractSyntax === STORAGE_COMMITMENT && commitment !== undefined && (commitment.scp || commitment.scu);
}

/** '*' means objects: a service that is not offered is no object. */
function takesAsStorage({ moreClasses }: Offer, abstractSyntax: string): boolean {
  if (moreClasses.has(abstractSyntax)) return true;
  return moreClasses.has('*') && !QUERY_CLASSES.has(abstractSyntax) && abstractSyntax !== STORAGE_COMMITMENT;
}

/** What identifiers are written in, and most stored objects can be; explicit keeps the VR of what the dictionary does not know. */
function chooseUncompressed(proposed: readonly string[]): string | undefined {
  return [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN].find((uid) => proposed.includes(uid));
}

/**
 * One of those proposed for a context. A sender that offers several can convert, so the choice decides what happens to the object:
 * lossless and explicit first, in the sender's own order (its first is what it holds or likes best); then big endian; then Implicit VR,
 * which drops the VR of private elements; and what may lose pixels only where the sender offers nothing else.
 */
export function chooseTransferSyntax(proposed: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestRank = Infinity;
  for (const uid of proposed) {
    const rank = rankTransferSyntax(uid);
    if (rank < bestRank) [best, bestRank] = [uid, rank];
  }
  return best;
}

/**
 * PS3.7 D.3.3.4: whoever opens the association may be SCU. It may be SCP of Storage classes where C-GET is offered, and of Storage
 * Commitment, to report what we asked for.
 */
export function answerRoles(roles: readonly RoleSelection[], offer: Offer): RoleSelection[] {
  return roles.map(({ sopClassUID, scu, scp }) => ({
    sopClassUID,
    scu: scu && (sopClassUID !== STORAGE_COMMITMENT || offer.commitment?.scp === true),
    scp: scp && mayBeScp(offer, sopClassUID),
  }));
}

function mayBeScp(offer: Offer, sopClassUID: string): boolean {
  if (sopClassUID === STORAGE_COMMITMENT) return offer.commitment?.scu === true;
  const isObject = isStorageClass(sopClassUID) || takesAsStorage(offer, sopClassUID);
  return isObject && offer.query?.has('get') === true;
}

/** Lower is better; Infinity = not taken. */
function rankTransferSyntax(uid: string): number {
  if (LOSSLESS.has(uid)) return 0;
  if (uid === EXPLICIT_BIG_ENDIAN) return 1;
  if (uid === IMPLICIT_LITTLE_ENDIAN) return 2;
  if (PIXELS_ELSEWHERE.has(uid)) return Infinity;
  return uid.startsWith(ENCAPSULATED_ROOT) ? 3 : Infinity;
}
