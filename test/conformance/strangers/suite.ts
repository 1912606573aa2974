/** What a stranger's suite is made of: checks with names, each of which holds, fails, or could not be run for a reason that is told. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Tools } from './tools.ts';

export interface Suite {
  /** One word, so that it can be asked for by name. */
  readonly name: string;
  readonly proves: string;
  /** Why it cannot run here, or undefined when it can. Brings the strangers' own packages if they are not there yet. */
  readonly missing: (tools: Tools) => string | undefined;
  readonly run: (scene: Scene) => Promise<void>;
}

export interface Scene {
  readonly tools: Tools;
  /** Scratch, removed at the end. */
  readonly folder: string;
  /** Runs the check; what it throws is its failure. Answers whether it held. */
  check(name: string, body: () => void | Promise<void>): Promise<boolean>;
  /** A verdict that a stranger's own programme came to. */
  verdict(name: string, failure?: string): void;
  notRun(name: string, reason: string): void;
  /** It ran, and ended where its authors and we read the standard otherwise: neither passed nor failed. */
  differs(name: string, reason: string): void;
  note(text: string): void;
  /** Called at the end, the last one first. */
  after(close: () => unknown): void;
}

export interface Outcome {
  readonly suite: string;
  readonly passed: string[];
  readonly failed: string[];
  /** Check (or the whole suite) and reason. */
  readonly notRun: [string, string][];
  readonly differing: [string, string][];
  readonly seconds: number;
}

/** `say` takes what is told on the way, a line or several. */
export async function runSuite(
  suite: Suite,
  tools: Tools,
  say: (text: string) => void = console.log,
): Promise<Outcome> {
  say(`\n== ${suite.name}: ${suite.proves}`);
  const started = Date.now();
  const outcome = {
    suite: suite.name,
    passed: [] as string[],
    failed: [] as string[],
    notRun: [] as [string, string][],
    differing: [] as [string, string][],
  };
  const reason = suite.missing(tools);
  const folder = mkdtempSync(join(tmpdir(), `isthmus-${suite.name}-`));
  const closers: (() => unknown)[] = [];
  const scene: Scene = {
    tools,
    folder,
    async check(name, body) {
      try {
        await body();
        scene.verdict(name);
        return true;
      } catch (error) {
        scene.verdict(name, error instanceof Error ? error.message : String(error));
        return false;
      }
    },
    verdict(name, failure) {
      (failure === undefined ? outcome.passed : outcome.failed).push(name);
      say(failure === undefined ? `ok       ${name}` : `FAIL     ${name}\n${indent(failure)}`);
    },
    notRun(name, why) {
      outcome.notRun.push([name, why]);
      say(`NOT RUN  ${name}: ${why}`);
    },
    differs(name, why) {
      outcome.differing.push([name, why]);
      say(`DIFFERS  ${name}: ${why}`);
    },
    note: (text) => say(`         ${text}`),
    after: (close) => closers.push(close),
  };
  try {
    if (reason === undefined) {
      mkdirSync(folder, { recursive: true });
      await suite.run(scene);
    } else scene.notRun(suite.name, reason);
  } catch (error) {
    scene.verdict('the suite runs to its end', error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    for (const close of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        scene.verdict('everything that was started ends', String(error));
      }
    }
    rmSync(folder, { recursive: true, force: true });
  }
  return { ...outcome, seconds: (Date.now() - started) / 1000 };
}

export function indent(text: string): string {
  const lines = text.trimEnd().split('\n');
  const shown = lines.length > 40 ? [...lines.slice(0, 40), `... ${lines.length - 40} further lines`] : lines;
  return shown.map((line) => `           ${line}`).join('\n');
}
