/**
 * Clients of gRPC reflection that others made: grpcurl (Go) and grpcio-reflection (Python). Each is installed into .cache/ when first needed, at a fixed
 * version; building grpcurl takes some minutes. A machine without Go or Python is told what it does not test.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { install, pythonWith } from './python.js';

const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));
const GRPCURL_VERSION = 'v1.9.3';
const PYTHON_VERSION = '1.85.1';
const READ_EVERYTHING = fileURLToPath(new URL('./read-reflection.py', import.meta.url));

const run = promisify(execFile);

export type Client = (...parameters: string[]) => Promise<string>;

/** @returns undefined, after saying so, where there is no Go */
export function grpcurl(): Client | undefined {
  const directory = path.join(CACHE, `grpcurl-${GRPCURL_VERSION}`);
  const program = path.join(directory, 'grpcurl');
  if (!existsSync(program)) {
    const go = ['go', '/usr/local/go/bin/go'].find((name) => spawnSync(name, ['version']).status === 0);
    if (go === undefined) return missing('grpcurl', 'Go (https://go.dev/dl)');
    mkdirSync(directory, { recursive: true });
    install(go, ['install', `github.com/fullstorydev/grpcurl/cmd/grpcurl@${GRPCURL_VERSION}`], { GOBIN: directory });
  }
  return async (...parameters) => (await run(program, ['-plaintext', ...parameters])).stdout;
}

/** Reads every service, method and message by reflection alone. @returns undefined, after saying so, where there is no Python */
export function pythonReflection(): Client | undefined {
  const packages = [`grpcio==${PYTHON_VERSION}`, `grpcio-reflection==${PYTHON_VERSION}`];
  const python = pythonWith('reflection with grpcio-reflection', `grpcio-reflection-${PYTHON_VERSION}`, packages, 'grpc_reflection');
  return python && ((...parameters) => python(READ_EVERYTHING, ...parameters));
}

function missing(client: string, needs: string): undefined {
  console.warn(`NOT TESTED: reflection with ${client}, because this machine has no ${needs}`);
  return undefined;
}
