/**
 * The write-ahead log: what is acknowledged is in here first, synced. Segments of bounded size in one directory; records of many requests share
 * one write and one fsync. A segment goes once all its LSNs are in the tables' files.
 *
 * A write that fails (a full disk) is cut off again and refused; the log stays usable. A failed fsync is different: what the disk kept is unknown,
 * so the log takes nothing more until a restart has read it back. See docs/format/wal.md.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError, isSystemError, messageOf } from '../../common/app-error.js';
import { faultPoint } from '../../common/fault-points.js';
import { syncDirectory } from '../../infra/object-store/local-object-store.js';
import { LSNS_PER_WAL } from './lsn-range.js';
import { decodeRecord, encodeRecord, lastLsnOf, RECORD_MAGIC, type WalRecord } from './wal-record.js';

/** A block of a file system: fewer might fit where nothing else does. */
const PROBE_BYTES = 4_096;
const SEGMENT_NAME = /^(\d{20})\.wal$/;
const SEGMENT_MAGIC = 'MDBWAL01';
const WAL_ID_BYTES = 36;
const SEGMENT_HEAD_BYTES = SEGMENT_MAGIC.length + WAL_ID_BYTES;

interface Segment {
  readonly file: string;
  readonly firstLsn: number;
  bytes: number;
}

export interface WalOptions {
  readonly directory: string;
  readonly segmentBytes: number;
  /** Gives a log that begins its range of LSNs (`lsn-range.ts`). */
  readonly claimRange: (id: string) => Promise<number>;
}

interface Identity {
  readonly id: string;
  readonly range: number;
}

export class WriteAheadLog {
  /** Oldest first. The last one is written to, when `#handle` is open. */
  readonly #segments: Segment[] = [];
  /** Names of the bulk files that its records name. */
  readonly bulkFiles = new Set<string>();
  /** LSNs of this log are from here on, */
  readonly lsnStart: number;
  /** and below this. */
  readonly lsnEnd: number;
  /** When the process before this one last wrote to it, in ms since 1970 by the clock of that time; 0 for a new log. */
  #lastWrittenMs = 0;
  #handle: FileHandle | undefined;
  #closedBecause: string | undefined;

  private constructor(
    private readonly options: WalOptions,
    /** Names this log in the tables' commits; lives as long as its directory. */
    readonly id: string,
    /** Number of its range of LSNs; no other log of the store has it. */
    readonly range: number,
  ) {
    this.lsnStart = range * LSNS_PER_WAL + 1;
    this.lsnEnd = (range + 1) * LSNS_PER_WAL;
  }

  /** Opens the log in a directory, or starts one. Follow with `replay` before the first `append`. */
  static async open(options: WalOptions): Promise<WriteAheadLog> {
    await mkdir(options.directory, { recursive: true });
    const { id, range } = await readOrMakeIdentity(options);
    const log = new WriteAheadLog(options, id, range);
    for (const name of (await readdir(options.directory)).sort()) {
      const firstLsn = SEGMENT_NAME.exec(name)?.[1];
      if (firstLsn === undefined) continue;
      const file = path.join(options.directory, name);
      const { size, mtimeMs } = await stat(file);
      log.#segments.push({ file, firstLsn: Number(firstLsn), bytes: size });
      log.#lastWrittenMs = Math.max(log.#lastWrittenMs, Math.ceil(mtimeMs));
    }
    return log;
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  get lastWrittenMs(): number {
    return this.#lastWrittenMs;
  }

  get segmentCount(): number {
    return this.#segments.length;
  }

  /**
   * Every record, in order. Cuts a torn end of the last segment, which was never acknowledged.
   * @throws AppError DATA_CORRUPTION naming segment and offset when a record is damaged that may have been acknowledged
   */
  async *replay(): AsyncIterable<WalRecord> {
    let lastLsn = 0;
    const count = this.#segments.length;
    for (const [index, segment] of [...this.#segments].entries()) {
      const isLast = index === count - 1;
      for (const record of await this.#readSegment(segment, isLast)) {
        if (record.firstLsn <= lastLsn) throw damaged(segment.file, 0, `LSN ${record.firstLsn} follows ${lastLsn}`);
        lastLsn = lastLsnOf(record);
        yield record;
      }
    }
  }

  async #readSegment(segment: Segment, isLast: boolean): Promise<WalRecord[]> {
    const bytes = await readFile(segment.file);
    if (bytes.length <= SEGMENT_HEAD_BYTES && isLast) return this.#cut(segment, 0);
    if (bytes.toString('latin1', 0, SEGMENT_MAGIC.length) !== SEGMENT_MAGIC)
      throw damaged(segment.file, 0, 'it does not start like a segment');
    const owner = bytes.toString('latin1', SEGMENT_MAGIC.length, SEGMENT_HEAD_BYTES);
    if (owner !== this.id) throw damaged(segment.file, 0, `it belongs to the log ${owner}, not to ${this.id}`);
    const records: WalRecord[] = [];
    for (let offset = SEGMENT_HEAD_BYTES; offset < bytes.length;) {
      const decoded = decodeRecord(bytes, offset);
      if (decoded.ok) {
        records.push(decoded.record);
        offset = decoded.end;
        continue;
      }
      if (!isLast || isSyncedBefore(bytes, offset) || (!decoded.isCut && !isUnwritten(bytes, offset))) {
        throw damaged(segment.file, offset, 'its checksum does not match');
      }
      await this.#cut(segment, offset);
      break;
    }
    return records;
  }

  /**
   * Takes off what was not synced. A segment without a record goes as a whole: the next write has its first LSN, and so its name.
   */
  async #cut(segment: Segment, bytes: number): Promise<WalRecord[]> {
    if (bytes <= SEGMENT_HEAD_BYTES) {
      await rm(segment.file);
      this.#segments.splice(this.#segments.indexOf(segment), 1);
    } else {
      await truncate(segment.file, bytes);
      segment.bytes = bytes;
    }
    return [];
  }

  /**
   * Writes records and syncs them. SYNC POINT: once this returns they survive anything that leaves the disk alive.
   * @throws AppError UNAVAILABLE when they could not be written; none of them is in the log then
   */
  async append(records: readonly WalRecord[]): Promise<void> {
    if (this.#closedBecause !== undefined) throw new AppError('UNAVAILABLE', this.#closedBecause, { retryAfterSeconds: 30 });
    const [first] = records;
    if (first === undefined) return;
    const segment = await this.#segmentFor(first.firstLsn);
    const parts = records.flatMap((record) => encodeRecord(record, segment.bytes));
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    await this.#write(segment, parts, bytes);
    faultPoint('wal.before-sync');
    await this.#sync(segment);
    segment.bytes += bytes;
    faultPoint('wal.after-sync');
  }

  /** Finds out whether the disk takes and syncs bytes, in a file of its own. @throws AppError UNAVAILABLE when it does not, or when the log is closed */
  async probe(): Promise<void> {
    if (this.#closedBecause !== undefined) throw new AppError('UNAVAILABLE', this.#closedBecause, { retryAfterSeconds: 30 });
    const file = path.join(this.options.directory, 'probe');
    try {
      await writeFile(file, Buffer.alloc(PROBE_BYTES), { flush: true });
    } catch (error) {
      throw notWritten(error);
    } finally {
      await rm(file, { force: true }).catch(() => undefined);
    }
  }

  async #segmentFor(firstLsn: number): Promise<Segment> {
    const last = this.#segments.at(-1);
    if (this.#handle && last && last.bytes < this.options.segmentBytes) return last;
    await this.#handle?.close();
    this.#handle = undefined;
    const file = path.join(this.options.directory, `${String(firstLsn).padStart(20, '0')}.wal`);
    try {
      this.#handle = await open(file, 'w');
      await this.#handle.write(Buffer.from(SEGMENT_MAGIC + this.id, 'latin1'));
      await this.#handle.sync();
      await syncDirectory(this.options.directory);
    } catch (error) {
      await this.#handle?.close();
      this.#handle = undefined;
      await rm(file, { force: true });
      throw notWritten(error);
    }
    const segment = { file, firstLsn, bytes: SEGMENT_HEAD_BYTES };
    this.#segments.push(segment);
    return segment;
  }

  async #write(segment: Segment, parts: readonly Buffer[], bytes: number): Promise<void> {
    try {
      // One buffer and one call: writev takes at most 1,024 pieces, and a group of small records has more.
      const { bytesWritten } = await this.#openHandle().write(Buffer.concat(parts, bytes), 0, bytes, segment.bytes);
      if (bytesWritten !== bytes) throw Object.assign(new Error(`${bytesWritten} of ${bytes} bytes were written`), { code: 'ENOSPC' });
    } catch (error) {
      await this.#takeBack(segment);
      throw notWritten(error);
    }
  }

  async #sync(segment: Segment): Promise<void> {
    try {
      await this.#openHandle().datasync();
    } catch (error) {
      // A disk that says "full" only now has kept nothing that matters once the bytes are cut off. Any other failure leaves the state unknown.
      if (isSystemError(error, 'ENOSPC', 'EDQUOT') && (await this.#takeBack(segment))) throw notWritten(error);
      this.#closedBecause = `the write-ahead log failed to sync (${messageOf(error)}) and takes no more writes; check the disk and restart the server`;
      throw new AppError('UNAVAILABLE', this.#closedBecause, { cause: error, retryAfterSeconds: 30 });
    }
  }

  /** Cuts off what a failed write left, and starts a new segment next time. @returns whether that worked */
  async #takeBack(segment: Segment): Promise<boolean> {
    const handle = this.#handle;
    this.#handle = undefined;
    try {
      await handle?.truncate(segment.bytes);
      await handle?.sync();
      await handle?.close();
      // The next write may start with the same LSN, and so with a segment of the same name.
      if (segment.bytes === SEGMENT_HEAD_BYTES) await this.#cut(segment, 0);
      return true;
    } catch (error) {
      this.#closedBecause = `the write-ahead log could not take back a failed write (${messageOf(error)}) and takes no more writes; check the disk and restart the server`;
      return false;
    }
  }

  #openHandle(): FileHandle {
    if (!this.#handle) throw new AppError('INTERNAL', 'the write-ahead log has no open segment');
    return this.#handle;
  }

  /** Removes segments whose every LSN is at or below `lsn`. The newest segment stays. */
  async trim(lsn: number): Promise<void> {
    for (;;) {
      const [oldest, next] = this.#segments;
      if (!oldest || !next || next.firstLsn > lsn + 1) return;
      faultPoint('wal.before-trim');
      await rm(oldest.file, { force: true });
      this.#segments.shift();
    }
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

async function readOrMakeIdentity({ directory, claimRange }: WalOptions): Promise<Identity> {
  const file = path.join(directory, 'id');
  try {
    const [id = '', range = '0'] = (await readFile(file, 'latin1')).trim().split('\n');
    if (id.length === WAL_ID_BYTES && /^\d+$/.test(range)) return { id, range: Number(range) };
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
  if ((await readdir(directory)).some((name) => SEGMENT_NAME.test(name))) {
    throw damaged(file, 0, 'the id of the log is missing though it has segments');
  }
  const id = randomUUID();
  const range = await claimRange(id);
  await writeFile(file, `${id}\n${range}\n`, { flush: true });
  await syncDirectory(directory);
  return { id, range };
}

/** True when a later group of records is intact: then what stands at `offset` had been synced before. */
function isSyncedBefore(segment: Buffer, offset: number): boolean {
  const magic = Buffer.alloc(4);
  magic.writeUInt32LE(RECORD_MAGIC);
  for (let at = segment.indexOf(magic, offset + 1); at !== -1; at = segment.indexOf(magic, at + 1)) {
    const decoded = decodeRecord(segment, at);
    if (decoded.ok && decoded.groupStart > offset) return true;
  }
  return false;
}

/** True when the file ends in zeros: room that the file system gave, whose bytes never came. */
function isUnwritten(segment: Buffer, offset: number): boolean {
  return segment.subarray(-1).every((byte) => byte === 0) && offset < segment.length;
}

function damaged(file: string, offset: number, reason: string): AppError {
  return new AppError(
    'DATA_CORRUPTION',
    `the write-ahead log is damaged in ${file} at offset ${offset}: ${reason}. Acknowledged writes may stand there, so the start is refused. ` +
      `Put the file back from a backup, or give up what follows with: truncate -s ${offset} ${file}`,
  );
}

/** What the system says, without the path that it adds: callers see it. */
function reasonOf(error: unknown): string {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === undefined ? messageOf(error) : `${code} from ${syscall ?? 'the system'}`;
}

function notWritten(error: unknown): AppError {
  const reason = isSystemError(error, 'ENOSPC', 'EDQUOT') ? 'the disk is full; free space and it goes on by itself' : reasonOf(error);
  return new AppError('UNAVAILABLE', `the write was not stored: ${reason}`, { cause: error, retryAfterSeconds: 5 });
}
