/**
 * Limits that follow from the machine, for settings that are 0: memory and processors of the container (cgroup) where that has less than the machine.
 * They are worked out once, when the configuration is read, so that everything else sees plain numbers.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { Config } from './config.js';
import { connectionsWithin, openFilesMax } from './open-files.js';

const MIB = 1_024 * 1_024;
const GIB = 1_024 * MIB;

/** Memory of the engine: a quarter of what there is, because Node, the cache of the system and other programs need some, too. */
const ENGINE_PARTS = 4;
const ENGINE_BYTES_MAX = 4 * GIB;
const ENGINE_BYTES_MIN = 64 * MIB;
/** A query that sorts or groups wants so much of the engine's memory before it spills. */
const QUERY_BYTES = 128 * MIB;
/** More queries at once than this make each slower and none faster. */
const QUERIES_PER_CORE = 4;
const QUERIES_MIN = 2;
const QUERIES_MAX = 64;
/** Rows in buffers are in the engine's memory. */
const BUFFER_PARTS = 2;
const BUFFER_BYTES_MAX = 512 * MIB;
/** Node itself, and what the engine does not count. */
const PROCESS_BYTES = GIB;
const PROCESS_SHARE_MAX = 0.8;

export interface Machine {
  readonly memoryBytes: number;
  readonly cores: number;
  /** See `open-files.ts`. */
  readonly openFilesMax: number;
}

/** The machine, or the container when that has less. */
export function thisMachine(): Machine {
  const memory = [os.totalmem(), process.constrainedMemory()].filter((bytes) => bytes > 0);
  return {
    memoryBytes: Math.min(...memory),
    cores: Math.max(1, Math.min(os.availableParallelism(), coresOfCgroup())),
    openFilesMax: openFilesMax(),
  };
}

/** Source: "cpu.max" of cgroup v2, in the documentation of the Linux kernel; v1 has the same two numbers in two files. */
function coresOfCgroup(): number {
  const [quota = 'max', period = '100000'] = (
    textOf('/sys/fs/cgroup/cpu.max') ??
    `${textOf('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') ?? 'max'} ${textOf('/sys/fs/cgroup/cpu/cpu.cfs_period_us') ?? ''}`
  )
    .trim()
    .split(/\s+/);
  const cores = Number(quota) / Number(period);
  return cores > 0 ? Math.ceil(cores) : Infinity;
}

/** @returns undefined where there is no such file: another version of cgroups, or another system */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Puts the machine's figures where a setting is 0, and takes back what the machine cannot give. */
export function fitToMachine({ server, query, buffer }: Config, { memoryBytes, cores, openFilesMax: filesMax }: Machine): void {
  server.connections_max = Math.min(server.connections_max, connectionsWithin(filesMax));
  query.memory_bytes_max ||= Math.max(ENGINE_BYTES_MIN, Math.min(Math.floor(memoryBytes / ENGINE_PARTS), ENGINE_BYTES_MAX));
  query.threads ||= cores;
  const queries = Math.min(QUERIES_PER_CORE * cores, Math.floor(query.memory_bytes_max / QUERY_BYTES), QUERIES_MAX);
  query.concurrency_max ||= Math.max(QUERIES_MIN, queries);
  buffer.bytes_max ||= Math.min(Math.floor(query.memory_bytes_max / BUFFER_PARTS), BUFFER_BYTES_MAX);
  query.process_bytes_max ||= Math.floor(
    Math.min(query.memory_bytes_max + buffer.bytes_max + PROCESS_BYTES, memoryBytes * PROCESS_SHARE_MAX),
  );
}
