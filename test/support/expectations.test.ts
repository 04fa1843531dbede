/** The expectations that are not Jest's own, and its environment: a check that passes whatever happens would pass for ever. */
import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { expectSoftly, expectSoon, expectThat, throwSoftFailures, waitFor } from './expectations.js';

const PATIENCE = { timeout: 100, interval: 5 };

describe('an expectation with a message', () => {
  it('fails with its message and what Jest says', () => {
    expect(() => expectThat(1, 'the third case').toBe(2)).toThrow(/the third case[\s\S]*Expected: 2/);
    expect(() => expectThat(1, 'the third case').not.toBe(1)).toThrow(/the third case/);
  });

  it('fails so for promises too', async () => {
    await expect(expectThat(Promise.resolve(1), 'the fourth case').resolves.toBe(2)).rejects.toThrow(/the fourth case/);
    await expect(expectThat(Promise.resolve(1), 'the fifth case').rejects.toBe(1)).rejects.toThrow(/the fifth case/);
  });

  it('passes where it holds', async () => {
    expectThat(1, 'one').toBe(1);
    await expectThat(Promise.resolve(1), 'one').resolves.toBe(1);
  });
});

describe('a soft expectation', () => {
  it('fails the test at its end', () => {
    expectSoftly(1, 'first').toBe(2);
    expect(throwSoftFailures).toThrow(/first[\s\S]*Expected: 2/);
    expectSoftly(1, 'first').toBe(2);
    expectSoftly(2, 'second').toBe(3);
    expect(throwSoftFailures).toThrow(/first[\s\S]*second/);
    expect(throwSoftFailures).not.toThrow();
  });
});

describe('waiting', () => {
  it('goes on until the matcher is satisfied', async () => {
    let reads = 0;
    await expectSoon(() => (reads += 1), PATIENCE).toBe(3);
    expect(await waitFor(() => ((reads += 1) < 6 ? Promise.reject(new Error('not yet')) : reads), PATIENCE)).toBe(6);
  });

  it('ends with the last failure', async () => {
    await expect(expectSoon(() => 1, PATIENCE).toBe(2)).rejects.toThrow(/Expected: 2/);
    await expect(expectSoon(() => 1, PATIENCE).not.toBe(1)).rejects.toThrow(/Expected: not 1/);
    await expect(waitFor(() => Promise.reject(new Error('not yet')), PATIENCE)).rejects.toThrow('not yet');
  });
});

it('errors of Node are errors', () => {
  expect(() => readFileSync('/no/such/file')).toThrow(Error);
  expect(() => Buffer.alloc(1).readUInt32LE(0)).toThrow(RangeError);
  expect(new (class extends Error {})() instanceof RangeError).toBe(false);
});
