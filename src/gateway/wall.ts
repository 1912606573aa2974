/** What de-identifying needs by itself, without a gateway: the crosswalk and, for pixels, detector and codecs. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { blankFrame, convertFrame, type CodecPool } from '../codecs/pool.ts';
import { decodedLayout } from '../codecs/photometric.ts';
import type { Config, WallConfig } from '../config.ts';
import type { ProfileSource } from '../config/profiles.ts';
import { openDatabase, type Database } from '../database.ts';
import { openWall, type Wall } from '../deidentify/wall.ts';
import type { FaceTools } from '../deidentify/faces/pixels.ts';
import { compileDevices, type DeviceFile } from '../deidentify/pixels/devices.ts';
import type { PixelTools } from '../deidentify/pixels/tools.ts';
import { compileProfile, ProfileFault, type CompiledProfile, type ProfileFile } from '../deidentify/profile.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { openPool, runTextDetection, type Pool } from '../pipelines/pool.ts';

/** @throws Refusal BadConfiguration with file, line and what is expected there */
export function compileSource(name: string, { value, lineOf }: ProfileSource): CompiledProfile {
  try {
    return compileProfile(value as ProfileFile);
  } catch (error) {
    if (!(error instanceof ProfileFault)) throw error;
    throw new Refusal('BadConfiguration', `${name}.yaml line ${lineOf(error.path)}: ${error.message}`);
  }
}

export function databaseFile(config: Pick<Config, 'dataFolder'>): string {
  return join(config.dataFolder, 'isthmus.sqlite');
}

/** Database and wall alone: what de-identifying needs, beside a running gateway too. @throws Refusal BadConfiguration */
export function openCrosswalk(config: WallConfig): { database: Database; wall: Wall } {
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 });
  const database = openDatabase(databaseFile(config));
  try {
    return { database, wall: openWall(database, config.crosswalkKey) };
  } catch (error) {
    database.close();
    throw error;
  }
}

/** onnxruntime gives back no memory of pictures of ever other sizes; a thread costs half a second. */
const PICTURES_PER_WORKER = 500;

export function openDetector(config: WallConfig): Promise<Pool> {
  return openPool({
    threads: config.pipelines.threads,
    maxMemoryMb: config.pipelines.maxMemoryMb,
    modelsFolder: config.modelsFolder,
    jobsPerWorker: PICTURES_PER_WORKER,
    // Pictures that still name somebody: nothing of them leaves the process.
    isolation: 'thread',
  });
}

/**
 * The rooms that cleaning pixels needs, put together; undefined without the model that finds text: then what a profile would have
 * cleaned waits in quarantine. @throws Refusal BadConfiguration when device rules cannot be used
 */
export function openPixelTools(config: WallConfig, codecs: CodecPool, detector: Pool): PixelTools | undefined {
  const deviceRules = new Map(
    [...config.deviceRules].map(([name, file]) => [name, compileDevices(file as DeviceFile)] as const),
  );
  if (!detector.cards.has('text')) return undefined;
  return {
    findText: async (grey, rows, columns) => (await runTextDetection(detector, { grey, rows, columns })).boxes,
    ...openFaceTools(config, codecs),
    blankJpeg: (frame, layout, boxes) => blankFrame(codecs, ownCopy(frame), layout, boxes),
    deviceRules,
  };
}

export function openFaceTools(config: Pick<Config, 'dataFolder'>, codecs: CodecPool): FaceTools {
  return {
    spoolFolder: spoolFolder(config),
    decode: async (frame, layout, from) => ({
      bytes: await convertFrame(codecs, ownCopy(frame), layout, { from, to: EXPLICIT_VR_LITTLE_ENDIAN }),
      layout: decodedLayout(layout, from),
    }),
    encode: ({ bytes, layout }, to) =>
      convertFrame(codecs, ownCopy(bytes), layout, { from: EXPLICIT_VR_LITTLE_ENDIAN, to }),
  };
}

/** Where what is too long for memory waits, encrypted and without a name. */
export function spoolFolder(config: Pick<Config, 'dataFolder'>): string {
  return join(config.dataFolder, 'spool');
}

/** A frame moves to the codec's thread: what is still needed here must not. */
function ownCopy(bytes: Buffer): Buffer {
  return Buffer.from(Uint8Array.from(bytes).buffer);
}
