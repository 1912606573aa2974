/** `isthmus serve`: the gateway, its doors and its clock; on SIGTERM they close in reverse, and what was begun comes to its end. */
import type { Server } from 'node:http';
import { adminRouter, consoleRouter } from '../admin/router.ts';
import { readConfig } from '../config.ts';
import { startScp, type Scp } from '../dimse/scp.ts';
import { closeGateway, openGateway } from '../gateway.ts';
import { openLog } from '../log.ts';
import { announceClosing, buildApp, listen } from '../server.ts';
import { commitmentHandlers } from '../workflow/commit.ts';
import { queryHandlers } from '../workflow/query-retrieve.ts';
import { storeHandlers } from '../workflow/receive.ts';
import { startTimetable } from '../workflow/timetable.ts';

export async function serve(): Promise<number> {
  const config = readConfig();
  const log = openLog(config.logLevel);
  const gateway = await openGateway(config, log);
  const { dimse } = config;
  const app = buildApp(gateway, { api: adminRouter(gateway), console: consoleRouter() });
  let scp: Scp | undefined;
  let server: Server | undefined;
  try {
    server = await listen(app, config.http);
    scp = await startScp(
      {
        host: dimse.host,
        port: dimse.port,
        aeTitle: dimse.aeTitle,
        calledAEs: [...dimse.calledAEs],
        callingAEs: [...dimse.callingAEs],
        maxAssociations: dimse.maxAssociations,
        idleMs: dimse.idleMs,
        ...(dimse.tls === undefined
          ? {}
          : {
              tls: {
                key: dimse.tls.key,
                cert: dimse.tls.certificate,
                ...(dimse.tls.authorities === undefined ? {} : { ca: dimse.tls.authorities, requestCert: true }),
              },
            }),
      },
      { ...storeHandlers(gateway), ...queryHandlers(gateway), ...commitmentHandlers(gateway) },
    );
    const timetable = startTimetable(gateway);
    const address = server.address();
    log.info('ready', {
      http: typeof address === 'object' && address !== null ? address.port : undefined,
      dimse: scp.port,
      aeTitle: dimse.aeTitle,
    });
    const signal = await untilSignal();
    log.info('closing', { signal });
    await timetable.stop();
    return 0;
  } finally {
    await announceClosing(app);
    await scp?.close();
    if (server !== undefined) await closeServer(server);
    await closeGateway(gateway);
  }
}

/** No request begins any more; those that run have ten seconds. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 10_000).unref();
  });
}

function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
  });
}
