/**
 * Whether a bucket of an S3-compatible store is fit for the server, tried out with the store classes of the server itself: what every object store
 * must do (`check/object-checks.ts`), and what only a remote one can get wrong: the bucket, the keys, damaged bodies, large objects, clocks.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AppError, messageOf } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { LocalLeaseStore } from '../../coordination/local-lease-store.js';
import { type ConditionLack, objectChecks, raceForKey } from './common.js';
import { type Outcome, type StorageCheck, type StorageTrial, causeOf, ok } from './run.js';
import { TrialKeys } from './trial-keys.js';
import { digestOf, digestOfFile } from '../s3/digest.js';
import { codeOf } from '../s3/s3-error.js';
import { S3ObjectStore } from '../s3/s3-object-store.js';
import type { S3Options } from '../s3/s3-requests.js';

const MIB = 1_024 * 1_024;
/** Above the size from which `S3ObjectStore` sends a file in parts. */
const LARGE_BYTES = 257 * MIB;
const SHA256_HEADER = 'x-amz-meta-sha256';
const SKEW_MS_MAX = 60_000;
/** The Date header has whole seconds, cut off. */
const DATE_HEADER_MS = 500;

const UNREACHABLE = 'start the store, or check MINIO_ENDPOINT (HOST:PORT, without a scheme)';
const WRONG_PROTOCOL = 'check MINIO_ENDPOINT and MINIO_USE_SSL: one side may speak http and the other https';
const UNKNOWN_CERTIFICATE = 'set NODE_EXTRA_CA_CERTS=FILE to the certificate of your authority';
/** What to do about errors below the protocol; about the answers of a store the server's own messages tell. */
const REMEDIES: Readonly<Record<string, string>> = {
  ECONNREFUSED: UNREACHABLE,
  ENOTFOUND: UNREACHABLE,
  EAI_AGAIN: UNREACHABLE,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  ETIMEDOUT: UNREACHABLE,
  ECONNRESET: WRONG_PROTOCOL,
  EPROTO: WRONG_PROTOCOL,
  HPE_INVALID_CONSTANT: WRONG_PROTOCOL,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_CERTIFICATE,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CERTIFICATE,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CERTIFICATE,
};

export interface S3TrialOptions {
  readonly s3: S3Options;
  /** `backups`: a bucket without which the server starts. */
  readonly use: 'tables' | 'backups';
  /** `check`: the server looks first in any case and does not rely on conditions. */
  readonly putIfAbsent: 'auto' | 'check';
  /** True when all servers share their locks in Redis. */
  readonly hasRedis: boolean;
  /** False: leaves out the object of more than 256 MiB. */
  readonly withLargeObject: boolean;
  readonly clock: Clock;
}

export function s3Trial(options: S3TrialOptions): StorageTrial {
  const trial = new S3Trial(options);
  return {
    title: `bucket ${options.s3.bucket} at ${options.s3.endpoint}, for ${options.use}`,
    checks: trial.checks(),
    remedyOf: (error) => (options.use === 'tables' ? remedyOf(error) : remedyOf(error)?.replaceAll('MINIO_', 'MINIO_BACKUP_')),
    cleanUp: () => trial.cleanUp(),
  };
}

class S3Trial {
  readonly #keys = new TrialKeys();
  readonly #store: S3ObjectStore;
  /** The server's way round a store without conditional puts. */
  readonly #lookingFirst: S3ObjectStore;
  readonly #scratchDirectory = path.join(tmpdir(), `miniodb-check-storage-${randomUUID()}`);
  #isBucketThere = false;
  #hasMadeBucket = false;
  #lookingFirstWinners: Promise<number> | undefined;

  constructor(private readonly options: S3TrialOptions) {
    this.#store = new S3ObjectStore(options.s3);
    this.#lookingFirst = new S3ObjectStore(options.s3);
    this.#lookingFirst.lookFirst(new LocalLeaseStore(options.clock));
  }

  checks(): StorageCheck[] {
    return [
      {
        name: 'connection and bucket',
        meaning: this.options.use === 'tables' ? 'the server does not start' : 'backups fail, and the copy of the tables falls behind',
        isFoundation: true,
        run: () => this.#bucketIsThere(),
      },
      ...objectChecks({
        store: this.#store,
        keys: this.#keys,
        scratchDirectory: this.#scratchDirectory,
        onConditionLacking: (lack, seen) => this.#withoutCondition(lack, seen),
        isConditionRefused: (error) => codeOf(causeOf(error)) === 'NotImplemented',
      }),
      {
        name: 'checksum of our own',
        meaning: 'bytes could be damaged on the way unnoticed',
        run: () => this.#checksumComesBack(),
      },
      {
        name: 'damaged upload',
        meaning: 'bytes damaged on the way to the store would be kept',
        run: () => this.#damageIsRefused(),
      },
      {
        name: 'large object',
        meaning: 'bulk loads and compactions that create a file of more than 256 MiB would fail',
        run: () => this.#largeObjectComesBack(),
      },
      {
        name: 'wrong secret key',
        meaning: 'anyone who can reach the store could read and change all tables',
        run: () => this.#wrongSecretIsRefused(),
      },
      {
        name: 'clock',
        meaning: 'the store would refuse requests as too old',
        run: () => this.#clocksAgree(),
      },
    ];
  }

  async #bucketIsThere(): Promise<Outcome> {
    const existed = await this.#bucketExists();
    await this.#store.ensureBucket();
    this.#isBucketThere = true;
    this.#hasMadeBucket = !existed;
    await mkdir(this.#scratchDirectory);
    return ok(existed ? 'the bucket is there' : 'the bucket did not exist and can be created (it is removed again at the end)');
  }

  async #bucketExists(): Promise<boolean> {
    try {
      await this.#store.list('')[Symbol.asyncIterator]().next();
      return true;
    } catch (error) {
      if (codeOf(causeOf(error)) === 'NoSuchBucket') return false;
      throw error;
    }
  }

  async #withoutCondition(lack: ConditionLack, seen: string): Promise<Outcome> {
    const { s3, putIfAbsent } = this.options;
    // The server's own test before the first use has fewer puts, and may not see it.
    if (lack === 'not atomic' && putIfAbsent === 'auto')
      return {
        verdict: 'FAILED',
        seen: `${seen}, though a second put after the first is refused`,
        meaning: 'two servers that commit at the same moment could both be told that they won, and one commit would be lost',
        remedy: `set ${s3.section}.put_if_absent to "check" (MINIODB_${s3.section.toUpperCase()}__PUT_IF_ABSENT=check) and let only one server write, or all use one Redis; or use another store`,
      };
    return this.#byLookingFirst(seen);
  }

  async #byLookingFirst(seen: string): Promise<Outcome> {
    this.#lookingFirstWinners ??= raceForKey(this.#lookingFirst, this.#keys.key('race/looking-first'));
    const winners = await this.#lookingFirstWinners;
    if (winners !== 1)
      return {
        verdict: 'FAILED',
        seen: `${seen}; checking first under a lock did not help: ${winners} writers were told that they had created one key`,
        meaning: 'commits would overwrite each other even with one server',
        remedy: 'use another store',
      };
    const { hasRedis } = this.options;
    return {
      verdict: 'LACKING',
      seen,
      meaning: hasRedis
        ? 'the server checks for a key before it creates it, under a lock in Redis: safe as long as every server that writes to this bucket uses the same Redis'
        : 'the server checks for a key before it creates it, under a lock of its own: safe as long as no second server writes to this bucket',
      remedy: hasRedis
        ? 'a store that honours If-None-Match: * on PUT needs no such lock'
        : 'for several servers use a store that honours If-None-Match: * on PUT, or one Redis for all of them (REDIS_MODE)',
    };
  }

  async #checksumComesBack(): Promise<Outcome> {
    const bytes = randomBytes(1_000);
    const key = await this.#put('checksum', bytes);
    const response = await this.#store.requests.send({ method: 'HEAD', key });
    response.resume();
    const came = response.headers[SHA256_HEADER];
    if (came === digestOf(bytes).sha256) return ok(`the header ${SHA256_HEADER} comes back with the object`);
    return {
      verdict: 'LACKING',
      seen: `the header ${SHA256_HEADER} comes back ${came === undefined ? 'not at all' : 'changed'}`,
      meaning:
        "bytes damaged on the way back go unnoticed, and a put whose answer was lost is taken for another writer's, which costs a flush one more attempt",
      remedy: 'make the store, or the proxy in front of it, pass x-amz-meta-* headers on',
    };
  }

  async #damageIsRefused(): Promise<Outcome> {
    const key = this.#keys.key('damaged');
    const { sha256, md5 } = digestOf(Buffer.from('intact'));
    const body = Buffer.from('damage');
    try {
      const headers = { 'Content-Length': body.length, 'Content-MD5': md5 };
      (await this.#store.requests.send({ method: 'PUT', key, body, sha256, headers })).resume();
    } catch (error) {
      if (isAnswer(error)) return ok(`refused by its hashes (${codeOf(error)})`);
      throw error;
    }
    return {
      verdict: 'LACKING',
      seen: 'a body that does not match the hashes sent with it was accepted',
      meaning: 'an object damaged on the way to the store is kept; the server notices when it reads the object, but cannot repair it',
      remedy: 'use TLS (MINIO_USE_SSL=true), which detects damage itself',
    };
  }

  async #largeObjectComesBack(): Promise<Outcome> {
    if (!this.options.withLargeObject) return { verdict: 'skipped', seen: 'left out (--quick)' };
    const { bavail, bsize } = await statfs(this.#scratchDirectory);
    if (bavail * bsize < LARGE_BYTES * 2)
      return {
        verdict: 'skipped',
        seen: `${tmpdir()} has no room for ${(LARGE_BYTES * 2) / MIB} MiB; set TMPDIR to a directory that does`,
      };
    const file = path.join(this.#scratchDirectory, 'large');
    await writeLargeFile(file);
    const { sha256 } = await digestOfFile(file);
    const key = this.#keys.key('large');
    const { requests } = this.#store.requests.counts;
    const putsBefore = requests.PUT;
    const sentMs = await millisecondsOf(() => this.#store.putFileIfAbsent(key, file));
    const parts = requests.PUT - putsBefore;
    await rm(file);
    const back = `${file}.back`;
    const fetchedMs = await millisecondsOf(() => this.#store.download(key, back));
    const cameBackWhole = (await digestOfFile(back)).sha256 === sha256;
    await rm(back);
    if (!cameBackWhole) throw new Error(`an object of ${LARGE_BYTES} bytes came back with other bytes`);
    return ok(`${LARGE_BYTES / MIB} MiB in ${parts} parts, ${megabytesPerSecond(sentMs)} up, ${megabytesPerSecond(fetchedMs)} down`);
  }

  async #wrongSecretIsRefused(): Promise<Outcome> {
    const key = await this.#put('secret', Buffer.from('secret'));
    const intruder = new S3ObjectStore({ ...this.options.s3, secretKey: randomUUID() });
    try {
      await intruder.get(key);
    } catch (error) {
      if (isAnswer(causeOf(error))) return ok(`refused (${codeOf(causeOf(error))})`);
      throw error;
    } finally {
      intruder.close();
    }
    return {
      verdict: 'LACKING',
      seen: 'the store answered a request signed with a wrong secret key',
      meaning: 'anyone who can reach the store can read and change all tables',
      remedy: 'let only the server reach the store, or use one that checks signatures',
    };
  }

  async #clocksAgree(): Promise<Outcome> {
    const key = await this.#put('clock', Buffer.from('x'));
    const beforeMs = this.options.clock.nowMs();
    const response = await this.#store.requests.send({ method: 'HEAD', key });
    response.resume();
    const hereMs = (beforeMs + this.options.clock.nowMs()) / 2;
    const meaning =
      "the age of objects (maintenance.orphan_age_hours) is taken from the store's clock and compared with this one, and from 15 minutes on requests are refused";
    const thereMs = Date.parse(response.headers.date ?? '') + DATE_HEADER_MS;
    if (Number.isNaN(thereMs)) return { verdict: 'LACKING', seen: 'answers have no Date header, so its clock is not known', meaning };
    const skewMs = thereMs - hereMs;
    const seen = `${(Math.abs(skewMs) / 1_000).toFixed(1)} s ${skewMs < 0 ? 'behind' : 'ahead of'} this machine's (whole seconds only)`;
    if (Math.abs(skewMs) <= SKEW_MS_MAX) return ok(seen);
    return { verdict: 'LACKING', seen, meaning, remedy: 'let both machines take their time from NTP' };
  }

  async #put(name: string, bytes: Uint8Array): Promise<string> {
    const key = this.#keys.key(name);
    await this.#store.put(key, bytes);
    return key;
  }

  async cleanUp(): Promise<void> {
    try {
      if (this.#isBucketThere) await this.#removeObjects();
    } finally {
      this.#store.close();
      this.#lookingFirst.close();
      await rm(this.#scratchDirectory, { recursive: true, force: true });
    }
  }

  async #removeObjects(): Promise<void> {
    await this.#keys.removeAll(this.#store);
    if (!this.#hasMadeBucket) return;
    const { bucket } = this.options.s3;
    try {
      await this.#store.requests.client.removeBucket(bucket);
    } catch (error) {
      // Somebody began to use it: then it is theirs.
      if (codeOf(error) !== 'BucketNotEmpty')
        throw new Error(`the bucket ${bucket} was created and could not be removed: ${messageOf(error)}`, { cause: error });
    }
  }
}

/** Each MiB begins with its number, so that parts in a wrong order show. */
async function writeLargeFile(file: string): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    const block = randomBytes(MIB);
    for (let number = 0; number < LARGE_BYTES / MIB; number += 1) {
      block.writeUInt32BE(number);
      await handle.writeFile(block);
    }
  } finally {
    await handle.close();
  }
}

/** True for what a store said, in contrast to what the network did: `AccessDenied`, and not `ECONNRESET`. */
function isAnswer(error: unknown): boolean {
  return /[a-z]/.test(codeOf(error));
}

function remedyOf(error: unknown): string | undefined {
  const cause = causeOf(error);
  const remedy = REMEDIES[codeOf(cause)];
  if (remedy !== undefined) return remedy;
  const saysRemedy = error instanceof AppError && !error.message.includes(messageOf(cause));
  if (saysRemedy) return undefined;
  return isAnswer(cause) ? 'look at the log of the store' : UNREACHABLE;
}

async function millisecondsOf(task: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await task();
  return performance.now() - startedMs;
}

function megabytesPerSecond(ms: number): string {
  return `${Math.round(LARGE_BYTES / 1e3 / ms)} MB/s`;
}
