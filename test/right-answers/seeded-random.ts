/** A small seeded generator (mulberry32), so that a failing random run is replayed by its seed alone. */
export class SeededRandom {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number in [0, 1). */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** An integer in [start, end). */
  integer(start: number, end: number): number {
    return start + Math.floor(this.fraction() * (end - start));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(0, items.length)];
    if (item === undefined) throw new Error('pick from an empty list');
    return item;
  }

  /** Between `countMin` and `countMax` different items, in random order. */
  pickSome<T>(items: readonly T[], countMin: number, countMax: number): T[] {
    const count = Math.min(items.length, this.integer(countMin, countMax + 1));
    return this.shuffle(items).slice(0, count);
  }

  shuffle<T>(items: readonly T[]): T[] {
    const keyed = items.map((item) => ({ item, key: this.fraction() }));
    return keyed.sort((left, right) => left.key - right.key).map(({ item }) => item);
  }
}
