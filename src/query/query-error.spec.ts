import { describe, expect, it } from '@jest/globals';
import { asQueryError } from './query-error.js';

const QUERY = { stoppedWith: undefined };
const DIRECTORIES = ['/srv/data/wal', '/srv/data/wal/bulk', '/srv/data/objects'];

describe('what the engine says of a statement', () => {
  it.each([
    ['Invalid Input Error: File "/srv/data/objects/t/shard-0/part-1.parquet" is odd', 't/shard-0/part-1.parquet'],
    ["Binder Error: '/srv/data/wal/bulk/2026-01-01_x.parquet' has no column", "'2026-01-01_x.parquet'"],
  ])('is told without the directories of the server', (message, kept) => {
    const told = asQueryError(new Error(message), QUERY, DIRECTORIES).message;
    expect(told).not.toContain('/srv');
    expect(told).toContain(kept);
  });

  it('keeps paths that are the caller’s own', () => {
    const message = "Conversion Error: Could not convert string '/home/me/objects' to INT32";
    expect(asQueryError(new Error(message), QUERY, DIRECTORIES).message).toBe(message);
  });
});
