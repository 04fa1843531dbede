/**
 * ClickHouse as a foreign reader of our tables: it gets nothing but the directory or the place in the bucket (and the keys to it), as any Delta
 * Lake reader would. The engine comes from the npm package chdb, installed on demand at a fixed version.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { installOnDemand } from '../../scripts/on-demand.mjs';
import { testObjectStore } from '../servers/shared-servers.js';
import { placeInBucket } from './table-objects.js';

const CHILD = fileURLToPath(new URL('./clickhouse-child.mjs', import.meta.url));

/** A row as ClickHouse prints it in JSON; 64-bit integers are text. */
type ForeignRow = Readonly<Record<string, unknown>>;

export interface ClickHouse {
  /**
   * Runs the queries in order in a fresh engine; `{table}` in them stands for the Delta table.
   * @param location as `GET /v1/tables/{name}` tells it
   * @throws Error with the engine's own words when one of them fails
   */
  read(location: string, queries: readonly string[]): Promise<readonly (readonly ForeignRow[])[]>;
}

/** How the engine is told of a table. */
interface Source {
  readonly sql: string;
  /** It reads local files only below its working directory. */
  readonly workingDirectory: string;
}

/** Installs the engine if need be. Throws with the line to type when that is not possible. */
export function clickHouse(): ClickHouse {
  const installed = installOnDemand('interop');
  return { read: async (location, queries) => readInChild(installed, location, await sourceOf(location), queries) };
}

async function sourceOf(location: string): Promise<Source> {
  const place = placeInBucket(location);
  if (!place) {
    // Otherwise the missing working directory is reported as a missing program.
    if (!existsSync(location)) throw new Error(`the table's directory ${location} does not exist`);
    return { sql: `deltaLakeLocal(${quoted(location)})`, workingDirectory: location };
  }
  const { endpoint, accessKey, secretKey } = await testObjectStore();
  const parameters = [`${endpoint}/${place.bucket}/${place.directory}/`, accessKey, secretKey];
  return { sql: `deltaLake(${parameters.map(quoted).join(', ')})`, workingDirectory: tmpdir() };
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", "\\'")}'`;
}

async function readInChild(
  installed: string,
  location: string,
  source: Source,
  queries: readonly string[],
): Promise<readonly (readonly ForeignRow[])[]> {
  const child = spawn(process.execPath, [CHILD], { cwd: source.workingDirectory, stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => child.once('exit', resolve).once('error', reject));
  // A child that ends before it has read everything says why on its standard error; our broken pipe adds nothing.
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify({ installed, queries: queries.map((query) => query.replaceAll('{table}', source.sql)) }));
  const [printed, complaints, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) throw new Error(`ClickHouse could not read ${location} (exit ${code}):\n${complaints}`);
  return JSON.parse(printed) as readonly (readonly ForeignRow[])[];
}
