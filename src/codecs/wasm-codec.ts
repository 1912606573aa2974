/** One way through the codecs that are WebAssembly: what they hold of the module's memory is given back, however it ends. */
import type { ImageLayout } from './image.ts';

/** A copy of the samples, and what `ask` is told by the decoder before it goes. */
export function decodeBy<D extends Decoder, A = undefined>(
  decoder: D,
  stream: Buffer,
  ask?: (decoder: D) => A,
): { readonly samples: Buffer; readonly told: A | undefined } {
  try {
    decoder.getEncodedBuffer(stream.length).set(stream);
    decoder.decode();
    return { samples: Buffer.from(decoder.getDecodedBuffer()), told: ask?.(decoder) };
  } finally {
    decoder.delete();
  }
}

/** A copy of the stream that the frame becomes under these settings. */
export function encodeBy<E extends Encoder>(
  encoder: E,
  frame: Buffer,
  info: FrameInfo,
  set: (encoder: E) => void,
): Buffer {
  try {
    encoder.getDecodedBuffer(info).set(frame);
    set(encoder);
    encoder.encode();
    return Buffer.from(encoder.getEncodedBuffer());
  } finally {
    encoder.delete();
  }
}

/** What JPEG 2000 and HTJ2K are told of a frame. */
export function wavelet(layout: ImageLayout): FrameInfo {
  return {
    width: layout.columns,
    height: layout.rows,
    bitsPerSample: layout.bitsStored,
    componentCount: layout.samplesPerPixel,
    isSigned: layout.signed,
    isUsingColorTransform: layout.photometricInterpretation === 'RGB',
  };
}
