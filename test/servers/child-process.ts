/**
 * Programs that the tests start: as servers that run until they are killed by pid, or once to their end. None outlives the test process
 * (see cleaner.ts), and whoever fails says what the program printed last.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { endWithUs } from './cleaner.js';

const OUTPUT_CHARACTERS_KEPT = 4_000;
const POLL_MS = 20;
const READY_MS_MAX = 60_000;
const RUN_MS_MAX = 60_000;

export interface ServerProcess {
  readonly name: string;
  readonly pid: number;
  hasEnded(): boolean;
  /** The end of what it printed. */
  lastOutput(): string;
  /** SIGSTOP: it keeps its connections and answers none of them. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** SIGKILL, and wait until it is gone. May be called again. */
  kill(): Promise<void>;
}

/**
 * Starts a program in the foreground.
 * @param calledAs the name the program sees as its own, for those that behave by it
 * @throws Error with the line to type when there is no such program
 */
export function spawnServer(program: string, parameters: readonly string[], calledAs: string = program): ServerProcess {
  const { child, pid, lastOutput } = spawnProgram(program, parameters, calledAs);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const signal = (name: NodeJS.Signals): void => void child.kill(name);
  return {
    name: calledAs,
    pid,
    lastOutput,
    hasEnded: () => hasEnded(child),
    pause: () => signal('SIGSTOP'),
    resume: () => signal('SIGCONT'),
    kill: async () => {
      signal('SIGKILL');
      await ended;
    },
  };
}

/** Runs a program to its end. Throws with its output when that is not a good one. */
export async function runProgram(program: string, parameters: readonly string[]): Promise<void> {
  const { child, lastOutput } = spawnProgram(program, parameters, program);
  const deadline = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX);
  await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(deadline);
  if (child.exitCode !== 0) {
    throw new Error(`${program} ${parameters.join(' ')} ended (${child.exitCode ?? child.signalCode}):\n${lastOutput()}`);
  }
}

/**
 * Asks until the answer is yes; an error counts as no.
 * @param processes when one of them ends, waiting is over
 * @throws Error with what they printed last and the last error
 */
export async function untilReady(what: string, processes: readonly ServerProcess[], isReady: () => Promise<boolean>): Promise<void> {
  const startedAt = performance.now();
  let lastError: unknown;
  for (;;) {
    const ended = processes.find((process) => process.hasEnded());
    if (ended) throw new Error(`${ended.name} ended before ${what} was ready:\n${ended.lastOutput()}`);
    try {
      if (await isReady()) return;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() - startedAt > READY_MS_MAX) {
      const printed = processes.map((process) => `--- ${process.name}\n${process.lastOutput()}`).join('\n');
      throw new Error(`${what} was not ready after ${READY_MS_MAX} ms:\n${printed}`, { cause: lastError });
    }
    await sleep(POLL_MS);
  }
}

interface SpawnedProgram {
  readonly child: ChildProcess;
  readonly pid: number;
  lastOutput(): string;
}

function spawnProgram(program: string, parameters: readonly string[], calledAs: string): SpawnedProgram {
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], argv0: calledAs });
  let startError: Error | undefined;
  child.once('error', (error) => (startError = error));
  if (child.pid === undefined) {
    throw new Error(`${program} could not be started; to install it, type: node scripts/test-servers.mjs`, { cause: startError });
  }
  child.once('exit', endWithUs(child.pid));
  let printed = '';
  const take = (bytes: Buffer): void => void (printed = (printed + bytes.toString()).slice(-OUTPUT_CHARACTERS_KEPT));
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  return { child, pid: child.pid, lastOutput: () => printed };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
