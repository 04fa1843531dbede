/** A server with the configuration a user gets, and what /proc says about its process. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { startServerProcess } from '../scripts/server-process.mjs';

const TICKS_PER_SECOND = Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100;

/**
 * @param {string} directory gets a fresh data directory inside
 * @param {Record<string, string>} environment added to this process's
 * @param {string[]} nodeOptions of Node itself
 */
export async function startServer(directory, environment = {}, nodeOptions = []) {
  const dataDirectory = mkdtempSync(path.join(directory, 'data-'));
  const settings = { DATA_DIR: dataDirectory, MINIODB_LOG__FILE: path.join(dataDirectory, 'miniodb.log') };
  const server = await startServerProcess({ ...settings, ...environment }, nodeOptions);
  return {
    ...server,
    cpuSeconds: () => cpuSecondsOf(server.pid),
    residentBytes: () => statusBytesOf(server.pid, 'VmRSS'),
    /** The most that was resident since the start, or since the last `forgetPeak`. */
    peakBytes: () => statusBytesOf(server.pid, 'VmHWM'),
    forgetPeak: () => writeFileSync(`/proc/${server.pid}/clear_refs`, '5'),
  };
}

/** User and system time of all threads; fields 14 and 15 of /proc/PID/stat, counted behind the name, which may hold spaces. */
function cpuSecondsOf(pid) {
  const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function statusBytesOf(pid, field) {
  const [, kibibytes] = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibibytes) * 1_024;
}
