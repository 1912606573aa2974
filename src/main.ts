/**
 * The command line: serve | deidentify | run | verify | reindex. `serve` opens the gateway, starts doors and clock, and on SIGTERM closes
 * them in reverse, letting what was begun come to its end.
 */
if (!process.versions.node.startsWith('24.')) {
  process.stderr.write(
    `Node ${process.versions.node} runs this, Node 24 is needed: use "npm start", "npm run demo" or "npm run isthmus", which bring it\n`,
  );
  process.exit(1);
}

// Only now: several packages crash on an older Node while they load.
const { runCommand } = await import('./commands.ts');
process.exitCode = await runCommand(process.argv.slice(2));
export {};
