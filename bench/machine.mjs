/** What the figures depend on: the machine, the disk, the versions, the commit. */
import { spawnSync } from 'node:child_process';
import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { version as duckDbVersion } from '@duckdb/node-api';
import { REPOSITORY } from '../scripts/prepare.mjs';
import { median, milliseconds } from './statistics.mjs';

const SYNCS = 100;
const IN_MEMORY = /^(tmpfs|ramfs)$/;

/** @param directory where the servers of this run keep their data */
export function describeMachine(directory) {
  const fileSystem = printed('stat', ['-f', '-c', '%T', directory]);
  const [load = 0] = os.loadavg();
  const { version } = JSON.parse(readFileSync(path.join(REPOSITORY, 'package.json'), 'utf8'));
  return [
    `MinIODB ${version}, commit ${commit()}, Node ${process.versions.node}, DuckDB ${duckDbVersion()}`,
    `${os.cpus()[0]?.model.trim()}, ${os.availableParallelism()} cores, ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB, ${os.type()} ${os.release()} ${os.arch()}`,
    `data on ${fileSystem}: write and fdatasync of 4 KiB ${milliseconds(syncMs(directory))} (median of ${SYNCS})`,
    ...(IN_MEMORY.test(fileSystem) ? ['ATTENTION: this directory is in memory; whatever is said about fsync below means nothing.'] : []),
    ...(load > 0.5 * os.availableParallelism()
      ? [`ATTENTION: the machine is busy (load ${load.toFixed(1)}); only ratios inside one section are of use.`]
      : []),
  ];
}

function commit() {
  const changes = printed('git', ['status', '--porcelain']);
  return `${printed('git', ['rev-parse', '--short', 'HEAD']) || 'unknown'}${changes === '' ? '' : ' with changes'}`;
}

function printed(command, parameters) {
  const { status, stdout } = spawnSync(command, parameters, { cwd: REPOSITORY, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}

function syncMs(directory) {
  const file = openSync(path.join(directory, 'sync-probe'), 'w');
  const block = Buffer.alloc(4_096, 1);
  const times = Array.from({ length: SYNCS }, () => {
    const startedAt = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    return performance.now() - startedAt;
  });
  closeSync(file);
  return median(times);
}
