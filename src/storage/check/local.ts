/**
 * Whether a directory is fit for the server's objects, tried out with the store class of the server itself. Its puts write, sync, link and rename, so
 * a file system that cannot do one of these shows in the checks that all stores have; room and the clock of a network disk are the directory's own.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm, rmdir, statfs } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { LocalObjectStore } from '../local-object-store.js';
import { type ConditionLack, objectChecks } from './common.js';
import { type Outcome, type StorageTrial, causeOf, ok } from './run.js';
import { TrialKeys } from './trial-keys.js';

const MIB = 1_024 * 1_024;
const SKEW_MS_MAX = 60_000;

/** What to do about the errors of a file system. */
const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'make the user that runs the server the owner of the directory (chown), or choose another one with DATA_DIR',
  EPERM: 'choose a file system that allows this (links, sync) with DATA_DIR',
  EROFS: 'the file system is mounted read-only: mount it for writing, or choose another with DATA_DIR',
  ENOTDIR: 'a part of the path is a file: choose another directory with DATA_DIR',
  EEXIST: 'a part of the path is a file: choose another directory with DATA_DIR',
  ENOSPC: 'free some space, or choose another disk with DATA_DIR',
  EDQUOT: 'raise the quota, or choose another disk with DATA_DIR',
  ENOTSUP: 'choose a file system that has links with DATA_DIR',
  ENOSYS: 'choose a file system that has links with DATA_DIR',
};

export interface LocalTrialOptions {
  /** Holds everything of the server. */
  readonly dataDirectory: string;
  readonly objectsDirectory: string;
  readonly walBytesMax: number;
  readonly walSegmentBytes: number;
  readonly clock: Clock;
}

export function localTrial(options: LocalTrialOptions): StorageTrial {
  const store = new LocalObjectStore(options.objectsDirectory);
  const keys = new TrialKeys();
  const scratchDirectory = path.join(options.dataDirectory, `check-storage-${randomUUID()}`);
  const made = directoriesToMake(options.objectsDirectory);
  return {
    title: `directory ${options.objectsDirectory}`,
    checks: [
      {
        name: 'directory',
        meaning: 'the server does not start',
        isFoundation: true,
        run: () => canBeWritten(options, scratchDirectory, made.length > 0),
      },
      { name: 'free space', meaning: 'the server cannot tell when the disk is full', run: () => hasRoom(options) },
      ...objectChecks({
        store,
        keys,
        scratchDirectory,
        onConditionLacking: linkReplaces,
        isConditionRefused: () => false,
      }),
      { name: 'clock', meaning: 'the age of objects is not known', run: () => clocksAgree(store, keys, options.clock) },
    ],
    remedyOf: (error) => {
      const cause = causeOf(error);
      return cause instanceof Error && 'code' in cause ? REMEDIES[String(cause.code)] : undefined;
    },
    cleanUp: async () => {
      if (existsSync(scratchDirectory)) await rm(scratchDirectory, { recursive: true });
      if (existsSync(options.objectsDirectory)) await keys.removeAll(store);
      for (const directory of made) await rmdir(directory).catch(() => undefined);
    },
  };
}

/** Those above and including a path that are not there, the lowest first. */
function directoriesToMake(directory: string): string[] {
  const missing: string[] = [];
  for (let at = directory; !existsSync(at) && path.dirname(at) !== at; at = path.dirname(at)) missing.push(at);
  return missing;
}

async function canBeWritten(options: LocalTrialOptions, scratchDirectory: string, isNew: boolean): Promise<Outcome> {
  try {
    await mkdir(options.objectsDirectory, { recursive: true });
    await mkdir(scratchDirectory, { recursive: true });
  } catch (error) {
    throw new Error(`the directory cannot be used: ${messageOf(error)}`, { cause: error });
  }
  return ok(isNew ? 'it did not exist and can be created (removed again at the end)' : 'it exists and is writable');
}

async function hasRoom({ dataDirectory, walBytesMax, walSegmentBytes }: LocalTrialOptions): Promise<Outcome> {
  const { bavail, bsize } = await statfs(dataDirectory);
  const freeBytes = bavail * bsize;
  const seen = `${inMebibytes(freeBytes)} free; the write-ahead log may take ${inMebibytes(walBytesMax)} (wal.bytes_max)`;
  if (freeBytes >= walBytesMax) return ok(seen);
  return {
    verdict: freeBytes < 2 * walSegmentBytes ? 'FAILED' : 'LACKING',
    seen,
    meaning: 'when the disk is full, writes are refused with 503 until there is room again',
    remedy: 'free some space, lower wal.bytes_max, or choose another disk with DATA_DIR',
  };
}

function linkReplaces(_lack: ConditionLack, seen: string): Promise<Outcome> {
  return Promise.resolve({
    verdict: 'FAILED',
    seen,
    meaning: 'this file system lets a link replace an existing file: commits could overwrite each other',
    remedy: 'choose another file system with DATA_DIR',
  });
}

/** A network disk stamps its files with its own clock. */
async function clocksAgree(store: LocalObjectStore, keys: TrialKeys, clock: Clock): Promise<Outcome> {
  const key = keys.key('clock');
  await store.put(key, Buffer.from('x'));
  const hereMs = clock.nowMs();
  let thereMs = Number.NaN;
  for await (const { modifiedMs } of store.list(key)) thereMs = modifiedMs;
  const skewMs = Math.abs(thereMs - hereMs);
  const seen = `files are stamped ${(skewMs / 1_000).toFixed(1)} s off this machine's clock`;
  if (skewMs <= SKEW_MS_MAX) return ok(seen);
  return {
    verdict: 'LACKING',
    seen,
    meaning: 'the age of objects (maintenance.orphan_age_hours) is taken from these stamps',
    remedy: 'let both machines take their time from NTP',
  };
}

function inMebibytes(bytes: number): string {
  return `${Math.floor(bytes / MIB).toLocaleString('en')} MiB`;
}
