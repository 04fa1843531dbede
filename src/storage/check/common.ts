/**
 * What every object store must do for the server, a directory as well as a bucket. The keys are of the kinds that the server makes. Most of all
 * stands on put-if-absent, the commit point of everything.
 */
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pMap from 'p-map';
import type { RemoteObjectStore } from '../remote-object-store.js';
import { type Outcome, type StorageCheck, ok } from './run.js';
import { PARALLEL_REQUESTS, type TrialKeys, keysBelow } from './trial-keys.js';

const BODY_BYTES = [0, 1, 1_024, 1_024 * 1_024];
const WRITERS = 16;
/** Of writers for one key; the first also opens the connections, so its writers do not come at one moment. */
const RACES = 5;
const ROUNDS = 20;
/** More than S3 gives in one page. */
const LISTED_KEYS = 1_100;
const LATENCY_SAMPLES = 20;
const LATENCY_BYTES = 1_024;
/** A flush puts a data file and a commit, one after the other, and a new column or table waits for a commit. */
const PUT_MS_MAX = 1_000;
const UNKNOWN_CONDITION = 'the store does not know the condition (NotImplemented)';
/** One of each kind that the server makes. Two of them differ in the case of a letter only. */
const KEY_KINDS = [
  '_catalogue/users/0.json',
  '_wals/12.json',
  'users/_delta_log/00000000000000000010.checkpoint.parquet',
  'users/_delta_log/_last_checkpoint',
  'users-0f3a9c1d/shard-0/2024-01-01/part-6f0f2a5e-1c0e-4c1b-9e55-0c62f1a6a9d4.parquet',
  'users/Sensor_7-b/2024-01-01/part-a.parquet',
  'users/sensor_7-b/2024-01-01/part-a.parquet',
  `users/${'i'.repeat(200)}/2024-01-01/part-a.parquet`,
  'users/deletion_vector_6f0f2a5e-1c0e-4c1b-9e55-0c62f1a6a9d4.bin',
  'users/region=eu/part-a.parquet',
];

/** `unknown`: the store refuses such a put as not implemented. `not atomic`: it keeps the condition, but not against writers at the same moment. */
export type ConditionLack = 'unknown' | 'ignored' | 'not atomic';

export interface ObjectChecksOptions {
  readonly store: RemoteObjectStore;
  readonly keys: TrialKeys;
  /** For files on their way into the store. */
  readonly scratchDirectory: string;
  /** What the server does about a store that lacks the condition of put-if-absent. */
  onConditionLacking(lack: ConditionLack, seen: string): Promise<Outcome>;
  /** True for the error of a store that says that it has no conditions. */
  isConditionRefused(error: unknown): boolean;
}

/** What the first check of put-if-absent leaves to the second. */
interface ConditionSeen {
  /** A second put was refused when it came after the first: the test that the server makes at its start. */
  isKeptAlone: boolean;
}

export function objectChecks(options: ObjectChecksOptions): StorageCheck[] {
  const { store, keys } = options;
  const condition: ConditionSeen = { isKeptAlone: false };
  return [
    {
      name: 'put and get',
      meaning: 'nothing can be stored',
      run: () => bytesComeBack(store, keys),
    },
    {
      name: 'get of a missing key',
      meaning: 'the server could not tell a version that does not exist yet from a failure',
      run: () => missingIsNotFound(store, keys),
    },
    {
      name: 'overwrite',
      meaning: 'hints and checkpoints would never be updated',
      run: () => putReplaces(store, keys),
    },
    {
      name: 'delete',
      meaning: 'vacuum could not free any space',
      run: () => deleteRemoves(store, keys),
    },
    {
      name: 'keys of all kinds',
      meaning: 'some objects could not be stored or found again',
      run: () => keysStayApart(store, keys),
    },
    {
      name: 'put-if-absent',
      meaning: 'no table can be created and no row committed',
      run: () => secondPutIsRefused(options, condition),
    },
    {
      name: `put-if-absent, ${WRITERS} at once`,
      meaning: 'commits of two servers at the same moment could overwrite each other',
      run: () => oneOfManyWins(options, condition),
    },
    {
      name: 'read after write',
      meaning: 'a reader could miss a commit that was acknowledged, or see one that is gone',
      run: () => readsAreFresh(store, keys),
    },
    {
      name: 'list after write',
      meaning: 'a start could miss the newest versions of a table',
      run: () => listsAreFresh(store, keys),
    },
    {
      name: `list of ${LISTED_KEYS} keys`,
      meaning: 'tables with more objects than one page of a list would be read wrongly',
      run: (signal) => listIsWhole(store, keys, signal),
    },
    {
      name: 'latency',
      meaning: 'flushes would fail',
      run: () => latency(store, keys),
    },
  ];
}

async function bytesComeBack(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  for (const size of BODY_BYTES) {
    const bytes = randomBytes(size);
    const key = keys.key(`bytes/${size}`);
    await store.put(key, bytes);
    const back = await store.get(key);
    if (back === undefined) throw new Error(`an object of ${size} bytes was put and cannot be found`);
    if (!back.equals(bytes)) throw new Error(`an object of ${size} bytes came back changed`);
  }
  return ok('objects of 0 bytes to 1 MiB come back unchanged');
}

async function missingIsNotFound(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const bytes = await store.get(keys.key('missing/never-put'));
  if (bytes !== undefined) throw new Error(`a key that was never put has ${bytes.length} bytes`);
  return ok('answered as not found');
}

async function putReplaces(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const key = keys.key('overwrite');
  await store.put(key, Buffer.from('a long first text'));
  await store.put(key, Buffer.from('short'));
  const text = (await store.get(key))?.toString();
  if (text !== 'short') throw new Error(`after a second put the object is ${JSON.stringify(text)} instead of "short"`);
  return ok('the second put of a key replaces the first');
}

async function deleteRemoves(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const key = keys.key('deleted');
  await store.put(key, Buffer.from('x'));
  await store.delete(key);
  if ((await store.get(key)) !== undefined) throw new Error('an object is still there after its delete');
  await store.delete(key);
  await store.delete(keys.key('missing/never-put'));
  return ok('gone at once; deleting a missing object is no error');
}

async function keysStayApart(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const made = KEY_KINDS.map((kind) => keys.key(`kinds/${kind}`));
  for (const key of made) await store.put(key, Buffer.from(key));
  for (const key of made) {
    const text = (await store.get(key))?.toString();
    if (text !== key && text?.toLowerCase() === key.toLowerCase()) return caseIsLost();
    if (text !== key) throw new Error(`key ${key} holds ${text === undefined ? 'nothing' : `what was put under ${text}`}`);
  }
  const listed = await keysBelow(store, `${keys.prefix}kinds/`);
  if (listed.join() !== [...made].sort().join()) throw new Error(`${made.length} keys were put and the list shows: ${listed.join(', ')}`);
  return ok('letters, digits and / - _ . = in put, get and list');
}

function caseIsLost(): Outcome {
  return {
    verdict: 'LACKING',
    seen: 'keys that differ only in case are the same key',
    meaning: 'tables, or ids in a table with layout "id", whose names differ only in case share their files',
    remedy: 'use names that differ in more than case, or a case-sensitive file system',
  };
}

async function secondPutIsRefused(options: ObjectChecksOptions, condition: ConditionSeen): Promise<Outcome> {
  const { store, keys, scratchDirectory } = options;
  const key = keys.key('condition');
  try {
    if (!(await store.putIfAbsent(key, Buffer.from('first')))) throw new Error('the put of a new key was refused as if it existed');
  } catch (error) {
    if (options.isConditionRefused(error)) return options.onConditionLacking('unknown', UNKNOWN_CONDITION);
    throw error;
  }
  const file = path.join(scratchDirectory, 'condition');
  await writeFile(file, 'third');
  const wasRefused = !(await store.putIfAbsent(key, Buffer.from('second'))) && !(await store.putFileIfAbsent(key, file));
  await rm(file, { force: true });
  const text = (await store.get(key))?.toString();
  if (!wasRefused) return options.onConditionLacking('ignored', 'a second put of a key was accepted and replaced the first');
  condition.isKeptAlone = true;
  if (text !== 'first') throw new Error(`a put that was refused left ${JSON.stringify(text)} instead of "first"`);
  return ok('a second put of a key is refused, of bytes and of a file');
}

async function oneOfManyWins(options: ObjectChecksOptions, condition: ConditionSeen): Promise<Outcome> {
  let winners = 1;
  try {
    for (let race = 0; race < RACES && winners === 1; race += 1)
      winners = await raceForKey(options.store, options.keys.key(`race/${race}`));
  } catch (error) {
    if (options.isConditionRefused(error)) return options.onConditionLacking('unknown', UNKNOWN_CONDITION);
    throw error;
  }
  if (winners === 1) return ok(`exactly one wins, in each of ${RACES} races, and the others are told`);
  const seen = `${winners} of ${WRITERS} were told that they had created the key`;
  return options.onConditionLacking(condition.isKeptAlone ? 'not atomic' : 'ignored', seen);
}

/**
 * Lets many writers put one key at the same moment.
 * @returns how many were told that they made it
 * @throws Error when nobody won, or when the object is not the one winner's
 */
export async function raceForKey(store: RemoteObjectStore, key: string): Promise<number> {
  const writers = Array.from({ length: WRITERS }, (_value, writer) => `writer ${writer}`);
  const results = await Promise.allSettled(writers.map((text) => store.putIfAbsent(key, Buffer.from(text))));
  // Only now: a put that still runs would come after the clean-up.
  const won = results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  const winners = won.filter((hasWon) => hasWon).length;
  const text = (await store.get(key))?.toString();
  if (winners === 0) throw new Error(`none of ${WRITERS} writers created the key`);
  if (winners === 1 && text !== writers[won.indexOf(true)]) throw new Error(`one of ${WRITERS} writers won, but the object is another's`);
  return winners;
}

async function readsAreFresh(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const key = keys.key(`fresh/${round}`);
    for (const text of [`made ${round}`, `replaced ${round}`]) {
      await store.put(key, Buffer.from(text));
      const back = (await store.get(key))?.toString();
      if (back !== text) throw new Error(`right after a put of "${text}" the object was ${back === undefined ? 'not there' : `"${back}"`}`);
    }
    await store.delete(key);
    if ((await store.get(key)) !== undefined) throw new Error('right after its delete an object was still there');
  }
  return ok(`${ROUNDS} keys made, replaced and deleted, each change seen at once`);
}

async function listsAreFresh(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const prefix = `${keys.prefix}listed-fresh/`;
  const expected: string[] = [];
  const expectList = async (after: string): Promise<void> => {
    const listed = await keysBelow(store, prefix);
    if (listed.join() !== expected.join())
      throw new Error(`right after ${after} the list has ${listed.length} keys instead of ${expected.length}, or others`);
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const key = keys.key(`listed-fresh/${String(round).padStart(3, '0')}`);
    await store.put(key, Buffer.from('x'));
    expected.push(key);
    await expectList('a put');
  }
  while (expected.length > 0) {
    await store.delete(expected.pop() ?? '');
    await expectList('a delete');
  }
  return ok(`${ROUNDS} puts and ${ROUNDS} deletes, each seen in the next list`);
}

async function listIsWhole(store: RemoteObjectStore, keys: TrialKeys, signal: AbortSignal): Promise<Outcome> {
  // Characters around "/" and the digits, so that any order but that of the characters shows.
  const endings = ['-b', '.json', '/c', '0', '=1', 'B', '_d', 'a', 'xx/y'];
  const made = Array.from({ length: LISTED_KEYS }, (_value, number) => {
    const group = String(Math.floor(number / endings.length)).padStart(4, '0');
    return keys.key(`list/${group}x${endings[number % endings.length] ?? ''}`);
  });
  // Not pMap's own signal: it would leave puts under way, which would come after the clean-up.
  await pMap(made, (key) => (signal.aborted ? undefined : store.put(key, Buffer.from('x'))), { concurrency: PARALLEL_REQUESTS });
  signal.throwIfAborted();
  const expected = [...made].sort();
  const expectKeys = (listed: readonly string[], wanted: readonly string[], what: string): void => {
    if (listed.length !== wanted.length) throw new Error(`${what} has ${listed.length} keys instead of ${wanted.length}`);
    const differs = listed.findIndex((key, index) => key !== wanted[index]);
    if (differs >= 0) throw new Error(`${what} has ${listed[differs]} where ${wanted[differs]} belongs`);
  };
  const prefix = `${keys.prefix}list/`;
  expectKeys(await keysBelow(store, prefix), expected, 'the list');
  for (const at of [0, 999, 1_000, LISTED_KEYS - 1]) {
    const key = expected[at] ?? '';
    expectKeys(await keysBelow(store, prefix, key), expected.slice(at + 1), `the list after key ${at + 1}`);
    expectKeys(await keysBelow(store, prefix, `${key}!`), expected.slice(at + 1), `the list after a key that is not there`);
  }
  return ok('complete and in key order, across pages and from a given key on');
}

async function latency(store: RemoteObjectStore, keys: TrialKeys): Promise<Outcome> {
  const putMs: number[] = [];
  const getMs: number[] = [];
  for (let sample = 0; sample < LATENCY_SAMPLES; sample += 1) {
    const key = keys.key(`latency/${sample}`);
    putMs.push(await millisecondsOf(() => store.put(key, randomBytes(LATENCY_BYTES))));
    getMs.push(await millisecondsOf(() => store.get(key)));
  }
  const seen = `put ${median(putMs).toFixed(1)} ms, get ${median(getMs).toFixed(1)} ms (1 KiB, median of ${LATENCY_SAMPLES})`;
  if (median(putMs) <= PUT_MS_MAX) return ok(seen);
  return {
    verdict: 'LACKING',
    seen,
    meaning: 'each flush waits for several puts in sequence; writes are not affected until the write-ahead log is full',
    remedy: 'move the store closer, or give it faster disks',
  };
}

async function millisecondsOf(task: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await task();
  return performance.now() - startedMs;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
