import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { LocalCommitNotifier } from '../coordination/commit-notifier.js';
import { LocalObjectStore } from '../storage/local-object-store.js';
import { AccessLog } from './key-store.js';
import { hashOf, type KeyEntry } from './api-key.js';
import { Tokens } from './tokens.js';

const KEY: KeyEntry = {
  id: 'admin',
  name: '',
  role: 'admin',
  secretHash: hashOf('secret'),
  generation: 1,
  createdAt: '2024-01-01T00:00:00Z',
};
const REFRESH_SECONDS = 30;

let root: string;
let directories = 0;
let nowSeconds = 1_700_000_000;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'miniodb-tokens-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A server on a directory of its own; started again with other settings it has the same one. */
function newServer(): (refreshSeconds?: number) => Promise<{ tokens: Tokens; log: AccessLog }> {
  const store = new LocalObjectStore(path.join(root, String((directories += 1))));
  return async (refreshSeconds = REFRESH_SECONDS) => {
    const clock = { nowMs: () => nowSeconds * 1_000 };
    const log = new AccessLog(store, new LocalCommitNotifier(), clock, KEY);
    await log.open((error) => {
      throw error;
    });
    const keys = [{ id: 'test', secret: Buffer.alloc(32, 1) }];
    return { tokens: new Tokens({ issuer: 'i', audience: 'a', accessSeconds: 20, refreshSeconds, keys }, log, clock), log };
  };
}

describe('a login whose refresh token was copied', () => {
  it.each([
    ['a clean-up', REFRESH_SECONDS, false],
    ['a restart', REFRESH_SECONDS, true],
    ['a restart with shorter lives', 5, true],
  ])('stays ended over %s, for as long as a token of the copy lives', async (_what, refreshSeconds, isRestarted) => {
    const start = newServer();
    let { tokens, log } = await start();
    const first = await tokens.issue(KEY);
    nowSeconds += 20;
    const thief = await tokens.refresh(first.refresh_token);
    if (isRestarted) ({ tokens, log } = await start(refreshSeconds));
    await expect(tokens.refresh(first.refresh_token)).rejects.toThrow(/used before; the whole login has ended/);
    // The copied token ends by itself, the thief's do not yet.
    nowSeconds += 11;
    await log.forgetEnded();
    if (isRestarted) ({ tokens, log } = await start(refreshSeconds));
    await expect(tokens.owner(thief.access_token)).rejects.toThrow(/revoked/);
    nowSeconds += 18;
    await log.forgetEnded();
    await expect(tokens.refresh(thief.refresh_token)).rejects.toThrow(/revoked/);
  });

  it('is forgotten when no token of it can live any more', async () => {
    const { tokens, log } = await newServer()();
    const first = await tokens.issue(KEY);
    await tokens.refresh(first.refresh_token);
    await expect(tokens.refresh(first.refresh_token)).rejects.toThrow(/used before/);
    nowSeconds += 10_000;
    await log.forgetEnded();
    await expect(tokens.refresh(first.refresh_token)).rejects.toThrow(/expired/);
  });
});
