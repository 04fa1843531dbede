import { describe, expect, it } from '@jest/globals';
import { SerialQueue } from './serial-queue.js';

/** A task that ends when it is told to. */
class Task {
  end: () => void = () => undefined;
  fail: () => void = () => undefined;
  #notifyStart: () => void = () => undefined;
  readonly started = new Promise<void>((resolve) => (this.#notifyStart = resolve));
  readonly #ended = new Promise<void>((resolve, reject) => {
    this.end = resolve;
    this.fail = () => reject(new Error('it failed'));
  });

  readonly run = (): Promise<void> => {
    this.#notifyStart();
    return this.#ended;
  };
}

describe('serial queue', () => {
  it('runs one task at a time, in the order in which they came', async () => {
    const queue = new SerialQueue('table t', 10);
    const events: string[] = [];
    const results = await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        queue.run(async () => {
          events.push(`${name} starts`);
          await new Promise((resolve) => setImmediate(resolve));
          events.push(`${name} ends`);
          return name;
        }),
      ),
    );
    expect(results).toEqual(['a', 'b', 'c']);
    expect(events).toEqual(['a starts', 'a ends', 'b starts', 'b ends', 'c starts', 'c ends']);
  });

  it('goes on after a task that failed, of which only its caller is told', async () => {
    const queue = new SerialQueue('table t', 10);
    const failing = queue.run(() => Promise.reject(new Error('it failed')));
    const throwing = queue.run(() => {
      throw new Error('at once');
    });
    const next = queue.run(() => Promise.resolve('done'));
    await expect(failing).rejects.toThrow('it failed');
    await expect(throwing).rejects.toThrow('at once');
    expect(await next).toBe('done');
  });

  it('refuses a task when too many are there, and takes one again when one ended', async () => {
    const queue = new SerialQueue('table t', 2);
    const [first, second] = [new Task(), new Task()];
    const ends = [queue.run(first.run), queue.run(second.run)];
    await expect(queue.run(() => Promise.resolve())).rejects.toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      message: 'table t: 2 tasks wait already (limit 2); try again later',
    });
    first.end();
    await ends[0];
    const third = queue.run(() => Promise.resolve('third'));
    second.end();
    expect(await third).toBe('third');
  });

  it('frees the place of a task that failed', async () => {
    const queue = new SerialQueue('table t', 1);
    for (let round = 0; round < 3; round += 1)
      await expect(queue.run(() => Promise.reject(new Error('it failed')))).rejects.toThrow('it failed');
  });

  it('is idle once everything that was queued has run, whatever came of it', async () => {
    const queue = new SerialQueue('table t', 10);
    await queue.idle();
    const running = new Task();
    const result = queue.run(running.run);
    let isIdle = false;
    const idle = queue.idle().then(() => (isIdle = true));
    await running.started;
    expect(isIdle).toBe(false);
    running.fail();
    await idle;
    await expect(result).rejects.toThrow('it failed');
  });
});
