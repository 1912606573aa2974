/** What goes to a worker thread of the codecs and what comes back. */
import type { RefusalReason } from '../dicom/refusal.ts';
import type { ImageLayout } from './image.ts';
import type { PixelBox } from './jpeg-blank.ts';
import type { PictureForm, PictureLayout } from './picture.ts';
import type { Presentation } from './presentation.ts';
import type { SoftcopyState } from './softcopy-state.ts';

/** One frame into another transfer syntax. */
export interface ConvertRequest {
  readonly kind: 'convert';
  readonly frame: Uint8Array;
  readonly layout: ImageLayout;
  readonly from: string;
  readonly to: string;
}

export interface FrameToDraw {
  readonly frame: Uint8Array;
  readonly presentation: Presentation;
  /** Seen as a presentation state says. */
  readonly state?: SoftcopyState;
}

/** Frames drawn as a picture; several only for a picture that moves. */
export interface DrawRequest {
  readonly kind: 'draw';
  readonly frames: readonly FrameToDraw[];
  readonly layout: ImageLayout;
  readonly from: string;
  readonly form: PictureForm;
}

/** A PNG or GIF as native samples. */
export interface PictureRequest {
  readonly kind: 'picture';
  readonly frame: Uint8Array;
  readonly layout: PictureLayout;
}

/** A JPEG frame with parts of it blanked, nothing else of it decoded. */
export interface BlankRequest {
  readonly kind: 'blank';
  readonly frame: Uint8Array;
  readonly layout: ImageLayout;
  readonly boxes: readonly PixelBox[];
}

export type CodecRequest = ConvertRequest | DrawRequest | PictureRequest | BlankRequest;

export interface JobMessage {
  readonly job: number;
  readonly request: CodecRequest;
}

export type WorkerMessage =
  | { readonly job: number; readonly kind: 'result'; readonly bytes: Uint8Array }
  /** `spoilt`: the codec failed inside, the thread takes no more work. */
  | {
      readonly job: number;
      readonly kind: 'refusal';
      readonly reason: RefusalReason;
      readonly sentence: string;
      readonly spoilt: boolean;
    }
  | { readonly job: number; readonly kind: 'fault'; readonly message: string };
