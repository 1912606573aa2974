/** What is used of the codecs that come without types. Buffers are views on the codec's memory, good until the next call. */
interface FrameInfo {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
  readonly isSigned?: boolean;
  readonly isUsingColorTransform?: boolean;
}

interface Decoder {
  getEncodedBuffer(lengthBytes: number): Uint8Array;
  decode(): void;
  getDecodedBuffer(): Uint8Array;
  delete(): void;
}

interface Encoder {
  getDecodedBuffer(frame: FrameInfo): Uint8Array;
  encode(): void;
  getEncodedBuffer(): Uint8Array;
  delete(): void;
}

interface WaveletSettings {
  setQuality(lossless: boolean, quality: number): void;
}

interface OpenOptions {
  readonly print: (line: string) => void;
  readonly printErr: (line: string) => void;
}

declare module '@cornerstonejs/codec-charls/wasmjs' {
  export interface CharlsModule {
    readonly JpegLSDecoder: new () => Decoder & { getInterleaveMode(): number };
    readonly JpegLSEncoder: new () => Encoder & {
      setNearLossless(allowed: number): void;
      setInterleaveMode(mode: number): void;
    };
  }
  export default function open(options: OpenOptions): Promise<CharlsModule>;
}

declare module '@cornerstonejs/codec-openjpeg/wasmjs' {
  export interface OpenjpegModule {
    readonly J2KDecoder: new () => Decoder;
    readonly J2KEncoder: new () => Encoder & WaveletSettings & { setDecompositions(levels: number): void };
  }
  export default function open(options: OpenOptions): Promise<OpenjpegModule>;
}

declare module '@cornerstonejs/codec-openjph/wasmjs' {
  export interface OpenjphModule {
    readonly HTJ2KDecoder: new () => Decoder;
    readonly HTJ2KEncoder: new () => Encoder & WaveletSettings;
  }
  export default function open(options: OpenOptions): Promise<OpenjphModule>;
}
