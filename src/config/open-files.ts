/**
 * How many files and connections the system lets this process have open. Read before anything else is loaded: with too few, the start would end in
 * modules that seem to be missing, and a running server in files that cannot be opened.
 */
import { readFileSync } from 'node:fs';

/** Modules are loaded many at a time; below it a server starts, if at all, without room for its files. */
const OPEN_FILES_MIN = 768;
/** For the log, data files, spill files, the object store and Redis: connections must leave them so much, or a quarter of more. */
const OTHER_FILES_MIN = 512;
const OTHER_FILES_SHARE = 0.25;
const DOORS = 2;

/** The soft limit, which Node has raised to the hard one by now. @returns Infinity where the system does not tell */
export function openFilesMax(): number {
  try {
    const [, limit = ''] = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return /^\d+$/.test(limit) ? Number(limit) : Infinity;
  } catch {
    return Infinity;
  }
}

/** @throws Error when the server cannot work with so few */
export function assertEnoughOpenFiles(limit = openFilesMax()): void {
  if (limit < OPEN_FILES_MIN)
    throw new Error(
      `the limit of open files is ${limit} (ulimit -n); the server needs at least ${OPEN_FILES_MIN}, better 65536: raise it and start again`,
    );
}

/** Connections that each door may have, so that files can be opened whatever clients do. */
export function connectionsWithin(limit: number): number {
  return Math.floor(Math.min(limit - OTHER_FILES_MIN, limit * (1 - OTHER_FILES_SHARE)) / DOORS);
}
