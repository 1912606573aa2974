/** Grayscale Softcopy Presentation State (PS3.3 A.33.1): how a derived series is to be seen first, and what is written on it. */
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { put, type Item } from './attributes.ts';
import { beginObject, finishObject } from './single-object.ts';
import { bounded, contentTime, putBodyPart, runKey, type DerivedObject, type Provenance } from './provenance.ts';
import { referenceItem, referenceTo, type Reference } from './references.ts';
import { CREATOR } from './registration-object.ts';

const GRAYSCALE_PRESENTATION_STATE = '1.2.840.10008.5.1.4.1.1.11.1';
const LAYER = 'ISTHMUS';

export interface PresentationStateRequest {
  readonly source: readonly Head[];
  /** The images it is about: one series of the source's study. */
  readonly images: readonly Reference[];
  readonly columns: number;
  readonly rows: number;
  /** Of a pixel, down and across. */
  readonly pixelSpacingMm: readonly [number, number];
  /** Absent: each image's own. */
  readonly window?: { readonly center: number; readonly width: number } | undefined;
  readonly text: string;
  readonly provenance: Provenance;
}

/** @throws Refusal PipelineRefused when there is no source or no image */
export function derivePresentationState(request: PresentationStateRequest): DerivedObject {
  const { source, images, provenance, window } = request;
  const [first] = source;
  const [image] = images;
  if (first === undefined || image === undefined)
    throw new Refusal('PipelineRefused', 'there is no image that a presentation state could be of');
  const key = runKey('presentation state', images, provenance);
  const said = JSON.stringify([request.text, window ?? null]);
  const { studyInstanceUID } = referenceTo(first);
  const { ContentDate: date = '', ContentTime: time = '' } = contentTime(first.dataSet);
  const references = images.map((one) => referenceItem(one));
  const begun = beginObject(first.dataSet, {
    sopClassUID: GRAYSCALE_PRESENTATION_STATE,
    modality: 'PR',
    studyInstanceUID,
    key,
    content: said,
    provenance,
  });
  const { attributes } = begun;
  putBodyPart(attributes, first.dataSet);
  put(attributes, {
    ContentLabel: 'FIRST VIEW',
    ContentDescription: bounded(provenance.description, 64),
    ContentCreatorName: CREATOR,
    PresentationCreationDate: date,
    PresentationCreationTime: time,
    ReferencedSeriesSequence: [{ SeriesInstanceUID: image.seriesInstanceUID, ReferencedImageSequence: references }],
    ...annotation(request, references),
    DisplayedAreaSelectionSequence: [
      {
        ReferencedImageSequence: references,
        DisplayedAreaTopLeftHandCorner: [1, 1],
        DisplayedAreaBottomRightHandCorner: [request.columns, request.rows],
        PresentationSizeMode: 'SCALE TO FIT',
        PresentationPixelSpacing: [...request.pixelSpacingMm],
      },
    ],
    ...(window === undefined
      ? {}
      : {
          SoftcopyVOILUTSequence: [
            { ReferencedImageSequence: references, WindowCenter: window.center, WindowWidth: window.width },
          ],
        }),
    PresentationLUTShape: 'IDENTITY',
  });
  return finishObject(begun);
}

/** One line at the lower edge of what is shown. */
function annotation({ text }: PresentationStateRequest, references: readonly Item[]): Item {
  return {
    GraphicAnnotationSequence: [
      {
        ReferencedImageSequence: references,
        GraphicLayer: LAYER,
        TextObjectSequence: [
          {
            BoundingBoxAnnotationUnits: 'DISPLAY',
            UnformattedTextValue: bounded(text, 1024),
            BoundingBoxTopLeftHandCorner: [0.02, 0.9],
            BoundingBoxBottomRightHandCorner: [0.98, 0.98],
            BoundingBoxTextHorizontalJustification: 'LEFT',
          },
        ],
      },
    ],
    GraphicLayerSequence: [{ GraphicLayer: LAYER, GraphicLayerOrder: 1 }],
  };
}
