/** The head of `head` as enhanced multi-frame objects (PS3.3 A.36, A.38), with one volume or several: time points, phases, places. Own work. */
import { newUid } from '../../src/dicom/uid.ts';
import type { ScannedHead } from './head.ts';
import { writePart10, words, type Item, type Planted, type Syntax } from './part10.ts';

/** One volume of an object. */
export interface EnhancedVolume {
  readonly head: ScannedHead;
  /** Temporal Position Index (0020,9128). */
  readonly time?: number;
  /** Stack ID (0020,9056). */
  readonly stack?: string;
  /** Complex Image Component (0008,9208). */
  readonly component?: 'MAGNITUDE' | 'PHASE';
  /** Instead of the head's own: as many bytes. */
  readonly pixels?: readonly Buffer[];
}

export interface EnhancedObject {
  readonly sopClassUID?: string;
  readonly patientName?: string;
  readonly studyInstanceUID?: string;
  readonly seriesInstanceUID?: string;
  readonly frameOfReferenceUID?: string;
  readonly frameType?: string;
  readonly calculation?: string;
  readonly syntax?: Syntax;
  /** Frames as they are encapsulated, in the object's order. */
  readonly encoded?: (frame: Buffer) => Buffer;
  /** All volumes of a place one behind the other, not all places of a volume. */
  readonly placeByPlace?: boolean;
}

interface Frame {
  readonly volume: EnhancedVolume;
  readonly slice: number;
}

const us = (tag: number, value: number): Planted => ({ tag, vr: 'US', value: words(2, value) });
const ul = (tag: number, ...values: readonly number[]): Planted => ({ tag, vr: 'UL', value: words(4, ...values) });
const text = (tag: number, vr: Planted['vr'], value: string): Planted => ({ tag, vr, value });
const group = (tag: number, ...element: Planted[]): Planted => ({ tag, vr: 'SQ', value: [element] });
const double = (tag: number, value: number): Planted => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return { tag, vr: 'FD', value: bytes };
};
const decimals = (values: readonly number[]): string => values.map((value) => value.toFixed(6).slice(0, 16)).join('\\');
const code = (value: string, scheme: string, meaning: string): Item => [
  text(0x00080100, 'SH', value),
  text(0x00080102, 'SH', scheme),
  text(0x00080104, 'LO', meaning),
];

export function enhancedHead(
  volumes: readonly EnhancedVolume[],
  facts: EnhancedObject = {},
): { readonly sopInstanceUID: string; readonly bytes: Buffer; readonly frames: readonly Buffer[] } {
  const [first] = volumes;
  if (first === undefined) throw new Error('an object has at least one volume');
  const { head } = first;
  const isCt = head.scan.contrast === 'CT';
  const sopClassUID = facts.sopClassUID ?? (isCt ? '1.2.840.10008.5.1.4.1.1.2.1' : '1.2.840.10008.5.1.4.1.1.4.1');
  const frames = framesOf(volumes, facts.placeByPlace === true);
  const pixels = frames.map(
    ({ volume, slice }) => volume.pixels?.[slice] ?? volume.head.slices[slice]?.pixels ?? Buffer.alloc(0),
  );
  const sopInstanceUID = newUid();
  const frameType = facts.frameType ?? (isCt ? 'ORIGINAL\\PRIMARY\\VOLUME\\NONE' : 'ORIGINAL\\PRIMARY\\M\\NONE');
  const dimensions = newUid();
  const elements: Item = [
    text(0x00080008, 'CS', frameType),
    text(0x00080016, 'UI', sopClassUID),
    text(0x00080018, 'UI', sopInstanceUID),
    text(0x00080020, 'DA', '20240311'),
    text(0x00080023, 'DA', '20240311'),
    text(0x0008002a, 'DT', '20240311101512.500000'),
    text(0x00080030, 'TM', '101500'),
    text(0x00080033, 'TM', '101512'),
    text(0x00080050, 'SH', 'A4711'),
    text(0x00080060, 'CS', isCt ? 'CT' : 'MR'),
    text(0x00080070, 'LO', 'PHANTOM'),
    text(0x00080090, 'PN', 'Eschenbach^Ina'),
    text(0x00081090, 'LO', 'HEADSCAN'),
    text(0x00089205, 'CS', 'MONOCHROME'),
    text(0x00089206, 'CS', 'VOLUME'),
    text(0x00089207, 'CS', 'NONE'),
    text(0x00100010, 'PN', facts.patientName ?? 'Wachholder^Ortrud'),
    text(0x00100020, 'LO', 'HEAD-0815'),
    text(0x00100030, 'DA', '19610203'),
    text(0x00100040, 'CS', 'O'),
    text(0x00180015, 'CS', 'HEAD'),
    text(0x00181000, 'LO', '4711'),
    text(0x00181020, 'LO', '1'),
    text(0x00185100, 'CS', 'HFS'),
    text(0x0020000d, 'UI', facts.studyInstanceUID ?? newUid()),
    text(0x0020000e, 'UI', facts.seriesInstanceUID ?? newUid()),
    text(0x00200010, 'SH', '1'),
    text(0x00200011, 'IS', '3'),
    text(0x00200012, 'IS', '1'),
    text(0x00200013, 'IS', '1'),
    text(0x00200052, 'UI', facts.frameOfReferenceUID ?? newUid()),
    text(0x00201040, 'LO', ''),
    { tag: 0x00209221, vr: 'SQ', value: [[text(0x00209164, 'UI', dimensions)]] },
    {
      tag: 0x00209222,
      vr: 'SQ',
      value: [0x00209056, 0x00209057, 0x00209128].map((pointer) => [
        text(0x00209164, 'UI', dimensions),
        { tag: 0x00209165, vr: 'AT', value: words(2, pointer >>> 16, pointer & 0xffff) },
        { tag: 0x00209167, vr: 'AT', value: words(2, 0x0020, 0x9111) },
      ]),
    },
    us(0x00280002, 1),
    text(0x00280004, 'CS', 'MONOCHROME2'),
    text(0x00280008, 'IS', String(frames.length)),
    us(0x00280010, head.rows),
    us(0x00280011, head.columns),
    us(0x00280100, 16),
    us(0x00280101, 12),
    us(0x00280102, 11),
    us(0x00280103, 0),
    text(0x00280301, 'CS', 'NO'),
    text(0x00282110, 'CS', '00'),
    text(0x20500020, 'CS', 'IDENTITY'),
    group(
      0x52009229,
      group(
        isCt ? 0x00189329 : 0x00189226,
        text(0x00089007, 'CS', frameType),
        text(0x00089205, 'CS', 'MONOCHROME'),
        text(0x00089206, 'CS', 'VOLUME'),
        text(0x00089207, 'CS', facts.calculation ?? 'NONE'),
        ...(isCt ? [] : [text(0x00089208, 'CS', first.component ?? 'MAGNITUDE'), text(0x00089209, 'CS', 'T1')]),
      ),
      group(
        0x00209071,
        { tag: 0x00082218, vr: 'SQ', value: [code('69536005', 'SCT', 'Head')] },
        text(0x00209072, 'CS', 'U'),
      ),
      ...(isCt
        ? [
            group(
              0x00289145,
              text(0x00281052, 'DS', '-1024'),
              text(0x00281053, 'DS', '1'),
              text(0x00281054, 'LO', 'HU'),
            ),
          ]
        : [group(0x00289145, text(0x00281052, 'DS', '0'), text(0x00281053, 'DS', '1'), text(0x00281054, 'LO', 'US'))]),
    ),
    { tag: 0x52009230, vr: 'SQ', value: frames.map((frame, index) => perFrame(frame, index, isCt)) },
  ];
  const { encoded } = facts;
  return {
    sopInstanceUID,
    frames: pixels,
    bytes: writePart10(
      {
        sopClassUID,
        sopInstanceUID,
        elements,
        pixels: encoded === undefined ? Buffer.concat(pixels) : pixels.map(encoded),
      },
      { syntax: facts.syntax ?? 'explicit-le', characterSet: 'utf-8', undefinedLength: () => true },
    ),
  };
}

function framesOf(volumes: readonly EnhancedVolume[], placeByPlace: boolean): Frame[] {
  if (!placeByPlace)
    return volumes.flatMap((volume) => volume.head.slices.map((_, slice): Frame => ({ volume, slice })));
  const places = Math.max(...volumes.map(({ head }) => head.slices.length));
  return Array.from({ length: places }, (_, slice) => volumes.map((volume): Frame => ({ volume, slice }))).flat();
}

function perFrame({ volume, slice }: Frame, index: number, isCt: boolean): Item {
  const { head, time = 1, stack = '1', component } = volume;
  const seconds = (10 + index / 1000).toFixed(3).padStart(6, '0');
  const { positionMm = [0, 0, 0] } = head.slices[slice] ?? {};
  return [
    group(
      0x00209111,
      text(0x00189074, 'DT', `202403111015${seconds}`),
      text(0x00189151, 'DT', `202403111015${seconds}`),
      double(0x00189220, 1),
      text(0x00209056, 'SH', stack),
      ul(0x00209057, slice + 1),
      ul(0x00209128, time),
      ul(0x00209157, Number(stack), slice + 1, time),
    ),
    group(0x00209113, text(0x00200032, 'DS', decimals(positionMm))),
    group(0x00209116, text(0x00200037, 'DS', decimals([...head.row, ...head.column]))),
    group(
      0x00289110,
      text(0x00180050, 'DS', String(head.sliceMm)),
      text(0x00280030, 'DS', `${head.pixelMm}\\${head.pixelMm}`),
    ),
    ...(component === undefined || isCt
      ? []
      : [
          group(
            0x00189226,
            text(0x00089007, 'CS', `ORIGINAL\\PRIMARY\\${component === 'PHASE' ? 'P' : 'M'}\\NONE`),
            text(0x00089208, 'CS', component),
          ),
        ]),
  ];
}
