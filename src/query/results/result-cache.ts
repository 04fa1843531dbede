/**
 * Answers of statements over tables that have not changed since. A key names the meaning of a statement and the state of its tables, so an answer is
 * never older than a run of the statement would be. Equal statements at the same time are run once. Only whole answers are kept, up to a bound of
 * bytes; the one used longest ago gives way.
 */
import { LRUCache } from 'lru-cache';
import { CacheCounts } from '../../common/cache-counts.js';
import type { Page } from '../query-answer.js';

/** Part of the cache that one answer may take: one in this many. */
const ENTRY_PARTS = 64;
/** Rough size of what an answer has besides its rows. */
const ENTRY_BYTES = 1_024;

export interface CachedPage {
  readonly page: Page;
  /** True when the statement did not have to be run for it. */
  readonly isHit: boolean;
}

export interface CacheKey {
  /** Meaning and state. */
  readonly text: string;
  /** The table that the statement reads; empty for none, and for several. */
  readonly table: string;
  /** Of the request: waiting for another request's run must not take longer than one of its own. */
  readonly timeoutMs: number | undefined;
}

export class ResultCache {
  readonly #pages: LRUCache<string, Page> | undefined;
  readonly #underWay = new Map<string, Promise<Page | undefined>>();
  readonly #entryBytesMax: number;
  /** By name of the table. */
  readonly counts = new CacheCounts();

  /** @param bytesMax of all answers together; 0 keeps none */
  constructor(bytesMax: number) {
    this.#entryBytesMax = Math.floor(bytesMax / ENTRY_PARTS);
    if (bytesMax > 0) this.#pages = new LRUCache({ maxSize: bytesMax, sizeCalculation: bytesOf });
  }

  get isOn(): boolean {
    return this.#pages !== undefined;
  }

  get bytes(): number {
    return this.#pages?.calculatedSize ?? 0;
  }

  get count(): number {
    return this.#pages?.size ?? 0;
  }

  /** @param run runs the statement */
  async page(key: CacheKey, run: () => Promise<Page>): Promise<CachedPage> {
    const kept = this.#pages?.get(key.text) ?? (await this.#underWay.get(flightOf(key)));
    this.counts.note(key.table, kept !== undefined);
    if (kept) return { page: kept, isHit: true };
    const work = run();
    const flight = flightOf(key);
    const shared = work.then(
      (page) => (page.hasMore ? undefined : page),
      () => undefined,
    );
    this.#underWay.set(flight, shared);
    try {
      const page = await work;
      if (!page.hasMore && bytesOf(page) <= this.#entryBytesMax) this.#pages?.set(key.text, page);
      return { page, isHit: false };
    } finally {
      if (this.#underWay.get(flight) === shared) this.#underWay.delete(flight);
    }
  }
}

function flightOf({ text, timeoutMs }: CacheKey): string {
  return `${timeoutMs ?? ''}|${text}`;
}

/** Characters count as two bytes. */
function bytesOf({ rows }: Page): number {
  return rows.reduce((sum, row) => sum + 2 * row.length, ENTRY_BYTES);
}
