/** What goes out to a node: an object under its original identity, held in memory only. */
export interface Outgoing {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly studyInstanceUID: string;
  readonly transferSyntaxUID: string;
  /** Preamble, file meta and data set up to and including the pixel data element's header. */
  readonly head: Buffer;
  /** Where the data set begins in `head`: C-STORE sends no file meta. */
  readonly dataSetStart: number;
  /** The pixel data's value, read once. */
  readonly body: AsyncIterable<Buffer>;
}

/** What the node said of one object. */
export interface Delivered {
  readonly sopInstanceUID: string;
  readonly taken: boolean;
  /** DIMSE status or STOW failure reason, as a number; 0 when it was taken without remark. */
  readonly status: number;
}
