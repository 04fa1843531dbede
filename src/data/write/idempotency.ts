/**
 * Remembers the answers to writes that came with an Idempotency-Key, so that the same request sent again is answered and not stored again. Keys
 * stand in the WAL with their write; before a WAL segment goes, they are saved to a file of their own, so a restart knows them too.
 */
import { copyFile, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { type Principal, SYSTEM } from '../../common/access.js';
import { AppError, isSystemError } from '../../common/app-error.js';
import { syncDirectory } from '../../storage/local-object-store.js';
import type { WriteAnswer } from './write-command.js';

/** Memory for answers; those of large batches hold all their ids. */
const ANSWERS_BYTES_MAX = 64 * 1_024 * 1_024;
const ANSWER_BYTES = 200;

export interface RememberedAnswer {
  /** Hash of the request: the same key with another request is a mistake of the client. */
  readonly fingerprint: string;
  readonly answer: WriteAnswer;
}

export interface Idempotency {
  readonly key: string;
  readonly fingerprint: string;
}

/** Stands in no key of a client: headers and metadata cannot hold it. */
const OWNER_END = '\0';

/**
 * The key as it is kept: another principal's same key is another one. Where nobody says who they are, all are one, and keys from before principals had their own
 * are that one's: a retry over the upgrade is answered there; elsewhere nobody's answer is anybody else's.
 */
export function ownKey(key: string, principal: Principal): string {
  return principal === SYSTEM ? key : `${principal.id}${OWNER_END}${key}`;
}

export class IdempotencyKeys {
  readonly #answers: LRUCache<string, RememberedAnswer>;
  readonly #running = new Map<string, { fingerprint: string; answer: Promise<WriteAnswer> }>();
  #isSaved = true;

  constructor(
    private readonly file: string,
    keysMax: number,
    hours: number,
  ) {
    this.#answers = new LRUCache({
      max: keysMax,
      ttl: hours * 3_600_000,
      maxSize: ANSWERS_BYTES_MAX,
      sizeCalculation: ({ answer }, key) => key.length + answer.ids.reduce((sum, id) => sum + id.length + 8, ANSWER_BYTES),
    });
  }

  /**
   * Reads the file. Lines that cannot be read are left out, and a copy of the file is kept beside it: refusing all writes with a key would stop more than
   * was lost, which is that a request of before, sent once more, is stored once more.
   * @returns numbers of the lines that were left out
   */
  async load(): Promise<number[]> {
    const damaged: number[] = [];
    for (const [index, line] of (await this.#lines()).entries()) {
      if (line === '') continue;
      const saved = savedAnswer(line);
      if (!saved) {
        damaged.push(index + 1);
        continue;
      }
      const [key, remembered, startMs] = saved;
      const ttl = this.#answers.ttl - (Date.now() - startMs);
      if (ttl > 0) this.#answers.set(key, remembered, { ttl });
    }
    if (damaged.length > 0) await copyFile(this.file, `${this.file}.damaged`);
    return damaged;
  }

  async #lines(): Promise<string[]> {
    try {
      return (await readFile(this.file, 'utf8')).split('\n');
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /** Runs `write` unless the key was seen: then gives the answer of that time. @throws AppError CONFLICT when the key came with another request */
  async once(idempotency: Idempotency | undefined, write: () => Promise<WriteAnswer>): Promise<WriteAnswer> {
    if (idempotency === undefined) return write();
    const { key, fingerprint } = idempotency;
    const known = this.#answers.get(key) ?? this.#running.get(key);
    if (known) {
      if (known.fingerprint !== fingerprint)
        throw new AppError(
          'CONFLICT',
          `the idempotency key "${key.slice(key.indexOf(OWNER_END) + 1)}" was used for another request; use a new key`,
        );
      return known.answer;
    }
    const answer = write()
      .then((given) => {
        this.remember(key, { fingerprint, answer: given });
        return given;
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, { fingerprint, answer });
    return answer;
  }

  remember(key: string, remembered: RememberedAnswer): void {
    this.#answers.set(key, remembered);
    this.#isSaved = false;
  }

  /** Writes all keys to the file; must be done before the WAL forgets the writes they came with. */
  async save(): Promise<void> {
    if (this.#isSaved) return;
    this.#isSaved = true;
    const lines = this.#answers.dump().map(([key, entry]) => JSON.stringify([key, entry.value, entry.start ?? Date.now()]));
    const temporary = `${this.file}.tmp`;
    try {
      const handle = await open(temporary, 'w');
      try {
        await handle.writeFile(lines.join('\n'));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, this.file);
      await syncDirectory(path.dirname(this.file));
    } catch (error) {
      this.#isSaved = false;
      throw error;
    }
  }
}

type SavedAnswer = readonly [key: string, remembered: RememberedAnswer, startMs: number];

/** @returns undefined for a line that `save` did not write so */
function savedAnswer(line: string): SavedAnswer | undefined {
  try {
    const [key, remembered, startMs] = JSON.parse(line) as [unknown, Partial<RememberedAnswer> | undefined, unknown];
    const isWhole = typeof key === 'string' && typeof startMs === 'number' && typeof remembered?.fingerprint === 'string';
    return isWhole && Array.isArray(remembered.answer?.ids) ? [key, remembered as RememberedAnswer, startMs] : undefined;
  } catch {
    return undefined;
  }
}
