import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Engine } from '../../src/engine/duckdb/engine.js';

const BYTES_MAX = 256 * 1_024 * 1_024;

/** A small engine of one thread and 256 MiB, with a directory of its own. */
export interface ScratchEngine {
  readonly engine: Engine;
  /** Absolute; the engine may read and write there. */
  readonly directory: string;
  /** Closes the engine and removes the directory. */
  close(): void;
}

export async function openScratchEngine(): Promise<ScratchEngine> {
  const directory = mkdtempSync(path.join(tmpdir(), 'miniodb-engine-'));
  const engine = await Engine.open({
    directories: [directory],
    spillDirectory: directory,
    memoryBytesMax: BYTES_MAX,
    spillBytesMax: BYTES_MAX,
    threads: 1,
  });
  const close = (): void => {
    engine.close();
    rmSync(directory, { recursive: true, force: true });
  };
  return { engine, directory, close };
}
