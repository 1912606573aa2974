/** A derived object that is a series of its own: names that follow from what it was made of and what it holds, and what all such objects begin with. */
import type { DataSet } from '../dicom/data-set.ts';
import { uidFrom, type SeriesInstanceUID, type SOPInstanceUID, type StudyInstanceUID } from '../dicom/uid.ts';
import { openAttributes, put, type Attributes } from './attributes.ts';
import { writePart10 } from './part10.ts';
import {
  copyPatientAndStudy,
  describeSeries,
  putEquipment,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';

export interface SingleObject {
  readonly attributes: Attributes;
  readonly studyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
}

export interface Beginning {
  readonly sopClassUID: string;
  readonly modality: string;
  readonly studyInstanceUID: StudyInstanceUID;
  /** Of the run (`runKey`): the same sources and settings. */
  readonly key: string;
  /** What the object holds beyond that, so that another result is another object. */
  readonly content: string;
  readonly provenance: Provenance;
}

/** @param source the data set whose patient and study it belongs to */
export function beginObject(source: DataSet, beginning: Beginning): SingleObject {
  const { sopClassUID, modality, studyInstanceUID, key, content, provenance } = beginning;
  const seriesInstanceUID = uidFrom<'series'>(key, content, 'series');
  const sopInstanceUID = uidFrom<'instance'>(key, content, 'instance');
  const attributes = openAttributes();
  copyPatientAndStudy(attributes, source);
  putEquipment(attributes, source, provenance);
  put(attributes, {
    SOPClassUID: sopClassUID,
    SOPInstanceUID: sopInstanceUID,
    SeriesInstanceUID: seriesInstanceUID,
    Modality: modality,
    SeriesNumber: String(provenance.seriesNumber),
    SeriesDescription: describeSeries(source, provenance.seriesSuffix),
    InstanceNumber: '1',
  });
  return { attributes, studyInstanceUID, seriesInstanceUID, sopInstanceUID, sopClassUID };
}

/** @param body the pixel data's value, of an even length; empty where the object has none */
export function finishObject(
  { attributes, ...names }: SingleObject,
  body: Buffer = Buffer.alloc(0),
  pixelData?: Parameters<typeof writePart10>[4],
): DerivedObject {
  return {
    head: writePart10(attributes, names.sopClassUID, names.sopInstanceUID, body.length, pixelData),
    body,
    ...names,
  };
}
