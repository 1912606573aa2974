/**
 * A look at what quarantine holds, for the one who decides what becomes of it: what each attribute says and what a profile would make of
 * it, and a picture of the pixels. The seal stays; every look stands in the audit trail, and nothing of it is kept anywhere.
 */
import { recordAudit } from '../audit.ts';
import { imageLayout } from '../codecs/image.ts';
import { drawFrames } from '../codecs/pool.ts';
import { presentationOf } from '../codecs/presentation.ts';
import { storedFrame } from '../codecs/stored-frame.ts';
import { checkProfile } from '../config/yaml-file.ts';
import { deidentify } from '../deidentify/deidentify.ts';
import { recordOf } from '../deidentify/patient-facts.ts';
import { describeChange, type Change } from '../deidentify/dry-run.ts';
import { compileProfile, ProfileFault, type CompiledProfile, type ProfileFile } from '../deidentify/profile.ts';
import { openShadow } from '../deidentify/shadow.ts';
import { numberValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Identified } from '../dicom/object.ts';
import { receiveObject } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { profileOf, type Gateway } from '../gateway.ts';
import { heldById, unseal, type Held } from '../quarantine.ts';

/** Why: a word of this list, and the number of the file that tells more. Free text could name the person. */
const VIEW_REASONS = ['review', 'profile-fault', 'incident', 'data-subject-request'] as const;

export interface Grounds {
  readonly reason: string;
  /** Empty: none. */
  readonly reference: string;
}

/** Under what an object would be let in. */
export interface Treatment {
  readonly project: string;
  readonly profile: string;
  /** Rules for this once, before those of the profile; as a profile's `overrides`. */
  readonly overrides?: readonly unknown[];
}

export interface SealedView {
  readonly held: Held;
  /** Undefined where the object can be read but has no pixels. */
  readonly frames: number | undefined;
  /** In the object's order; empty when it cannot be read. */
  readonly attributes: readonly Change[];
  /** What would happen on release. */
  readonly would:
    { readonly release: true } | { readonly release: false; readonly reason: string; readonly found: string };
}

/** @throws Refusal BadRequest for overrides that make no sense, BadConfiguration for a profile that is not there */
export function treatmentProfile(gateway: Gateway, { profile, overrides = [] }: Treatment): CompiledProfile {
  const compiled = profileOf(gateway, profile);
  if (overrides.length === 0) return compiled;
  const file = { ...compiled.file, overrides: [...overrides, ...(compiled.file.overrides ?? [])] };
  // What the safe list holds has been put in by whoever read the profile's file.
  const { private: list, ...rest } = file;
  checkProfile(list?.mode === 'safe-list' ? { ...rest, private: { mode: list.mode, list: list.list } } : file);
  try {
    return compileProfile(file as ProfileFile);
  } catch (error) {
    if (!(error instanceof ProfileFault)) throw error;
    throw new Refusal('BadRequest', error.message);
  }
}

/** @throws Refusal NotFound, BadRequest */
export async function viewSealed(
  gateway: Gateway,
  id: string,
  asked: Treatment & Grounds,
  actor: string,
): Promise<SealedView> {
  const profile = treatmentProfile(gateway, asked);
  const held = openOnRecord(gateway, id, asked, { action: 'view sealed', actor });
  const attributes: Change[] = [];
  try {
    const object = await openSealed(gateway, held);
    const frames =
      object.head.pixelData && Math.max(1, Math.trunc(numberValue(object.head.dataSet, tag('NumberOfFrames')) ?? 1));
    const would = await tryOut(gateway, object, { project: asked.project, profile }, attributes);
    return { held, frames, attributes, would };
  } catch (error) {
    return { held, frames: undefined, attributes, would: refusedWith(error) };
  }
}

async function tryOut(
  gateway: Gateway,
  object: Identified,
  treatment: { readonly project: string; readonly profile: CompiledProfile },
  attributes: Change[],
): Promise<SealedView['would']> {
  const record = recordOf(object.head.dataSet);
  const shadow = openShadow(gateway.wall, treatment.project, record ?? { issuer: '', id: '' });
  try {
    const { object: clean } = await deidentify(shadow.wall, object, {
      ...treatment,
      pixels: gateway.pixelTools,
      trace: (traced) => {
        const change = describeChange(traced);
        if (change !== undefined) attributes.push(change);
      },
    });
    for await (const _chunk of clean.body);
    return { release: true };
  } catch (error) {
    return refusedWith(error);
  } finally {
    shadow.database.close();
  }
}

function refusedWith(error: unknown): SealedView['would'] {
  if (!(error instanceof Refusal)) throw error;
  return { release: false, reason: error.reason, found: error.message };
}

/** Wider or higher than this a picture is made smaller. */
const MOST_PIXELS = 1024;

/** A PNG. @throws Refusal NotFound, BadRequest; NotAcceptable for what cannot be drawn */
export async function previewSealed(
  gateway: Gateway,
  id: string,
  asked: Grounds & { readonly frame: number },
  actor: string,
): Promise<Buffer> {
  const held = openOnRecord(gateway, id, asked, { action: 'view sealed pixels', actor });
  const object = await openSealed(gateway, held);
  const { dataSet, pixelData } = object.head;
  const layout = imageLayout(dataSet);
  const { frame, transferSyntaxUID } = await storedFrame(object, asked.frame);
  const presentation = presentationOf(dataSet, asked.frame, pixelData?.tag);
  const isLarge = layout.rows > MOST_PIXELS || layout.columns > MOST_PIXELS;
  return drawFrames(gateway.codecs, {
    frames: [{ frame, presentation }],
    layout,
    from: transferSyntaxUID,
    form: {
      type: 'image/png',
      quality: 90,
      iccProfile: 'no',
      pixelAspect: presentation.pixelAspect,
      ...(isLarge ? { viewport: { width: MOST_PIXELS, height: MOST_PIXELS } } : {}),
    },
  });
}

/** The line in the trail is there before anything is seen. */
function openOnRecord(
  gateway: Gateway,
  id: string,
  { reason, reference }: Grounds,
  { action, actor }: { readonly action: string; readonly actor: string },
): Held {
  if (!(VIEW_REASONS as readonly string[]).includes(reason))
    throw new Refusal('BadRequest', `reason must be one of ${VIEW_REASONS.join(', ')}`);
  if (!/^([A-Za-z0-9][A-Za-z0-9 ./_-]{0,39})?$/.test(reference))
    throw new Refusal('BadRequest', 'reference must be the number of a file, up to 40 characters');
  const held = heldById(gateway.quarantine, id);
  if (held === undefined) throw new Refusal('NotFound', 'nothing is held under this id');
  recordAudit(gateway.audit, 'Application Activity', actor, { action, held: id, reason, reference });
  return held;
}

/** @throws Refusal CannotUnderstand */
export async function openSealed(gateway: Gateway, held: Held): Promise<Identified> {
  return receiveObject(
    await unseal(gateway.quarantine, held.id),
    held.transferSyntaxUID === '' ? {} : { transferSyntaxUID: held.transferSyntaxUID },
  );
}
