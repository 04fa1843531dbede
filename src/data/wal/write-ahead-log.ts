/**
 * The write-ahead log: what is acknowledged is in here first, synced. Segments of bounded size in one directory; records of many requests share
 * one write and one fsync. A segment goes once all its LSNs are in the tables' files.
 *
 * A write that fails (a full disk) is cut off again and refused; the log stays usable. A failed fsync is different: what the disk kept is unknown,
 * so the log takes nothing more until a restart has read it back. A segment that is missing stops the start, like one that is damaged: each says in
 * its head what came before it, and `log-state.ts` which was begun last and how far the log was trimmed. See docs/format/wal.md.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError, isSystemError, messageOf } from '../../common/app-error.js';
import { faultPoint } from '../../common/fault-points.js';
import { SerialQueue } from '../../common/serial-queue.js';
import { syncDirectory } from '../../storage/local-object-store.js';
import { LogState, lsnText } from './log-state.js';
import { LSNS_PER_WAL } from './lsn-range.js';
import { decodeSegmentHead, encodeSegmentHead, SEGMENT_HEAD_BYTES, type SegmentHead, WAL_ID_BYTES } from './segment-head.js';
import { decodeRecord, encodeRecord, lastLsnOf, RECORD_MAGIC, type WalRecord } from './wal-record.js';

/** A block of a file system: fewer might fit where nothing else does. */
const PROBE_BYTES = 4_096;
/** Each flush asks once. */
const TRIMS_WAITING_MAX = 10_000;
const SEGMENT_NAME = /^(\d{20})\.wal$/;

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
  /** The last LSN that the log has or had: of its records, or of those that were trimmed. */
  #lastLsn: number;
  #handle: FileHandle | undefined;
  #closedBecause: string | undefined;
  readonly #trims = new SerialQueue('trimming the write-ahead log', TRIMS_WAITING_MAX);
  #committed = '';

  private constructor(
    private readonly options: WalOptions,
    /** Names this log in the tables' commits; lives as long as its directory. */
    readonly id: string,
    /** Number of its range of LSNs; no other log of the store has it. */
    readonly range: number,
    private readonly state: LogState,
  ) {
    this.lsnStart = range * LSNS_PER_WAL + 1;
    this.lsnEnd = (range + 1) * LSNS_PER_WAL;
    this.#lastLsn = Math.max(this.lsnStart - 1, state.trimmedLsn);
  }

  /** Opens the log in a directory, or starts one. Follow with `replay` before the first `append`. */
  static async open(options: WalOptions): Promise<WriteAheadLog> {
    await mkdir(options.directory, { recursive: true });
    const { id, range } = await readOrMakeIdentity(options);
    const log = new WriteAheadLog(options, id, range, await LogState.read(options.directory));
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

  /** True for a log that nothing was ever written to. */
  get isUnused(): boolean {
    return this.#segments.length === 0 && this.state.newestLsn === 0;
  }

  /**
   * Every record, in order. Cuts a torn end of the last segment, which was never acknowledged.
   * @param committed what the tables hold of this log, as a sentence for a person who has to decide about missing records
   * @throws AppError DATA_CORRUPTION when a record that may have been acknowledged is damaged (naming segment and offset) or missing (naming the LSNs)
   */
  async *replay(committed = ''): AsyncIterable<WalRecord> {
    this.#committed = committed;
    let last = 0;
    this.#lastLsn = Math.max(this.lsnStart - 1, this.state.trimmedLsn);
    for (const segment of [...this.#segments]) {
      for (const record of await this.#readSegment(segment)) {
        if (record.firstLsn <= last) throw this.#damaged(segment, 0, `LSN ${record.firstLsn} follows ${last}`);
        last = lastLsnOf(record);
        this.#lastLsn = Math.max(this.#lastLsn, last);
        yield record;
      }
    }
    await this.#assertNewest();
  }

  async #readSegment(segment: Segment): Promise<WalRecord[]> {
    const isLast = segment === this.#segments.at(-1);
    const bytes = await readFile(segment.file);
    const head = decodeSegmentHead(bytes);
    if (isLast && this.#hasNoRecord(segment, bytes, head)) return this.#remove(segment);
    if (!head) throw this.#damaged(segment, 0, 'it does not start like a segment');
    if (head.logId !== this.id) throw this.#damaged(segment, 0, `it belongs to the log ${head.logId}, not to ${this.id}`);
    if (head.previousLsn !== undefined) this.#assertFollows(segment, head.previousLsn);
    const records: WalRecord[] = [];
    for (let offset = head.bytes; offset < bytes.length;) {
      const decoded = decodeRecord(bytes, offset);
      if (decoded.ok) {
        records.push(decoded.record);
        offset = decoded.end;
        continue;
      }
      if (!isLast || isSyncedBefore(bytes, offset) || (!decoded.isCut && !isUnwritten(bytes, offset))) {
        throw this.#damaged(segment, offset, 'its checksum does not match', records.at(-1));
      }
      if (this.#hasNoRecord(segment, bytes.subarray(0, offset), head)) return this.#remove(segment);
      await truncate(segment.file, offset);
      segment.bytes = offset;
      break;
    }
    return records;
  }

  /** True for a segment that a crash left before its first record could be written: of its head a part, or in format 1 nothing but the head. */
  #hasNoRecord({ firstLsn }: Segment, bytes: Buffer, head: SegmentHead | undefined): boolean {
    if (head) return head.previousLsn === undefined && bytes.length === head.bytes;
    return bytes.length <= SEGMENT_HEAD_BYTES && firstLsn !== this.state.newestLsn;
  }

  async #remove(segment: Segment): Promise<WalRecord[]> {
    await rm(segment.file);
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    return [];
  }

  #assertFollows(segment: Segment, previousLsn: number): void {
    const from = this.#lastLsn + 1;
    if (previousLsn < from || this.state.isGivenUp(from, previousLsn)) return;
    throw this.#missing(from, previousLsn, `${path.basename(segment.file)} says that it comes after them`);
  }

  /** The segment that was begun last must be there, also when no later one tells of it. */
  async #assertNewest(): Promise<void> {
    const { newestLsn, trimmedLsn } = this.state;
    // Trimmed, after a later one was begun and before that could be noted: no record of the later one was acknowledged.
    if (newestLsn <= trimmedLsn) return;
    if (newestLsn === 0 || this.#segments.some(({ firstLsn }) => firstLsn === newestLsn)) return;
    if (!this.state.isGivenUp(newestLsn, newestLsn))
      throw this.#missing(newestLsn, newestLsn, 'the log began that segment last, and later LSNs may have been in it as well');
    await this.state.note({ newestLsn: this.#segments.at(-1)?.firstLsn ?? 0 });
    await this.state.forgetGivenUp(({ from, to }) => from === newestLsn && to === newestLsn);
  }

  /** @throws AppError DATA_CORRUPTION when the log, read back, ends before an LSN of it that a table's files hold */
  assertReaches(lsn: number, tableName: string): void {
    const from = this.#lastLsn + 1;
    if (lsn < from || this.state.isGivenUp(from, lsn)) return;
    throw this.#missing(from, lsn, `the log ends before them, and the files of table ${tableName} hold what was written up to LSN ${lsn}`);
  }

  #missing(from: number, to: number, reason: string): AppError {
    return new AppError(
      'DATA_CORRUPTION',
      `the write-ahead log in ${this.options.directory} lacks LSN ${from} to ${to}: ${reason}. Acknowledged writes may be missing, so the start is refused. ` +
        `${this.#committed}Put segment ${lsnText(from)}.wal and those after it back from a backup, or give these LSNs up with: ${this.state.commandToGiveUp(from, to)}`,
    );
  }

  /** What cannot be read is put aside, as far as it goes, and the LSNs that go with it are given up. */
  #damaged(segment: Segment, offset: number, reason: string, lastRecord?: WalRecord): AppError {
    const { file, firstLsn } = segment;
    const next = this.#segments[this.#segments.indexOf(segment) + 1];
    const from = next ? Math.max(this.#lastLsn, lastRecord ? lastLsnOf(lastRecord) : 0) + 1 : firstLsn;
    const to = next ? next.firstLsn - 1 : firstLsn;
    const commands = [offset === 0 ? `mv ${file} ${file}.damaged` : `truncate -s ${offset} ${file}`];
    if ((next || offset === 0) && from <= to) commands.push(this.state.commandToGiveUp(from, to));
    return damaged(file, offset, reason, commands.join(' && '));
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
    this.#lastLsn = Math.max(this.#lastLsn, ...records.slice(-1).map(lastLsnOf));
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
    // One that got no record is used: the log has told itself that it was begun.
    const segment = last?.bytes === SEGMENT_HEAD_BYTES ? last : await this.#begin(firstLsn);
    try {
      this.#handle = await open(segment.file, 'r+');
      await this.state.note({ newestLsn: segment.firstLsn });
    } catch (error) {
      await this.#handle?.close();
      this.#handle = undefined;
      throw notWritten(error);
    }
    return segment;
  }

  /** Makes a segment, durable with its head. Not the newest yet by `log-state.ts`: a crash may have left a part of it until then. */
  async #begin(firstLsn: number): Promise<Segment> {
    const file = path.join(this.options.directory, `${lsnText(firstLsn)}.wal`);
    try {
      await writeFile(file, encodeSegmentHead(this.id, this.#lastLsn), { flush: true });
      await syncDirectory(this.options.directory);
    } catch (error) {
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
      this.#closedBecause = `the write-ahead log failed to sync (${messageOf(error)}) and accepts no more writes; check the disk and restart the server`;
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
      return true;
    } catch (error) {
      this.#closedBecause = `the write-ahead log could not undo a failed write (${messageOf(error)}) and accepts no more writes; check the disk and restart the server`;
      return false;
    }
  }

  #openHandle(): FileHandle {
    if (!this.#handle) throw new AppError('INTERNAL', 'the write-ahead log has no open segment');
    return this.#handle;
  }

  /** Removes segments whose every LSN is at or below `lsn`. The newest segment stays. Flushes of several tables may ask at once. */
  trim(lsn: number): Promise<void> {
    return this.#trims.run(() => this.#trimNow(lsn));
  }

  async #trimNow(lsn: number): Promise<void> {
    const kept = this.#segments.findLastIndex(({ firstLsn }) => firstLsn <= lsn + 1);
    const trimmedLsn = (this.#segments[kept]?.firstLsn ?? 0) - 1;
    if (kept < 1) return;
    await this.state.note({ trimmedLsn });
    for (const { file } of this.#segments.slice(0, kept)) {
      faultPoint('wal.before-trim');
      await rm(file, { force: true });
      this.#segments.shift();
    }
    await this.state.forgetGivenUp(({ to }) => to <= trimmedLsn);
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
  const segment = (await readdir(directory)).find((name) => SEGMENT_NAME.test(name));
  if (segment !== undefined)
    throw damaged(file, 0, 'the id of the log is missing though it has segments', await commandToWriteId(directory, segment));
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

/** Each segment has the id of its log in its head, and LSNs of the log's range. */
async function commandToWriteId(directory: string, segment: string): Promise<string> {
  const head = decodeSegmentHead(await readFile(path.join(directory, segment)));
  const range = Math.floor((Number.parseInt(segment, 10) - 1) / LSNS_PER_WAL);
  return head ? `printf '${head.logId}\\n${range}\\n' > ${path.join(directory, 'id')}` : `mv ${directory} ${directory}.damaged`;
}

function damaged(file: string, offset: number, reason: string, wayOut: string): AppError {
  return new AppError(
    'DATA_CORRUPTION',
    `the write-ahead log is damaged in ${file} at offset ${offset}: ${reason}. It may contain acknowledged writes, so the start is refused. ` +
      `Put the file back from a backup, or give up what cannot be read with: ${wayOut}`,
  );
}

/** What the system says, without the path that it adds: callers see it. */
function reasonOf(error: unknown): string {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code === undefined ? messageOf(error) : `${code} from ${syscall ?? 'the system'}`;
}

function notWritten(error: unknown): AppError {
  const reason = isSystemError(error, 'ENOSPC', 'EDQUOT')
    ? 'the disk is full; free some space; writing resumes by itself'
    : reasonOf(error);
  return new AppError('UNAVAILABLE', `the write was not stored: ${reason}`, { cause: error, retryAfterSeconds: 5 });
}
