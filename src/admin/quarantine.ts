/** Quarantine as people review it: what is held, a look under the seal, and what becomes of it. */
import type { Request } from 'express';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { countHeld, groupHeld, listHeld, type HeldGroup } from '../quarantine.ts';
import { discardGroup, discardHeld, releaseGroup, releaseHeld } from '../workflow/review.ts';
import { previewSealed, viewSealed, type Grounds, type Treatment } from '../workflow/sealed.ts';
import { fieldsOf, Page, parameter, queryOf, Shown, stretchOf, text, type AddRoute, type Fields } from './routes.ts';

const OFFICER = ['privacy-officer'] as const;
const BOTH = ['radiology-it', 'privacy-officer'] as const;

export function addQuarantineRoutes(
  add: AddRoute,
  gateway: Gateway,
  json: (request: Request) => Promise<unknown>,
): void {
  const fields = async (request: Request): Promise<Fields> => fieldsOf(await json(request), 'the body');
  add('get', '/quarantine', BOTH, (request) => {
    const query = queryOf(request);
    const asked = (name: string): string | undefined => query.get(name) ?? undefined;
    const filter = {
      reason: asked('reason'),
      sentence: asked('sentence'),
      callingAE: asked('callingAE'),
      door: asked('door'),
    };
    const { limit, offset } = stretchOf(query);
    return new Page(listHeld(gateway.quarantine, limit, filter, offset), countHeld(gateway.quarantine, filter));
  });
  add('get', '/quarantine/groups', BOTH, () => groupHeld(gateway.quarantine));
  // POST, since each leaves a line in the audit trail.
  add('post', '/quarantine/:id/view', OFFICER, async (request, caller) => {
    const body = await fields(request);
    return viewSealed(
      gateway,
      parameter(request, 'id'),
      { ...groundsOf(body), ...treatmentOf(gateway, body) },
      caller.name,
    );
  });
  add('post', '/quarantine/:id/preview', OFFICER, async (request, caller) => {
    const { frame = 1, ...body } = await fields(request);
    if (typeof frame !== 'number' || !Number.isInteger(frame) || frame < 1)
      throw new Refusal('BadRequest', 'frame must be a whole number from 1 on');
    const asked = { ...groundsOf(body), frame };
    return new Shown('image/png', await previewSealed(gateway, parameter(request, 'id'), asked, caller.name));
  });
  add('post', '/quarantine/:id/release', OFFICER, async (request, caller) =>
    releaseHeld(gateway, parameter(request, 'id'), treatmentOf(gateway, await fields(request)), caller.name),
  );
  add('delete', '/quarantine/:id', OFFICER, (request, caller) =>
    discardHeld(gateway, parameter(request, 'id'), caller.name),
  );
  add('post', '/quarantine/release', OFFICER, async (request, caller) => {
    const body = await fields(request);
    return releaseGroup(gateway, groupOf(body), treatmentOf(gateway, body), caller.name);
  });
  add('post', '/quarantine/discard', OFFICER, async (request, caller) =>
    discardGroup(gateway, groupOf(await fields(request)), caller.name),
  );
}

function groundsOf({ reason, reference = '' }: Fields): Grounds {
  return { reason: text(reason, 'reason'), reference: text(reference, 'reference', 0) };
}

function groupOf({ reason, sentence }: Fields): HeldGroup {
  return { reason: text(reason, 'reason'), sentence: text(sentence, 'sentence') };
}

const MOST_OVERRIDES = 100;

function treatmentOf(gateway: Gateway, { project, profile, overrides }: Fields): Treatment {
  if (typeof project !== 'string' || !/^[a-z][a-z0-9-]{0,62}$/.test(project))
    throw new Refusal('BadRequest', 'project must name a project');
  if (typeof profile !== 'string' || !gateway.profiles.has(profile))
    throw new Refusal('BadRequest', `profile must be one of ${[...gateway.profiles.keys()].join(', ')}`);
  if (overrides === undefined) return { project, profile };
  if (!Array.isArray(overrides) || overrides.length > MOST_OVERRIDES)
    throw new Refusal('BadRequest', `overrides must be a list of at most ${MOST_OVERRIDES} rules`);
  return { project, profile, overrides };
}
