/**
 * Who may do what, kept in the object store: `_access/keys/ID/N.json` is a small log of each API key (the last entry holds), `_access/revoked/ID.json`
 * says that a token or a login counts no more, `_access/signing/N.json` are the keys that sign tokens. Each entry is put-if-absent, so several nodes
 * never overwrite each other, and neither a restart nor an emptied Redis brings back what was revoked. All of it is in memory as well, because every
 * request asks for it.
 */
import { randomBytes } from 'node:crypto';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { MS_PER_SECOND } from '../common/clock.js';
import type { CommitNotifier } from '../coordination/commit-notifier.js';
import type { ObjectStore } from '../storage/object-store.js';
import type { KeyEntry } from './api-key.js';

const ROOT = '_access/';
const KEYS = `${ROOT}keys/`;
const REVOKED = `${ROOT}revoked/`;
const SIGNING = `${ROOT}signing/`;
const DIGITS = 12;
const ATTEMPTS_MAX = 10;
const SIGNING_KEY_BYTES = 32;
/** Names this among the tables of which nodes tell each other. */
const NOTIFICATION = '_access';

interface Revocation {
  /** Seconds since 1970 after which the token has ended by itself. */
  readonly until: number;
}

export class AccessLog {
  readonly #keys = new Map<string, { readonly entry: KeyEntry; readonly number: number }>();
  readonly #revoked = new Map<string, number>();
  readonly #read = new Set<string>();
  #version = 0;

  constructor(
    private readonly store: ObjectStore,
    private readonly notifier: CommitNotifier,
    private readonly clock: Clock,
    /** A key that the configuration has; it cannot be changed here. */
    private readonly configured: KeyEntry | undefined,
  ) {}

  /** Reads everything, and from then on what other nodes tell of. */
  async open(onError: (error: unknown) => void): Promise<() => void> {
    await this.refresh();
    return this.notifier.subscribeForeign(({ tableId }) => {
      if (tableId === NOTIFICATION) void this.refresh().catch(onError);
    });
  }

  /** Reads what is new. */
  async refresh(): Promise<void> {
    for await (const { key } of this.store.list(KEYS)) if (!this.#read.has(key)) await this.#readKey(key);
    for await (const { key } of this.store.list(REVOKED)) if (!this.#read.has(key)) await this.#readRevocation(key);
  }

  async #readKey(object: string): Promise<void> {
    const [id = '', number = ''] = object.slice(KEYS.length, -'.json'.length).split('/');
    this.#take(id, Number(number), await this.#json<KeyEntry>(object));
    this.#read.add(object);
  }

  #take(id: string, number: number, entry: KeyEntry): void {
    if ((this.#keys.get(id)?.number ?? 0) < number) this.#keys.set(id, { entry, number });
  }

  async #readRevocation(object: string): Promise<void> {
    const { until } = await this.#json<Revocation>(object);
    this.#read.add(object);
    if (until >= this.#nowSeconds()) this.#revoked.set(object.slice(REVOKED.length, -'.json'.length), until);
    else await this.store.delete(object);
  }

  async #json<T>(object: string): Promise<T> {
    const bytes = await this.store.get(object);
    try {
      return JSON.parse(bytes?.toString() ?? '') as T;
    } catch (error) {
      throw new AppError('DATA_CORRUPTION', `${object} cannot be read; restore it, or remove it and create the key again`, {
        cause: error,
      });
    }
  }

  /** @returns undefined for a key that does not exist any more */
  key(id: string): KeyEntry | undefined {
    if (id === this.configured?.id) return this.configured;
    const entry = this.#keys.get(id)?.entry;
    return entry?.isRemoved === true ? undefined : entry;
  }

  get keys(): KeyEntry[] {
    return [...this.#keys.values()].map(({ entry }) => entry).filter((entry) => entry.isRemoved !== true);
  }

  /**
   * Changes a key; in force on this node when it returns, and on others as soon as they hear of it.
   * @param change from the entry as it is now (undefined: there is none); may throw
   */
  async change(id: string, change: (before: KeyEntry | undefined) => KeyEntry): Promise<KeyEntry> {
    if (id === this.configured?.id)
      throw new AppError('CONFLICT', `key ${id} is in the configuration (auth.admin_key); change it there and restart`);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const entry = change(this.key(id));
      const number = (this.#keys.get(id)?.number ?? 0) + 1;
      const object = `${KEYS}${id}/${String(number).padStart(DIGITS, '0')}.json`;
      if (await this.store.putIfAbsent(object, Buffer.from(JSON.stringify(entry)))) {
        this.#read.add(object);
        this.#take(id, number, entry);
        this.#tell();
        return entry;
      }
      // Another node was first.
      await this.refresh();
    }
    throw new AppError('UNAVAILABLE', `key ${id} is being changed by other requests; try again`, { retryAfterSeconds: 1 });
  }

  isRevoked(id: string): boolean {
    return this.#revoked.has(id);
  }

  /**
   * Makes a token, or all tokens of a login, count no more.
   * @param untilSeconds when it would end by itself
   * @returns false when it was revoked before
   */
  async revoke(id: string, untilSeconds: number): Promise<boolean> {
    const object = `${REVOKED}${id}.json`;
    const isFirst = await this.store.putIfAbsent(object, Buffer.from(JSON.stringify({ until: untilSeconds } satisfies Revocation)));
    this.#read.add(object);
    this.#revoked.set(id, untilSeconds);
    this.#tell();
    return isFirst;
  }

  /** Forgets revocations of what has ended by itself. */
  async forgetEnded(): Promise<void> {
    const now = this.#nowSeconds();
    for (const [id, until] of [...this.#revoked]) {
      if (until >= now) continue;
      await this.store.delete(`${REVOKED}${id}.json`);
      this.#revoked.delete(id);
      this.#read.delete(`${REVOKED}${id}.json`);
    }
  }

  /** The key that signs tokens where the configuration names none: made once, the same for all nodes. */
  async signingKey(): Promise<{ id: string; secret: Buffer }> {
    const object = `${SIGNING}1.json`;
    const made = { id: `generated-${randomBytes(4).toString('hex')}`, secret: randomBytes(SIGNING_KEY_BYTES).toString('base64url') };
    await this.store.putIfAbsent(object, Buffer.from(JSON.stringify(made)));
    const { id, secret } = await this.#json<typeof made>(object);
    return { id, secret: Buffer.from(secret, 'base64url') };
  }

  #tell(): void {
    this.#version += 1;
    this.notifier.publish({ tableId: NOTIFICATION, version: this.#version });
  }

  #nowSeconds(): number {
    return Math.floor(this.clock.nowMs() / MS_PER_SECOND);
  }
}
