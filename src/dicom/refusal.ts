/**
 * Why something is refused, and how each door says so. One table: reason -> DIMSE status (PS3.7 Annex C, PS3.4 B.2.3),
 * STOW failure reason (0008,1197) (PS3.18 Annex I.2.2), HTTP status.
 */
interface Answer {
  readonly dimseStatus: number;
  readonly failureReason: number;
  readonly httpStatus: number;
}

export const REFUSALS = {
  /** The bytes cannot be read as what they claim to be. */
  CannotUnderstand: { dimseStatus: 0xc000, failureReason: 0xc000, httpStatus: 400 },
  /** Readable, but the content contradicts its SOP Class or the request. */
  DataSetMismatch: { dimseStatus: 0xa900, failureReason: 0xa900, httpStatus: 409 },
  /** Another study than the one named in the request (PS3.18 10.5.1). */
  OtherStudy: { dimseStatus: 0xa900, failureReason: 0xa900, httpStatus: 409 },
  /** Same SOP Instance UID, other content, and the duplicate policy says reject. */
  Duplicate: { dimseStatus: 0x0111, failureReason: 0x0111, httpStatus: 409 },
  SopClassNotSupported: { dimseStatus: 0x0122, failureReason: 0x0122, httpStatus: 409 },
  TransferSyntaxNotSupported: { dimseStatus: 0xc122, failureReason: 0xc122, httpStatus: 409 },
  /** Memory, time or a worker is short: try again later. */
  OutOfResources: { dimseStatus: 0xa700, failureReason: 0xa700, httpStatus: 503 },
  /** The disk is short (RFC 4918 11.5): somebody has to make room before trying again helps. */
  DiskFull: { dimseStatus: 0xa700, failureReason: 0xa700, httpStatus: 507 },
  TooLarge: { dimseStatus: 0xa700, failureReason: 0xa700, httpStatus: 413 },
  NotAuthorized: { dimseStatus: 0x0124, failureReason: 0x0124, httpStatus: 403 },
  /** A fault of ours, told with an id that leads to the log. */
  ProcessingFailure: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 500 },
  BadRequest: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 400 },
  NotFound: { dimseStatus: 0x0112, failureReason: 0x0112, httpStatus: 404 },
  Gone: { dimseStatus: 0x0112, failureReason: 0x0112, httpStatus: 410 },
  /** It would be lost if it were deleted now. */
  Busy: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 409 },
  /** It is not in the state that this needs. */
  Conflict: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 409 },
  /** A work item is not in a state in which this can be done (PS3.4 CC.1.1). */
  InconsistentState: { dimseStatus: 0xc300, failureReason: 0x0110, httpStatus: 409 },
  /** The lock of a work item was not shown. */
  WrongTransaction: { dimseStatus: 0xc301, failureReason: 0x0110, httpStatus: 400 },
  /** What the request was made conditional on does not hold (RFC 9110 13.1.1, 13.1.4). */
  PreconditionFailed: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 412 },
  NotAcceptable: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 406 },
  UnsupportedMediaType: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 415 },
  /** A configuration file that cannot be used. */
  BadConfiguration: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 400 },
  /** No admission rule, no verdict, unsafe pixels or faces: the bytes stay sealed until a person looks. */
  Quarantined: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 409 },
  /** A pipeline cannot or must not run on this input. */
  PipelineRefused: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 409 },
  /** A reference of a derived object does not resolve through the crosswalk. */
  Unresolved: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 409 },
  /** The far side did not take it; worth another attempt. */
  DeliveryFailed: { dimseStatus: 0x0110, failureReason: 0x0110, httpStatus: 502 },
} as const satisfies Record<string, Answer>;

export type RefusalReason = keyof typeof REFUSALS;

/** An expected refusal. The sentence says what was found, what was expected, where; never a patient's value. */
export class Refusal extends Error {
  readonly reason: RefusalReason;
  /** What the Warning header has to say of it, where PS3.18 prescribes a text. */
  readonly warning: string | undefined;

  constructor(reason: RefusalReason, sentence: string, warning?: string) {
    super(sentence);
    this.name = 'Refusal';
    this.reason = reason;
    this.warning = warning;
  }

  get answer(): Answer {
    return REFUSALS[this.reason];
  }
}

/** What may pass by itself: the same may be asked for again later. */
export function isShortage(error: unknown): boolean {
  return error instanceof Refusal && (error.reason === 'OutOfResources' || error.reason === 'DiskFull');
}
