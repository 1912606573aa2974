/** The audit trail as a privacy officer reads it; whoever reads leaves a line in it (PS3.15 A.5.3.2, Audit Log Used). */
import { countAudit, listAudit, recordAudit } from '../audit.ts';
import type { Gateway } from '../gateway.ts';
import { Page, queryOf, stretchOf, type AddRoute } from './routes.ts';

export function addAuditRoutes(add: AddRoute, { audit }: Gateway): void {
  add('get', '/audit', ['privacy-officer'], (request, caller) => {
    const stretch = stretchOf(queryOf(request));
    recordAudit(audit, 'Audit Log Used', caller.name, { action: 'read', limit: stretch.limit, offset: stretch.offset });
    return new Page(listAudit(audit, stretch), countAudit(audit));
  });
}
