import { HealthIndicatorService } from '@nestjs/terminus';
import { describe, expect, it } from '@jest/globals';
import pino from 'pino';
import { AppError } from '../../common/app-error.js';
import { Trial } from './trial.js';

describe('a part that is tried out', () => {
  const lines: string[] = [];
  const trialOf = (): Trial => new Trial(new HealthIndicatorService(), pino({ level: 'warn' }, { write: (line) => void lines.push(line) }));

  it('is up when it does its work', async () => {
    const result = await trialOf().of('part', () => Promise.resolve('done'));
    expect(result).toEqual({ part: { status: 'up', responseTime: expect.any(Number) } });
  });

  it('is down with the reason that its own error gives', async () => {
    const result = await trialOf().of('part', () => Promise.reject(new AppError('UNAVAILABLE', 'the store is away')));
    expect(result).toEqual({ part: { status: 'down', message: 'the store is away', responseTime: expect.any(Number) } });
  });

  it('is down without a word of files when a table is damaged: health is open to everybody', async () => {
    const result = await trialOf().of('part', () =>
      Promise.reject(new AppError('DATA_CORRUPTION', 'table t: file a/b.parquet is missing')),
    );
    expect(result['part']?.['message']).toBe('a table is damaged; see `tables`');
  });

  it('is down without the words of the engine or the system, which go to the log', async () => {
    const result = await trialOf().of('part', () => Promise.reject(new Error('EIO: /srv/data/wal/7.log')));
    expect(result['part']?.['message']).toBe('it is not working; the log has the details');
    expect(lines.join()).toContain('EIO: /srv/data/wal/7.log');
  });

  it('is tried once for all who ask within a second', async () => {
    let trials = 0;
    const trial = trialOf();
    const ask = (): PromiseLike<unknown> => trial.of('part', () => Promise.resolve(++trials));
    await Promise.all([ask(), ask()]);
    expect(await ask()).toEqual({ part: { status: 'up', responseTime: expect.any(Number), cachedResponse: true } });
    expect(trials).toBe(1);
  });
});
