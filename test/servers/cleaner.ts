/**
 * Sees to it that no server and no folder of a test file outlives it, nor the process that runs it, in whatever way it ends. Handlers inside the process cannot: none
 * of them runs on SIGKILL, and none by default on Ctrl-C. So a second process waits for the end of the first, see cleaner-process.mjs.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const CLEANER = fileURLToPath(new URL('./cleaner-process.mjs', import.meta.url));

let cleanerInput: Socket | undefined;

/** The process ends with us. The returned function is to be called once it has ended: its pid may then be another's. */
export function endWithUs(pid: number): () => void {
  tellCleaner({ process: pid });
  return () => tellCleaner({ process: pid, done: true });
}

/** A folder that goes with us at the latest. */
export interface ServerDirectory {
  readonly path: string;
  remove(): void;
}

export function makeServerDirectory(label: string): ServerDirectory {
  const directory = mkdtempSync(path.join(tmpdir(), `miniodb-${label}-`));
  tellCleaner({ directory });
  return {
    path: directory,
    remove: () => {
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
      tellCleaner({ directory, done: true });
    },
  };
}

function tellCleaner(line: Readonly<Record<string, unknown>>): void {
  cleanerInput ??= startCleaner();
  cleanerInput.write(`${JSON.stringify(line)}\n`);
}

function startCleaner(): Socket {
  // A session of its own, so that Ctrl-C in the terminal does not reach it before it has done its work.
  const cleaner = spawn(process.execPath, [CLEANER], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
  const input = cleaner.stdin as Socket;
  input.on('error', (error) => process.stderr.write(`The cleaner of the test servers is gone: ${error.message}\n`));
  // Neither keeps a finished test process waiting.
  cleaner.unref();
  input.unref();
  atEndOfTestFile(() => {
    input.end();
    cleanerInput = undefined;
  });
  return input;
}

/** The worker that runs a file goes on with the next one; test/jest/environment.mjs calls this in between. */
function atEndOfTestFile(act: () => void): void {
  const acts = (globalThis as unknown as Record<symbol, (() => void)[] | undefined>)[Symbol.for('miniodb.atEndOfTestFile')];
  acts?.push(act);
}
