/**
 * Random decisions that can be replayed: the same seed gives the same sequence. A failing run prints its seed; SEED=... repeats it.
 */
import { randomInt } from 'node:crypto';

const SEED_MAX = 2 ** 32;

/** The seed of this run: SEED from the environment, or a fresh one. */
export function seedOfThisRun(): number {
  const given = process.env['SEED'];
  if (given === undefined || given === '') return randomInt(SEED_MAX);
  const seed = Number(given);
  if (!Number.isInteger(seed) || seed < 0 || seed >= SEED_MAX)
    throw new Error(`SEED is "${given}", must be an integer from 0 to ${SEED_MAX - 1}`);
  return seed;
}

/** mulberry32: 32 bits of state, good enough to mix operations, and small enough to be read. */
export class SeededRandom {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** From [0, 1). */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / SEED_MAX;
  }

  /** From [from, to), both integers. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.integer(0, choices.length)];
    if (choice === undefined) throw new Error('nothing to pick from');
    return choice;
  }

  /** Up to `count` different members, in random order. */
  some<T>(choices: readonly T[], count: number): T[] {
    return this.shuffled(choices).slice(0, count);
  }

  /** Between `countMin` and `countMax` different members, in random order. */
  pickSome<T>(choices: readonly T[], countMin: number, countMax: number): T[] {
    const count = Math.min(choices.length, this.integer(countMin, countMax + 1));
    return this.some(choices, count);
  }

  shuffled<T>(members: readonly T[]): T[] {
    return members
      .map((member) => ({ member, key: this.fraction() }))
      .sort((a, b) => a.key - b.key)
      .map(({ member }) => member);
  }

  /** One of the names, as often as its weight says. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries(weights) as [Name, number][];
    let rest = this.fraction() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      rest -= weight;
      if (rest < 0) return name;
    }
    const [last] = entries[entries.length - 1] ?? [];
    if (last === undefined) throw new Error('no weights given');
    return last;
  }

  /** A generator of its own for one client, so that the timing of the others does not change its decisions. */
  fork(): SeededRandom {
    return new SeededRandom(this.integer(0, SEED_MAX));
  }
}
