/** `isthmus verify` and `isthmus reindex`: of an archive whose gateway is down. */
import { join } from 'node:path';
import { reindex, verify } from '../archive/reindex.ts';
import { firstBrokenRow } from '../audit.ts';
import { readConfig } from '../config.ts';
import { openDatabase } from '../database.ts';
import { closeGateway, lockDataFolder, openGateway } from '../gateway.ts';
import { openLog } from '../log.ts';

export async function verifyAll(): Promise<number> {
  const gateway = await openGateway(readConfig(), openLog('silent'));
  try {
    const report = await verify(gateway.archive);
    const broken = firstBrokenRow(gateway.audit);
    process.stdout.write(
      `${JSON.stringify({ archive: report, audit: broken === undefined ? 'whole' : `broken at row ${broken}` }, null, 2)}\n`,
    );
    return report.damaged.length === 0 && broken === undefined ? 0 : 1;
  } finally {
    await closeGateway(gateway);
  }
}

export async function reindexAll(): Promise<number> {
  const { dataFolder } = readConfig();
  const lock = lockDataFolder(dataFolder);
  const database = openDatabase(join(dataFolder, 'isthmus.sqlite'));
  try {
    const report = await reindex(database, join(dataFolder, 'packs'));
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return report.damaged.length === 0 ? 0 : 1;
  } finally {
    database.close();
    lock.release();
  }
}
