/** Finds out who sent a request, from what it carries: a token, or an API key with its secret. */
import { type Principal, SYSTEM } from '../common/access.js';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { AuthConfig } from '../config/config.js';
import type { AccessLog } from './key-store.js';
import { hashOf, isInForce, isSecretOf, type KeyEntry, principalOf } from './api-key.js';
import type { FailedLogins } from './failed-logins.js';
import type { Tokens } from './tokens.js';

/** What a request says of its sender; the names of headers and of gRPC metadata. */
export interface Credentials {
  readonly authorization: string | undefined;
  readonly 'x-api-key': string | undefined;
  readonly 'x-api-secret': string | undefined;
}

/** Compared with the secret of a key that does not exist, so that it takes as long as one that does. */
const NO_SECRET = hashOf('');

/** No key has a longer name; what is longer is not kept. */
const KEY_SHOWN_LENGTH_MAX = 65;

export class Authenticator {
  constructor(
    private readonly config: AuthConfig,
    private readonly log: AccessLog,
    private readonly tokens: Tokens,
    private readonly failures: FailedLogins,
    private readonly clock: Clock,
  ) {}

  /** @throws AppError UNAUTHENTICATED, or RESOURCE_EXHAUSTED after too many wrong secrets */
  async principalOf(credentials: Credentials, peer: string): Promise<Principal> {
    if (this.config.mode === 'disabled') return SYSTEM;
    const { authorization, 'x-api-key': keyId, 'x-api-secret': secret } = credentials;
    if (authorization !== undefined) {
      const [, token] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
      if (token === undefined) throw new AppError('UNAUTHENTICATED', 'the header Authorization must be "Bearer TOKEN"');
      return principalOf(await this.tokens.owner(token));
    }
    if (this.config.mode === 'api_key' && keyId !== undefined) return principalOf(this.login(keyId, secret ?? '', peer));
    throw new AppError('UNAUTHENTICATED', `credentials are missing: ${waysOf(this.config.mode)}`);
  }

  /** The key of a login. @throws AppError UNAUTHENTICATED, or RESOURCE_EXHAUSTED after too many wrong secrets */
  login(keyId: string, secret: string, peer: string): KeyEntry {
    const entry = this.log.key(keyId);
    const isRight = isSecretOf(secret, entry?.secretHash ?? NO_SECRET);
    const names = [`key ${keyId.slice(0, KEY_SHOWN_LENGTH_MAX)}`, `address ${peer}`];
    // Right ones always pass: otherwise anybody could lock out a key by its name, and everybody behind one address.
    if (entry && isRight && secret !== '' && isInForce(entry, this.clock.nowMs())) {
      this.failures.noteSuccess(...names);
      return entry;
    }
    this.failures.assertOpen(...names);
    this.failures.noteFailure(...names);
    throw new AppError('UNAUTHENTICATED', 'the API key or its secret is wrong, or the key is disabled or has expired');
  }
}

function waysOf(mode: AuthConfig['mode']): string {
  const token = 'send "Authorization: Bearer TOKEN" with a token from POST /v1/auth/token';
  return mode === 'api_key' ? `${token}, or X-API-Key and X-API-Secret` : token;
}
