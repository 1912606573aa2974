/** DELETE of a study, series or instance: an extension to PS3.18, declared. 204, from then on 410. */
import { deleteFromArchive } from '../workflow/delete.ts';
import { refuseUnlessAsSeen } from './conditional.ts';
import type { Exchange } from './exchange.ts';
import { scopeOf, versionIn } from './wado.ts';

export async function deleteResource(exchange: Exchange): Promise<void> {
  const { gateway, caller, response } = exchange;
  const scope = scopeOf(exchange);
  // Tells 404 and 410 apart.
  versionIn(exchange, scope);
  await deleteFromArchive(gateway, scope, caller.name, () => refuseUnlessAsSeen(exchange));
  response.statusCode = 204;
  response.end();
}
