/**
 * Starts the built server (`dist/main.cjs`) as its own process on free loopback ports, as a user would, and ends it by pid.
 * Tests talk to it only through REST and gRPC; that is what makes kill -9 tests honest.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { endWithUs, makeServerDirectory } from '../servers/cleaner.js';
import { storageEnvironment } from './storage.js';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
/** As people start it. */
export const MAIN = path.join(REPOSITORY, 'dist', 'main.cjs');
const READY = /^MinIODB ready: rest=(\S+) grpc=(\S+) data=(.+)$/m;
const READY_MS_MAX = 60_000;

export interface ServerOptions {
  /** Entry of another build than this checkout's. */
  readonly main?: string;
  /** Directory that survives restarts; a fresh one when absent. */
  readonly dataDir?: string;
  /** Configuration sections, merged over the defaults (written to a file given with --config). */
  readonly config?: Record<string, unknown>;
  readonly env?: Record<string, string>;
  /** Limit of files and connections that the process may have open. */
  readonly openFilesMax?: number;
}

export interface RunningServer {
  readonly rest: string;
  readonly grpc: string;
  readonly dataDir: string;
  readonly pid: number;
  /** Everything the process printed so far. */
  output(): string;
  /** SIGKILL, and wait until it is gone. */
  kill(): Promise<void>;
  /** SIGTERM, and wait; gives the exit code (null when ended by the signal itself). */
  stop(): Promise<number | null>;
  /** Settles when the process ends by itself. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** The same code, in runs of many suites in one file (test/servers/server-bundle.ts), but not where times and memory are measured. */
export function testedMain(): string {
  return process.env['TEST_SERVER_MAIN'] || MAIN;
}

/** A fresh directory under the system's temporary one, removed when the test process ends. */
export function temporaryDirectory(label: string): string {
  return makeServerDirectory(label).path;
}

/** Starts a server and waits for its ready line. Throws with its output when it ends before. */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run "npm run build" first`);
  const dataDir = options.dataDir ?? temporaryDirectory('server');
  const parameters = [options.main ?? testedMain()];
  if (options.config) {
    const file = path.join(temporaryDirectory('config'), 'config.yaml');
    writeFileSync(file, JSON.stringify(options.config));
    parameters.push('--config', file);
  }
  const command = [...limited(options.openFilesMax), process.execPath, ...parameters];
  const child = spawn(command[0] ?? '', command.slice(1), {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DATA_DIR: dataDir, REST_PORT: '0', GRPC_PORT: '0', ...storageEnvironment(dataDir), ...options.env },
  });
  const isGone = child.pid === undefined ? undefined : endWithUs(child.pid);
  let printed = '';
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => {
      isGone?.();
      resolve({ code, signal });
    });
  });
  const ready = await new Promise<RegExpExecArray>((resolve, reject) => {
    const deadline = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`server not ready after ${READY_MS_MAX} ms:\n${printed}`));
    }, READY_MS_MAX);
    const take = (bytes: Buffer): void => {
      printed += bytes.toString();
      const match = READY.exec(printed);
      if (match) {
        clearTimeout(deadline);
        resolve(match);
      }
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    void exited.then(({ code, signal }) => {
      clearTimeout(deadline);
      reject(new Error(`server ended (${code ?? signal}) before it was ready:\n${printed}`));
    });
  });
  const [, rest = '', grpc = ''] = ready;
  return {
    rest,
    grpc,
    dataDir,
    pid: pidOf(child),
    output: () => printed,
    exited,
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
    stop: async () => {
      child.kill('SIGTERM');
      return (await exited).code;
    },
  };
}

/** The shell becomes the server: its pid is the server's. */
function limited(openFilesMax: number | undefined): string[] {
  return openFilesMax === undefined ? [] : ['sh', '-c', `ulimit -n ${openFilesMax}; exec "$0" "$@"`];
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error('the server process has no pid');
  return child.pid;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body parsed by JSON.parse (so 64-bit integers are rounded: use `text` where digits matter). */
  readonly json: any;
}

/** One HTTP call with a JSON body; `path` starts with a slash. Never throws on an HTTP error status. */
export async function call(
  server: { readonly rest: string },
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(server.rest + path, {
    method,
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}
