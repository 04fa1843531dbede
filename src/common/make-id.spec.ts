import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { makeUuid, snowflakeIds } from './make-id.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const NOW_MS = Date.parse('2024-01-01T00:00:00Z');

describe('snowflake id', () => {
  it('is a positive 64-bit integer in decimal, with the time since 2020 in front', () => {
    const id = BigInt(snowflakeIds({ nowMs: () => NOW_MS }, 1)());
    expect(id).toBeLessThan(2n ** 63n);
    expect(Number(id >> 22n)).toBe(NOW_MS - Date.parse('2020-01-01T00:00:00Z'));
  });

  it('grows from one to the next, whatever the clock does', () => {
    const jumps = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: -100_000, max: 1_000 }), fc.integer({ min: 0, max: 5 })), {
      minLength: 2,
      maxLength: 200,
    });
    fc.assert(
      fc.property(jumps, (steps) => {
        let nowMs = NOW_MS;
        const make = snowflakeIds({ nowMs: () => nowMs }, 1);
        let last = 0n;
        for (const step of steps) {
          nowMs += step;
          const next = BigInt(make());
          expect(next > last).toBe(true);
          last = next;
        }
      }),
    );
  });

  it('grows also when more are made in a millisecond than its counter holds', () => {
    const make = snowflakeIds({ nowMs: () => NOW_MS }, 1);
    const ids = Array.from({ length: 10_000 }, () => BigInt(make()));
    expect(ids.every((id, index) => index === 0 || id > (ids[index - 1] ?? 0n))).toBe(true);
  });

  it('differs between writers in the same instant', () => {
    const clock = { nowMs: () => NOW_MS };
    expect(snowflakeIds(clock, 1)()).not.toBe(snowflakeIds(clock, 2)());
    expect(snowflakeIds(clock, 1)()).toBe(snowflakeIds(clock, 1)());
  });

  it('differs between all writers that can be told apart', () => {
    const ids = Array.from({ length: 1_024 }, (_value, writer) => snowflakeIds({ nowMs: () => NOW_MS }, writer)());
    expect(new Set(ids).size).toBe(1_024);
  });

  it('is later than all that the same writer made before a restart, though the clock went back meanwhile', () => {
    const before = snowflakeIds({ nowMs: () => NOW_MS }, 1)();
    expect(BigInt(snowflakeIds({ nowMs: () => NOW_MS - 86_400_000 }, 1, NOW_MS)())).toBeGreaterThan(BigInt(before));
  });

  it('has as many digits now as in ten years, so that text sorts as numbers do', () => {
    const digits = [NOW_MS, NOW_MS + 10 * 365 * 86_400_000].map((nowMs) => snowflakeIds({ nowMs: () => nowMs }, 1)().length);
    expect(digits[0]).toBeGreaterThanOrEqual(18);
  });
});

describe('uuid', () => {
  it('is made of the characters that ids may have, and never comes twice', () => {
    const ids = Array.from({ length: 1_000 }, makeUuid);
    expect(new Set(ids).size).toBe(1_000);
    expect(ids.every((id) => /^[0-9a-f-]{36}$/.test(id))).toBe(true);
  });
});
