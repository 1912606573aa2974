/** An object passes the wall: de-identified, stored and written down in one transaction. What happens to it, whoever decided so. */
import { storeInstance } from '../archive/instances.ts';
import type { DefacedPixels } from '../deidentify/faces/defacer.ts';
import { deidentify } from '../deidentify/deidentify.ts';
import type { Deidentified, Identified } from '../dicom/object.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import type { Gateway } from '../gateway.ts';
import { lookAgain } from './clean-again.ts';
import { beginArrival, endArrival, touchStudy } from './complete.ts';
import { lostOf, tally } from './tally.ts';

export interface Way {
  readonly project: string;
  readonly profile: CompiledProfile;
  /** Of an image whose face was taken out. */
  readonly defaced?: DefacedPixels;
  /** Part of the transaction that stores the object; not called for what is there already. */
  readonly alongside?: () => void;
  /** Called when the head has passed; only damage can stop the object now. */
  readonly admitted?: () => void;
}

/** Resolves when the object is durable. @throws Refusal */
export async function letIn(gateway: Gateway, object: Identified, way: Way): Promise<Deidentified> {
  const { project, profile, defaced } = way;
  const done = await deidentify(gateway.wall, object, { project, profile, pixels: gateway.pixelTools, defaced });
  const lost = lostOf(gateway, object, done);
  const { studyInstanceUID } = done.object;
  way.admitted?.();
  beginArrival(gateway, studyInstanceUID);
  try {
    await storeInstance(gateway.archive, done.object, {
      source: done.source,
      alongside: () => {
        way.alongside?.();
        if (done.remember()) lookAgain(gateway, project, studyInstanceUID);
        touchStudy(gateway, project, studyInstanceUID);
        tally(gateway, done, profile, lost);
      },
    });
  } finally {
    endArrival(gateway, studyInstanceUID);
  }
  return done.object;
}
