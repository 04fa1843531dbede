/**
 * What a log knows besides its segments, so that a start can tell a segment that was trimmed from one that was lost:
 *
 *   TRIMMED-NEWEST.state     LSNs up to TRIMMED were removed by us, and segment NEWEST was begun
 *   FROM-TO.given-up         made by a person: the LSNs from FROM to TO are missing, and the log is to be used without them
 *
 * Both are empty files whose names say everything. A rename is whole or not done, and needs no room: a log must be able to trim on a full disk.
 */
import { open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { SerialQueue } from '../../common/serial-queue.js';
import { syncDirectory } from '../../storage/local-object-store.js';

const STATE_NAME = /^(\d{20})-(\d{20})\.state$/;
const GIVEN_UP_NAME = /^(\d{20})-(\d{20})\.given-up$/;

/** A write that begins a segment, and flushes of tables that trim. */
const CHANGES_WAITING_MAX = 10_000;

interface Range {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

export class LogState {
  #name: string | undefined;
  #trimmedLsn = 0;
  #newestLsn = 0;
  #givenUp: Range[] = [];
  /** Each change renames what the one before it made. */
  readonly #changes = new SerialQueue('the state of the write-ahead log', CHANGES_WAITING_MAX);

  private constructor(private readonly directory: string) {}

  static async read(directory: string): Promise<LogState> {
    const state = new LogState(directory);
    for (const name of (await readdir(directory)).sort()) {
      const [, trimmed, newest] = STATE_NAME.exec(name) ?? [];
      // Should a crash have left two names, the later one holds.
      if (trimmed !== undefined) state.#take(name, Number(trimmed), Number(newest));
      const [, from, to] = GIVEN_UP_NAME.exec(name) ?? [];
      if (from !== undefined) state.#givenUp.push({ name, from: Number(from), to: Number(to) });
    }
    return state;
  }

  #take(name: string, trimmedLsn: number, newestLsn: number): void {
    this.#name = name;
    this.#trimmedLsn = trimmedLsn;
    this.#newestLsn = newestLsn;
  }

  /** Everything up to here was in tables' files when it was removed. */
  get trimmedLsn(): number {
    return this.#trimmedLsn;
  }

  /** First LSN of the segment that was begun last; 0 before the first. */
  get newestLsn(): number {
    return this.#newestLsn;
  }

  /** Must be done before the first record of a segment is acknowledged, and before a segment is removed. SYNC POINT. */
  note(change: { readonly trimmedLsn?: number; readonly newestLsn?: number }): Promise<void> {
    return this.#changes.run(() => this.#noteNow(change));
  }

  async #noteNow(change: { readonly trimmedLsn?: number; readonly newestLsn?: number }): Promise<void> {
    const { newestLsn = this.#newestLsn } = change;
    // Of two trims at once, the later one may know of less.
    const trimmedLsn = Math.max(this.#trimmedLsn, change.trimmedLsn ?? 0);
    if (this.#name !== undefined && trimmedLsn === this.#trimmedLsn && newestLsn === this.#newestLsn) return;
    const name = `${lsnText(trimmedLsn)}-${lsnText(newestLsn)}.state`;
    if (this.#name === undefined) await (await open(path.join(this.directory, name), 'w')).close();
    else await rename(path.join(this.directory, this.#name), path.join(this.directory, name));
    this.#take(name, trimmedLsn, newestLsn);
    await syncDirectory(this.directory);
  }

  /** True when a person gave these LSNs up. */
  isGivenUp(from: number, to: number): boolean {
    return this.#givenUp.some((range) => range.from <= from && range.to >= to);
  }

  /** Forgets ranges that no start can miss any more. */
  async forgetGivenUp(isOver: (range: { readonly from: number; readonly to: number }) => boolean): Promise<void> {
    for (const range of this.#givenUp.filter(isOver)) await rm(path.join(this.directory, range.name), { force: true });
    this.#givenUp = this.#givenUp.filter((range) => !isOver(range));
  }

  /** The command that gives LSNs up. */
  commandToGiveUp(from: number, to: number): string {
    return `touch ${path.join(this.directory, `${lsnText(from)}-${lsnText(to)}.given-up`)}`;
  }
}

/** An LSN in a file's name. */
export function lsnText(lsn: number): string {
  return String(lsn).padStart(20, '0');
}
