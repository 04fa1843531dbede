/**
 * ClickHouse as a foreign reader of our tables: it gets nothing but the directory, as any Delta Lake reader would. The engine comes from
 * the npm package chdb, installed on demand at a fixed version.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { installOnDemand } from '../../scripts/on-demand.mjs';

const CHILD = fileURLToPath(new URL('./clickhouse-child.mjs', import.meta.url));

/** A row as ClickHouse prints it in JSON; 64-bit integers are text. */
export type ForeignRow = Readonly<Record<string, unknown>>;

export interface ClickHouse {
  /**
   * Runs the queries in order in a fresh engine; `{table}` in them stands for the Delta table in `directory`.
   * @throws Error with the engine's own words when one of them fails
   */
  read(directory: string, queries: readonly string[]): Promise<readonly (readonly ForeignRow[])[]>;
}

/** Installs the engine if need be. Throws with the line to type when that is not possible. */
export function clickHouse(): ClickHouse {
  const installed = installOnDemand('interop');
  return { read: (directory, queries) => readInChild(installed, directory, queries) };
}

async function readInChild(installed: string, directory: string, queries: readonly string[]): Promise<readonly (readonly ForeignRow[])[]> {
  const source = `deltaLakeLocal('${directory.replaceAll("'", "\\'")}')`;
  // Otherwise the missing working directory is reported as a missing program.
  if (!existsSync(directory)) throw new Error(`the table's directory ${directory} does not exist`);
  const child = spawn(process.execPath, [CHILD], { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => child.once('exit', resolve).once('error', reject));
  // A child that ends before it has read everything says why on its standard error; our broken pipe adds nothing.
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify({ installed, queries: queries.map((query) => query.replaceAll('{table}', source)) }));
  const [printed, complaints, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) throw new Error(`ClickHouse could not read ${directory} (exit ${code}):\n${complaints}`);
  return JSON.parse(printed) as readonly (readonly ForeignRow[])[];
}
