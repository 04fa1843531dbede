/**
 * API keys: a public id and a secret. The secret is shown once, when it is made, and kept as a hash. It is 256 random bits of ours and never a person's
 * password, so a plain SHA-256 is as hard to turn around as it gets; a slow hash would only make logins a way to load the server.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Grant, Principal, type Role } from '../common/access.js';
import type { AuthConfig } from '../config/config.js';
import { globFilter } from '../common/glob.js';

const ID_BYTES = 9;
const SECRET_BYTES = 32;
/** Ours have 43 characters; that of the administrator is as long as somebody made it. */
const SECRET_LENGTH_MAX = 4_096;
export const KEY_ID = /^[A-Za-z0-9_-]{1,64}$/;

export interface KeyEntry {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** Absent: every table, as far as the role goes. */
  readonly grants?: readonly Grant[];
  readonly secretHash: string;
  /** Grows with each new secret; tokens of an older one do not count. */
  readonly generation: number;
  readonly createdAt: string;
  readonly expiresAt?: string;
  readonly isDisabled?: boolean;
  readonly isRemoved?: boolean;
}

export function newKeyId(): string {
  return `key_${randomBytes(ID_BYTES).toString('base64url')}`;
}

export function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

export function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}

/** In the same time whether it is right, nearly right or wrong. */
export function isSecretOf(secret: string, secretHash: string): boolean {
  // What is longer is no secret, and takes longer to hash the longer it is.
  if (secret.length > SECRET_LENGTH_MAX) return false;
  return timingSafeEqual(Buffer.from(hashOf(secret), 'base64url'), Buffer.from(secretHash, 'base64url'));
}

/** @returns false for a key that is disabled or past its end */
export function isInForce({ isDisabled, isRemoved, expiresAt }: KeyEntry, nowMs: number): boolean {
  return isDisabled !== true && isRemoved !== true && (expiresAt === undefined || Date.parse(expiresAt) > nowMs);
}

const principals = new WeakMap<KeyEntry, Principal>();

/** Made once for an entry: a changed key is another entry. */
export function principalOf(entry: KeyEntry): Principal {
  let principal = principals.get(entry);
  if (!principal) {
    const grants = entry.grants?.map((grant) => ({ ...grant, fits: grantFilter(grant.tables) }));
    principals.set(entry, (principal = new Principal(entry.id, entry.role, grants)));
  }
  return principal;
}

/** A stored glob that is not supported any more opens nothing. */
function grantFilter(glob: string): (table: string) => boolean {
  try {
    return globFilter(glob);
  } catch {
    return () => false;
  }
}

/** The administrator of the configuration. @returns undefined where it names none */
export function configuredAdmin({ admin_key: id, admin_secret: secret }: AuthConfig): KeyEntry | undefined {
  if (secret === '') return undefined;
  const secretHash = hashOf(secret);
  // Another secret is another generation.
  const generation = Buffer.from(secretHash, 'base64url').readUInt32LE();
  return { id, name: 'administrator of the configuration', role: 'admin', secretHash, generation, createdAt: new Date(0).toISOString() };
}
