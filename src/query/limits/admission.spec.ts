import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Admission } from './admission.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const LONG_MS = 60_000;

/** Asks for a turn and notes when it comes. */
function enter(admission: Admission, name: string, turns: string[]): Promise<() => void> {
  return admission.enter().then((leave) => {
    turns.push(name);
    return leave;
  });
}

describe('admission', () => {
  it('lets as many run as it may', async () => {
    const admission = new Admission(2, 10, LONG_MS);
    await Promise.all([admission.enter(), admission.enter()]);
    expect([admission.running, admission.waiting]).toEqual([2, 0]);
  });

  it('gives turns in the order of arrival', async () => {
    const admission = new Admission(1, 10, LONG_MS);
    const turns: string[] = [];
    const waiting = ['a', 'b', 'c', 'd'].map((name) => enter(admission, name, turns));
    for (const turn of waiting) (await turn)();
    expect(turns).toEqual(['a', 'b', 'c', 'd']);
    expect([admission.running, admission.waiting]).toEqual([0, 0]);
  });

  it('lets nobody overtake those who wait', async () => {
    const admission = new Admission(1, 10, LONG_MS);
    const turns: string[] = [];
    const leave = await enter(admission, 'first', turns);
    const second = enter(admission, 'second', turns);
    leave();
    const third = enter(admission, 'third', turns);
    (await second)();
    (await third)();
    expect(turns).toEqual(['first', 'second', 'third']);
  });

  it('refuses at once who would wait behind too many', async () => {
    const admission = new Admission(1, 2, LONG_MS);
    const leave = await admission.enter();
    const waiting = [admission.enter(), admission.enter()];
    await expect(admission.enter()).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: expect.stringContaining('query.queue_max'),
      retryAfterSeconds: 2,
    });
    expect([admission.running, admission.waiting, admission.refused]).toEqual([1, 2, 1]);
    leave();
    for (const turn of waiting) (await turn)();
    expect([admission.running, admission.waiting]).toEqual([0, 0]);
  });

  it('lets nobody wait when the queue has no places', async () => {
    const admission = new Admission(1, 0, LONG_MS);
    const leave = await admission.enter();
    await expect(admission.enter()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    leave();
    (await admission.enter())();
  });

  it('refuses who waited too long, and goes on with the others', async () => {
    const admission = new Admission(1, 10, 20);
    const leave = await admission.enter();
    await expect(admission.enter()).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: expect.stringContaining('query.queue_wait_ms'),
    });
    expect([admission.running, admission.waiting, admission.refused]).toEqual([1, 0, 1]);
    const next = admission.enter();
    leave();
    (await next)();
    expect(admission.running).toBe(0);
  });

  it('waits no longer than the query can', async () => {
    const admission = new Admission(1, 10, LONG_MS);
    const leave = await admission.enter();
    await expect(admission.enter({ waitMs: 20 })).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: expect.stringContaining('within 20 ms (its timeout_ms)'),
    });
    expect([admission.running, admission.waiting]).toEqual([1, 0]);
    leave();
  });

  it('gives no turn to a query that was stopped while it waited, and its place to the next', async () => {
    const admission = new Admission(1, 10, LONG_MS);
    const leave = await admission.enter();
    let stop: (reason: Error) => void = () => undefined;
    const stopped = new Promise<never>((_resolve, reject) => (stop = reject));
    const [first, second] = [admission.enter({ stopped }), admission.enter()];
    stop(new Error('the client went away'));
    await expect(first).rejects.toThrow('the client went away');
    expect([admission.running, admission.waiting, admission.refused]).toEqual([1, 1, 0]);
    leave();
    (await second)();
    expect(admission.running).toBe(0);
  });

  it('lets a query go on that is stopped in its turn', async () => {
    const admission = new Admission(1, 10, LONG_MS);
    const leave = await admission.enter();
    let stop: (reason: Error) => void = () => undefined;
    const waiting = admission.enter({ stopped: new Promise<never>((_resolve, reject) => (stop = reject)) });
    leave();
    stop(new Error('too late'));
    (await waiting)();
    expect([admission.running, admission.waiting]).toEqual([0, 0]);
  });

  it('counts a turn that is ended twice once', async () => {
    const admission = new Admission(2, 10, LONG_MS);
    const [one] = await Promise.all([admission.enter(), admission.enter()]);
    one();
    one();
    expect(admission.running).toBe(1);
  });

  it('keeps its bounds whatever comes and goes', async () => {
    const steps = fc.array(
      fc.oneof({ weight: 3, arbitrary: fc.constant('enter' as const) }, { weight: 2, arbitrary: fc.constant('leave' as const) }),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(
        steps,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 3 }),
        async (sequence, concurrencyMax, queueMax) => {
          const admission = new Admission(concurrencyMax, queueMax, LONG_MS);
          const running: (() => void)[] = [];
          const all: Promise<unknown>[] = [];
          for (const step of sequence) {
            if (step === 'enter')
              all.push(
                admission.enter().then(
                  (leave) => running.push(leave),
                  () => undefined,
                ),
              );
            else running.shift()?.();
            await Promise.resolve();
            expect(admission.running).toBeLessThanOrEqual(concurrencyMax);
            expect(admission.waiting).toBeLessThanOrEqual(queueMax);
            if (admission.waiting > 0) expect(admission.running).toBe(concurrencyMax);
          }
          while (admission.running > 0) {
            running.shift()?.();
            await Promise.resolve();
            await Promise.resolve();
          }
          await Promise.all(all);
          expect([admission.running, admission.waiting]).toEqual([0, 0]);
        },
      ),
    );
  });
});
