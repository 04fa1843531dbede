import { describe, expect, it } from '@jest/globals';
import { onceATick } from './once-a-tick.js';

describe('what is read once a tick', () => {
  it('is shared by all who ask within a tick', () => {
    let readings = 0;
    const read = onceATick(() => ++readings);
    expect([read(), read(), read()]).toEqual([1, 1, 1]);
  });

  it('is read again for who asks later, even while the first reading is under way', async () => {
    let readings = 0;
    const end: (() => void)[] = [];
    const read = onceATick(() => {
      const reading = ++readings;
      return new Promise<number>((resolve) => end.push(() => resolve(reading)));
    });
    const first = read();
    await Promise.resolve();
    const second = read();
    for (const resolve of end) resolve();
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it('is read again after a failure', async () => {
    let readings = 0;
    const read = onceATick(() => (++readings === 1 ? Promise.reject(new Error('away')) : Promise.resolve(readings)));
    await expect(read()).rejects.toThrow('away');
    expect(await read()).toBe(2);
  });
});
