/**
 * Objects in a bucket of an S3-compatible store.
 *
 * Put-if-absent is one PUT with `If-None-Match: *`, with the size and hashes of the body, so that the store takes all of it or nothing. A PUT whose
 * answer was lost is asked again: when the key then exists with our hash, the lost one had succeeded. A store that ignores the condition is found
 * out by `keepsConditions`; `lookFirst` is the way round it, safe as long as all writers share the lock that it takes.
 *
 * Each operation has a bounded number of attempts with growing pauses; a connection on which nothing moves is cut.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { pipeline } from 'node:stream/promises';
import { AppError } from '../../common/app-error.js';
import type { LeaseStore } from '../../coordination/lease.js';
import type { ObjectInfo } from '../object-store.js';
import type { RemoteObjectStore } from '../remote-object-store.js';
import { type Digest, digestOf, digestOfFile, readRange } from './digest.js';
import { codeOf, isNotThere, isPreconditionFailed } from './s3-error.js';
import { withRetries } from './retry.js';
import { SHA256_OF_NOTHING, S3Requests, type S3Options } from './s3-requests.js';

const PAGE_KEYS_MAX = 1_000;
/** A larger object goes up in parts: a store takes 5 GiB in one request, and a lost connection costs one part only. */
const PART_BYTES = 256 * 1_024 * 1_024;
const SHA256_HEADER = 'x-amz-meta-sha256';
const PUT_LOCK_MS = 60_000;
const PROBE_PUTS = 8;
const PUT_LOCK_PAUSE_MS = 20;

export class S3ObjectStore implements RemoteObjectStore {
  readonly requests: S3Requests;

  /** The lock under which a put first looks whether the key exists; undefined where the store does that itself. */
  #checkedPuts: LeaseStore | undefined;

  constructor(options: S3Options) {
    this.requests = new S3Requests(options);
  }

  /** From now on, check for the key before each put: for a store that does not keep conditions. */
  lookFirst(locks: LeaseStore): void {
    this.#checkedPuts = locks;
  }

  get name(): string {
    return this.requests.options.bucket;
  }

  locationOf(key: string): string {
    return `s3://${this.name}/${key}`;
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return this.#putOnce(key, digestOf(body), () => body);
  }

  async putFileIfAbsent(key: string, file: string): Promise<boolean> {
    const digest = await digestOfFile(file);
    if (digest.sizeBytes > PART_BYTES) return this.#putInParts(key, file, digest);
    return this.#putOnce(key, digest, () => readRange(file));
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const digest = digestOf(body);
    await this.#attempt(`object ${key} could not be written`, async () => this.#send('PUT', key, { body, digest, headers: {} }));
  }

  /** COMMIT POINT of whatever the object means. */
  async #putOnce(key: string, digest: Digest, body: () => Buffer | ReturnType<typeof readRange>): Promise<boolean> {
    if (this.#checkedPuts) return this.#putChecked(this.#checkedPuts, key, digest, body);
    return this.#attempt(`object ${key} could not be written`, async (attempt) => {
      try {
        await this.#send('PUT', key, { body: body(), digest, headers: { 'If-None-Match': '*' } });
        return true;
      } catch (error) {
        if (!isPreconditionFailed(error)) throw error;
        // The attempt before this one may have been ours and have succeeded without our hearing of it.
        return attempt > 1 && (await this.#hashOf(key)) === digest.sha256;
      }
    });
  }

  /** For stores without conditional puts: one writer at a time looks, then writes. */
  async #putChecked(locks: LeaseStore, key: string, digest: Digest, body: () => Buffer | ReturnType<typeof readRange>): Promise<boolean> {
    const lock = await acquireSoon(locks, `put:${key}`);
    try {
      return await this.#attempt(`object ${key} could not be written`, async (attempt) => {
        const hash = await this.#hashOf(key);
        if (hash !== undefined) return attempt > 1 && hash === digest.sha256;
        if (!lock.isHeld()) throw new AppError('UNAVAILABLE', `object ${key} could not be written: the lock for it was lost; try again`);
        await this.#send('PUT', key, { body: body(), digest, headers: {} });
        return true;
      });
    } finally {
      await lock.release();
    }
  }

  /** Not atomic against a second writer of the same key: only for keys that nobody else makes, such as those of data files, which hold a uuid. */
  async #putInParts(key: string, file: string, digest: Digest): Promise<boolean> {
    if ((await this.#hashOf(key)) !== undefined) return false;
    const what = `object ${key} could not be written in parts`;
    const { client, options } = this.requests;
    const uploadId = await this.#attempt(what, () =>
      client.initiateNewMultipartUpload(options.bucket, key, { [SHA256_HEADER]: digest.sha256 }),
    );
    try {
      const parts: { part: number; etag: string }[] = [];
      for (let start = 0; start < digest.sizeBytes; start += PART_BYTES) {
        const part = parts.length + 1;
        const range = { start, end: Math.min(start + PART_BYTES, digest.sizeBytes) };
        const partDigest = await digestOfFile(file, range);
        const query = `partNumber=${part}&uploadId=${encodeURIComponent(uploadId)}`;
        const etag = await this.#attempt(what, () =>
          this.#send('PUT', key, { body: readRange(file, range), digest: partDigest, headers: {}, query }),
        );
        parts.push({ part, etag });
      }
      await this.#attempt(what, () => client.completeMultipartUpload(options.bucket, key, uploadId, parts));
      return true;
    } catch (error) {
      // An answer that was lost: the upload is gone when it was completed.
      if ((await this.#hashOf(key).catch(() => undefined)) === digest.sha256) return true;
      await client.abortMultipartUpload(options.bucket, key, uploadId).catch(() => undefined);
      throw error;
    }
  }

  async #send(
    method: 'PUT',
    key: string,
    parts: { body: Buffer | ReturnType<typeof readRange>; digest: Digest; headers: Record<string, string>; query?: string },
  ): Promise<string> {
    const { digest, query } = parts;
    const response = await this.requests.send({
      method,
      key,
      body: parts.body,
      sha256: digest.sha256,
      headers: {
        'Content-Length': digest.sizeBytes,
        'Content-MD5': digest.md5,
        ...(query === undefined ? { 'Content-Type': 'application/octet-stream', [SHA256_HEADER]: digest.sha256 } : {}),
        ...parts.headers,
      },
      ...(query === undefined ? {} : { query }),
    });
    response.resume();
    return (response.headers.etag ?? '').replaceAll('"', '');
  }

  /** The hash an object was stored with; undefined when there is no object. */
  async #hashOf(key: string): Promise<string | undefined> {
    try {
      const response = await this.requests.send({ method: 'HEAD', key });
      response.resume();
      const hash = response.headers[SHA256_HEADER];
      return typeof hash === 'string' ? hash : '';
    } catch (error) {
      if (isNotThere(error)) return undefined;
      throw error;
    }
  }

  async get(key: string): Promise<Buffer | undefined> {
    return this.#read(key, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      assertWhole(key, response, bytes.length, digestOf(bytes).sha256);
      return bytes;
    });
  }

  /** Fetches an object into a file. @returns its size, or undefined when there is no such object */
  async download(key: string, file: string): Promise<number | undefined> {
    return this.#read(key, async (response) => {
      const hash = createHash('sha256');
      let sizeBytes = 0;
      await pipeline(
        response,
        async function* (chunks: AsyncIterable<Buffer>) {
          for await (const chunk of chunks) {
            hash.update(chunk);
            sizeBytes += chunk.length;
            yield chunk;
          }
        },
        createWriteStream(file),
      );
      assertWhole(key, response, sizeBytes, hash.digest('hex'));
      return sizeBytes;
    });
  }

  async #read<T>(key: string, use: (response: IncomingMessage) => Promise<T>): Promise<T | undefined> {
    return this.#attempt(`object ${key} could not be read`, async () => {
      try {
        return await use(await this.requests.send({ method: 'GET', key }));
      } catch (error) {
        if (isNotThere(error)) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, startAfter = ''): AsyncIterable<ObjectInfo> {
    const { client, options } = this.requests;
    let token = '';
    do {
      const page = await this.#attempt(`objects under ${prefix || 'the bucket'} could not be listed`, () =>
        client.listObjectsV2Query(options.bucket, prefix, token, '', PAGE_KEYS_MAX, startAfter),
      );
      for (const { name, size, lastModified } of page.objects)
        if (name !== undefined) yield { key: name, sizeBytes: size, modifiedMs: lastModified.getTime() };
      token = page.isTruncated ? page.nextContinuationToken : '';
    } while (token !== '');
  }

  async delete(key: string): Promise<void> {
    await this.#attempt(`object ${key} could not be deleted`, async () => {
      const response = await this.requests.send({ method: 'DELETE', key, sha256: SHA256_OF_NOTHING, expected: [200, 204] });
      response.resume();
    });
  }

  #attempt<T>(what: string, run: (attempt: number) => Promise<T>): Promise<T> {
    return withRetries(what, this.requests.options, run);
  }

  /** Makes the bucket when it does not exist. @throws AppError UNAVAILABLE with the reason when it cannot be used */
  async ensureBucket(): Promise<void> {
    const { client, options } = this.requests;
    await this.#attempt(`bucket ${options.bucket} at ${options.endpoint} cannot be used`, async () => {
      try {
        await client.listObjectsV2Query(options.bucket, '', '', '', 1, '');
      } catch (error) {
        if (codeOf(error) !== 'NoSuchBucket') throw error;
        await client.makeBucket(options.bucket, options.region);
      }
    });
  }

  /** True when of several conditional puts of one key one wins, and a later one is refused, as it must be; found out by trying. */
  async keepsConditions(): Promise<boolean> {
    const key = `_probe/${randomUUID()}`;
    try {
      const raced = await Promise.all(Array.from({ length: PROBE_PUTS }, (_, put) => this.putIfAbsent(key, Buffer.from(`put ${put}`))));
      return raced.filter((isNew) => isNew).length === 1 && !(await this.putIfAbsent(key, Buffer.from('late')));
    } catch (error) {
      if (error instanceof AppError && codeOf(error.cause) === 'NotImplemented') return false;
      throw error;
    } finally {
      await this.delete(key).catch(() => undefined);
    }
  }

  close(): void {
    this.requests.close();
  }
}

/** @throws Error for a body that was cut or changed on its way; the next attempt reads it again */
function assertWhole(key: string, response: IncomingMessage, sizeBytes: number, sha256: string): void {
  const length = response.headers['content-length'];
  if (length !== undefined && Number(length) !== sizeBytes) throw new Error(`${key} has ${length} bytes, but ${sizeBytes} arrived`);
  const expected = response.headers[SHA256_HEADER];
  if (typeof expected === 'string' && expected !== sha256) throw new Error(`${key} arrived with other bytes than were stored`);
}

async function acquireSoon(locks: LeaseStore, name: string): Promise<NonNullable<Awaited<ReturnType<LeaseStore['acquire']>>>> {
  for (const startedMs = performance.now(); performance.now() - startedMs < PUT_LOCK_MS; await pause(PUT_LOCK_PAUSE_MS)) {
    const lock = await locks.acquire(name, PUT_LOCK_MS);
    if (lock) return lock;
  }
  throw new AppError('UNAVAILABLE', `${name} has been locked by another writer for more than ${PUT_LOCK_MS} ms`);
}
