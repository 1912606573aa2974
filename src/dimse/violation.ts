/** What a peer did against PS3.8, with the reason that the A-ABORT gives it (Table 9-26). */
export const AbortReason = {
  notSpecified: 0,
  unrecognizedPdu: 1,
  unexpectedPdu: 2,
  unrecognizedPduParameter: 4,
  unexpectedPduParameter: 5,
  invalidPduParameter: 6,
} as const;
export type AbortReason = (typeof AbortReason)[keyof typeof AbortReason];

/** The association cannot go on. The sentence names types and lengths, never content. */
export class ProtocolViolation extends Error {
  readonly abortReason: AbortReason;

  constructor(abortReason: AbortReason, sentence: string) {
    super(sentence);
    this.name = 'ProtocolViolation';
    this.abortReason = abortReason;
  }
}
