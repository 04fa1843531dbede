/**
 * What the tests expect beyond Jest's own `expect`: with a message that says of which of many cases it is, collected to the end of the test,
 * or as soon as it holds.
 */
import { afterEach, expect } from '@jest/globals';

const SOON_MS_MAX = 1_000;
const POLL_MS = 50;
const TEST_FAILED = Symbol.for('miniodb.onTestFailed');

type Expectation<T> = ReturnType<typeof expect<T>>;
type OnFailure = (error: Error) => void;

export interface Patience {
  /** Milliseconds. */
  readonly timeout?: number;
  /** Milliseconds. */
  readonly interval?: number;
}

/** `expect(value)`, whose failure begins with the message. */
export function expectThat<T>(value: T, message?: string): Expectation<T> {
  return withFailures(expect(value), message, (error) => {
    throw error;
  });
}

const failures: Error[] = [];

/** `expectThat`, but the test goes on after a failure and fails at its end with all of them. Not for hooks around several tests. */
export function expectSoftly<T>(value: T, message?: string): Expectation<T> {
  return withFailures(expect(value), message, (error) => void failures.push(error));
}

afterEach(throwSoftFailures);

/** The end of a test. */
export function throwSoftFailures(): void {
  const found = failures.splice(0);
  const [only] = found;
  if (found.length > 1) throw new AggregateError(found, found.map(({ message }) => message).join('\n\n'));
  if (only) throw only;
}

/** Tries again until the check does not throw; its last error when that takes too long. */
export async function waitFor<T>(check: () => T | Promise<T>, { timeout = SOON_MS_MAX, interval = POLL_MS }: Patience = {}): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() - startedAt > timeout) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

/** `await expectSoon(read).toBe(3)`: reads again until the matcher is satisfied. */
export function expectSoon<T>(read: () => T | Promise<T>, patience: Patience = {}): AsyncExpectation {
  const matchers = (isNegated: boolean): AsyncExpectation =>
    new Proxy({} as AsyncExpectation, {
      get: (_, name: string) => {
        if (name === 'not') return matchers(!isNegated);
        return (...given: unknown[]) =>
          waitFor(async () => {
            const expectation = expect(await read());
            const matcher = Reflect.get(isNegated ? expectation.not : expectation, name) as (...given: unknown[]) => void;
            matcher(...given);
          }, patience);
      },
    });
  return matchers(false);
}

type Matcher = Exclude<keyof Expectation<unknown>, 'not' | 'resolves' | 'rejects'>;
type AsyncExpectation = { readonly not: AsyncExpectation } & {
  readonly [Name in Matcher]: (...given: Parameters<Expectation<unknown>[Name]>) => Promise<void>;
};

/** Runs the function when this test fails. */
export function onTestFailed(act: () => unknown): void {
  const acts = (globalThis as unknown as Record<symbol, (() => unknown)[]>)[TEST_FAILED];
  if (!acts) throw new Error('onTestFailed needs the environment of test/jest/environment.mjs');
  acts.push(act);
}

/** The same expectation, whose failures have the message and another end; `not`, `resolves` and `rejects` included. */
function withFailures<Matchers extends object>(matchers: Matchers, message: string | undefined, onFailure: OnFailure): Matchers {
  return new Proxy(matchers, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member === 'object' && member !== null) return withFailures(member, message, onFailure);
      if (typeof member !== 'function') return member;
      const matcher = (...given: unknown[]): unknown => {
        const frames = framesAbove(matcher);
        const fail = (error: unknown): void => onFailure(explained(error, message, frames));
        try {
          const result = member.apply(target, given) as unknown;
          return isPromise(result) ? result.catch(fail) : result;
        } catch (error) {
          return fail(error);
        }
      };
      return matcher;
    },
  });
}

/** Kept from the call: when a promise fails, the line that asked is no longer on the stack. */
function framesAbove(matcher: (...given: unknown[]) => unknown): string {
  const place: { stack?: string } = {};
  Error.captureStackTrace(place, matcher);
  return (place.stack ?? '').split('\n').slice(1).join('\n');
}

function explained(error: unknown, message: string | undefined, frames: string): Error {
  if (!(error instanceof Error)) return new Error(`${message ?? 'failed'}: ${String(error)}`);
  if (message !== undefined) error.message = `${message}\n\n${error.message}`;
  error.stack = `${error.name}: ${error.message}\n${frames}`;
  return error;
}

function isPromise(result: unknown): result is Promise<unknown> {
  return typeof (result as { then?: unknown } | undefined)?.then === 'function';
}
