/** What a cache was asked for: all together, and by whom it was for. */
export interface HitsAndMisses {
  hits: number;
  misses: number;
}

export class CacheCounts implements HitsAndMisses {
  hits = 0;
  misses = 0;
  readonly #byOwner = new Map<string, HitsAndMisses>();

  /** @param owner a table, in the words of the cache; one of a bounded number */
  note(owner: string, isHit: boolean): void {
    const own = this.#byOwner.get(owner) ?? { hits: 0, misses: 0 };
    this.#byOwner.set(owner, own);
    for (const counts of [this, own]) {
      if (isHit) counts.hits += 1;
      else counts.misses += 1;
    }
  }

  get byOwner(): ReadonlyMap<string, Readonly<HitsAndMisses>> {
    return this.#byOwner;
  }
}
