/**
 * A table as its bucket holds it, read past our server and without its code: the listing, the log entry by entry, and the rows of the data files.
 * What a commit that happened twice, or half, would leave behind shows here, whatever the server says of itself.
 */
import { DuckDBInstance } from '@duckdb/node-api';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TableObjects } from './table-objects.js';

const COMMIT = /^_delta_log\/(\d{20})\.json$/;
const DATA_FILE = /\/part-[^/]+\.parquet$/;

interface Add {
  readonly path: string;
  readonly size: number;
  readonly stats?: string;
  readonly deletionVector?: { readonly cardinality: number };
}

/** One line of a log entry; it has one of these. */
interface Action {
  readonly add?: Add;
  readonly remove?: { readonly path: string };
  readonly commitInfo?: { readonly operation: string };
}

export interface TableInBucket {
  /** What each version did, from version 0. */
  readonly operations: readonly string[];
  /** Data files of the newest version. */
  readonly files: readonly string[];
  /** Rows of the newest version, by the log alone. */
  readonly rowCount: number;
  /** Every row that a data file of the newest version holds, those that a deletion vector hides included: `id=n`. */
  readonly storedRows: ReadonlySet<string>;
  /** Data files that no version names: uploads that were not committed. */
  readonly orphans: readonly string[];
}

/** @throws Error when the log has a gap, brings a file twice or names one that is not there */
export async function readTableInBucket(objects: TableObjects): Promise<TableInBucket> {
  const names = await objects.names();
  const commits = names.filter((name) => COMMIT.test(name));
  const live = new Map<string, Add>();
  const everNamed = new Set<string>();
  const operations: string[] = [];
  const history: string[] = [];
  for (const [version, name] of commits.entries()) {
    if (Number(COMMIT.exec(name)?.[1]) !== version) throw new Error(`version ${version} is missing from the log: ${commits.join(', ')}`);
    const lines = (await objects.read(name)).toString().split('\n');
    const actions = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Action);
    history.push(...actions.map((action) => `version ${version}: ${JSON.stringify(action)}`));
    operations.push(actions.find((action) => action.commitInfo)?.commitInfo?.operation ?? 'none');
    apply(actions, version, live, everNamed, history);
  }
  const missing = [...live.keys()].filter((file) => !names.includes(file));
  if (missing.length > 0) throw new Error(`the log names files that are not there: ${missing.join(', ')}`);
  const dataFiles = [...live.values()].filter((add) => DATA_FILE.test(add.path));
  return {
    operations,
    files: dataFiles.map((add) => add.path),
    rowCount: dataFiles.reduce((sum, add) => sum + visibleRows(add), 0),
    storedRows: await rowsOf(objects, dataFiles),
    orphans: names.filter((name) => DATA_FILE.test(name) && !everNamed.has(name)),
  };
}

/**
 * What a version takes out goes first: a file with a new deletion vector leaves and comes in one commit. A file that stays, with the vector it has, may
 * come again with other tags.
 */
function apply(
  actions: readonly Action[],
  version: number,
  live: Map<string, Add>,
  everNamed: Set<string>,
  history: readonly string[],
): void {
  const removed = new Set<string>();
  for (const { remove } of actions) {
    if (!remove) continue;
    const file = decodeURI(remove.path);
    if (!live.delete(file)) throw new Error(`version ${version} takes out ${file}, which is not in the table`);
    removed.add(file);
  }
  for (const { add } of actions) {
    if (!add) continue;
    const file = decodeURI(add.path);
    const known = live.get(file);
    if (known && JSON.stringify(known.deletionVector) !== JSON.stringify(add.deletionVector))
      throw new Error(`version ${version} brings ${file} with another vector while it is in the table`);
    if (everNamed.has(file) && !known && !removed.has(file) && DATA_FILE.test(file))
      throw new Error(`version ${version} brings ${file} a second time:\n${history.filter((line) => line.includes(file)).join('\n')}`);
    everNamed.add(file);
    live.set(file, { ...add, path: file });
  }
}

function visibleRows({ path: file, stats, deletionVector }: Add): number {
  if (stats === undefined) throw new Error(`${file} has no statistics in the log`);
  const { numRecords } = JSON.parse(stats) as { numRecords: number };
  return numRecords - (deletionVector?.cardinality ?? 0);
}

async function rowsOf(objects: TableObjects, files: readonly Add[]): Promise<Set<string>> {
  if (files.length === 0) return new Set();
  const directory = mkdtempSync(path.join(tmpdir(), 'miniodb-bucket-'));
  try {
    for (const [index, { path: file, size }] of files.entries()) {
      const bytes = await objects.read(file);
      if (bytes.length !== size) throw new Error(`${file} has ${bytes.length} bytes, the log says ${size}`);
      writeFileSync(path.join(directory, `${index}.parquet`), bytes);
    }
    const engine = await DuckDBInstance.create();
    const connection = await engine.connect();
    const reader = await connection.runAndReadAll(`SELECT id || '=' || n AS row FROM read_parquet('${directory}/*.parquet')`);
    const rows = new Set(reader.getRows().map(([row]) => String(row)));
    connection.closeSync();
    engine.closeSync();
    return rows;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
