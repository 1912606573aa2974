/** What the index wants to know of an object, read from its head. */
import { tagKey, type DataSet } from '../dicom/data-set.ts';
import { formatDicomJson } from '../dicom/json.ts';
import type { Deidentified, PixelDataHeader } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import type { FrameExtents } from '../dicom/pixel-data.ts';
import { BASE } from './attributes.ts';

/** All that the index says of an instance but where it lies. */
export interface Described {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  readonly project: string;
  /** The data set as DICOM JSON, URLs beginning with BASE. */
  readonly metadata: string;
  extents: FrameExtents;
}

export interface ReadDescription {
  readonly described: Described;
  readonly dataSet: DataSet;
  readonly pixelData: PixelDataHeader | undefined;
}

/** Reads what the index wants to know from an object's head. @throws Refusal, as readHead does */
export function describe(
  object: Pick<
    Deidentified,
    | 'head'
    | 'studyInstanceUID'
    | 'seriesInstanceUID'
    | 'sopInstanceUID'
    | 'sopClassUID'
    | 'transferSyntaxUID'
    | 'project'
  >,
): ReadDescription {
  const { dataSet, pixelData } = readHead(object.head).head;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID, sopClassUID, transferSyntaxUID, project } = object;
  const url = `${BASE}/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}/bulkdata/`;
  const metadata = formatDicomJson(dataSet, {
    bulkDataUri: (path) => url + path,
    ...(pixelData === undefined
      ? {}
      : { pixelData: { tag: pixelData.tag, vr: pixelData.vr, bulkDataUri: url + tagKey(pixelData.tag) } }),
  });
  const described: Described = {
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
    transferSyntaxUID,
    project,
    metadata,
    extents: { kind: 'none' },
  };
  return { described, dataSet, pixelData };
}
