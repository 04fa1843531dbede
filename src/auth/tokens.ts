/**
 * Tokens of a login: an access token for requests and a refresh token for the next pair. Both are JWTs that name their key and nothing else of it, so a
 * changed grant, a disabled key and a new secret count at once. A refresh token works once; used again it has been copied, and its whole login ends.
 */
import { randomUUID } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import { LRUCache } from 'lru-cache';
import { AppError } from '../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import type { AccessLog } from './key-store.js';
import { isInForce, type KeyEntry } from './api-key.js';

const ALGORITHM = 'HS256';
/** Tokens whose signature was checked lately. */
const CHECKED_MAX = 10_000;
/** Nodes that share logins may have clocks that differ, and a token may be made while its login is ended. */
const CLOCKS_APART_SECONDS = 600;

export interface SigningKey {
  readonly id: string;
  readonly secret: Uint8Array;
}

export interface TokenSettings {
  readonly issuer: string;
  readonly audience: string;
  readonly accessSeconds: number;
  readonly refreshSeconds: number;
  /** The first one signs, all of them are taken: that is how a key is exchanged without ending every login. */
  readonly keys: readonly SigningKey[];
}

export interface TokenPair {
  readonly access_token: string;
  readonly refresh_token: string;
  /** Seconds that the access token lives. */
  readonly expires_in: number;
  readonly token_type: 'Bearer';
}

type TokenKind = 'access' | 'refresh';

interface Claims {
  readonly kind: TokenKind;
  readonly keyId: string;
  readonly generation: number;
  readonly tokenId: string;
  readonly loginId: string;
  /** Seconds since 1970. */
  readonly expiresAt: number;
  /** Seconds from its making to its end; those of a pair before the settings changed may be longer than theirs. */
  readonly lifeSeconds: number;
}

export class Tokens {
  readonly #checked = new LRUCache<string, Claims>({ max: CHECKED_MAX });

  constructor(
    private readonly settings: TokenSettings,
    private readonly log: AccessLog,
    private readonly clock: Clock,
  ) {}

  /** The first pair of a login. */
  issue(entry: KeyEntry): Promise<TokenPair> {
    return this.#pair(entry, randomUUID());
  }

  async #pair(entry: KeyEntry, loginId: string): Promise<TokenPair> {
    const { accessSeconds, refreshSeconds } = this.settings;
    return {
      access_token: await this.#sign('access', entry, loginId, accessSeconds),
      refresh_token: await this.#sign('refresh', entry, loginId, refreshSeconds),
      expires_in: accessSeconds,
      token_type: 'Bearer',
    };
  }

  #sign(kind: TokenKind, { id, generation }: KeyEntry, loginId: string, seconds: number): Promise<string> {
    const [key] = this.settings.keys;
    if (!key) throw new AppError('INTERNAL', 'there is no key to sign tokens with');
    const now = this.#nowSeconds();
    return new SignJWT({ kind, gen: generation, login: loginId })
      .setProtectedHeader({ alg: ALGORITHM, kid: key.id, typ: 'JWT' })
      .setIssuer(this.settings.issuer)
      .setAudience(this.settings.audience)
      .setSubject(id)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setExpirationTime(now + seconds)
      .sign(key.secret);
  }

  /** Whose access token it is. @throws AppError UNAUTHENTICATED */
  async owner(token: string): Promise<KeyEntry> {
    return this.#ownerOf(await this.#claims(token, 'access'));
  }

  #ownerOf({ keyId, generation, tokenId, loginId }: Claims): KeyEntry {
    const entry = this.log.key(keyId);
    if (entry?.generation !== generation || !isInForce(entry, this.clock.nowMs()))
      throw refused('its API key is gone, disabled, or has a new secret');
    if (this.log.isRevoked(tokenId) || this.log.isRevoked(loginId)) throw refused('it was revoked');
    return entry;
  }

  /** The next pair for a refresh token. @throws AppError UNAUTHENTICATED */
  async refresh(token: string): Promise<TokenPair> {
    const claims = await this.#claims(token, 'refresh');
    const { tokenId, loginId, expiresAt } = claims;
    const isUsed = this.log.isRevoked(tokenId);
    if (!isUsed) {
      const entry = this.#ownerOf(claims);
      if (await this.log.revoke(tokenId, expiresAt)) return this.#pair(entry, loginId);
    }
    await this.#endLogin(claims);
    throw refused('it was used before; the whole login has ended, because somebody else may have the token');
  }

  /**
   * Ends the login of an access or refresh token, all of its tokens.
   * @param owner whose token it must be; undefined for anybody's
   * @throws AppError UNAUTHENTICATED for what is no token, PERMISSION_DENIED for another's
   */
  async revoke(token: string, owner: string | undefined): Promise<void> {
    const claims = await this.#verified(token);
    if (owner !== undefined && claims.keyId !== owner) throw new AppError('PERMISSION_DENIED', 'the token belongs to another key');
    await this.#endLogin(claims);
  }

  /** Revokes for as long as any token of the login can still be valid. Somebody may have refreshed this token, and the new pair outlives it. */
  async #endLogin({ loginId, lifeSeconds }: Claims): Promise<void> {
    const { accessSeconds, refreshSeconds } = this.settings;
    const longest = Math.max(accessSeconds, refreshSeconds, lifeSeconds);
    await this.log.revoke(loginId, this.#nowSeconds() + longest + CLOCKS_APART_SECONDS);
  }

  async #claims(token: string, kind: TokenKind): Promise<Claims> {
    const claims = await this.#verified(token);
    if (claims.kind !== kind) throw refused(`it is ${claims.kind === 'access' ? 'an access' : 'a refresh'} token`);
    return claims;
  }

  async #verified(token: string): Promise<Claims> {
    const known = this.#checked.get(token);
    if (known) {
      if (known.expiresAt <= this.#nowSeconds()) throw refused('it has expired');
      return known;
    }
    const claims = await this.#check(token);
    this.#checked.set(token, claims);
    return claims;
  }

  async #check(token: string): Promise<Claims> {
    const { issuer, audience, keys } = this.settings;
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid }) => {
          const key = keys.find(({ id }) => id === kid);
          if (!key) throw refused('it is signed with an unknown key');
          return key.secret;
        },
        { issuer, audience, algorithms: [ALGORITHM], requiredClaims: ['sub', 'jti', 'exp'], currentDate: new Date(this.clock.nowMs()) },
      );
      const { sub = '', jti = '', exp = 0, iat = exp, kind, gen, login } = payload;
      if ((kind !== 'access' && kind !== 'refresh') || typeof gen !== 'number' || typeof login !== 'string')
        throw refused('it is not a token of this server');
      return { kind, keyId: sub, generation: gen, tokenId: jti, loginId: login, expiresAt: exp, lifeSeconds: exp - iat };
    } catch (error) {
      throw error instanceof AppError ? error : refused(reasonOf(error), error);
    }
  }

  #nowSeconds(): number {
    return Math.floor(this.clock.nowMs() / MS_PER_SECOND);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  if (error instanceof errors.JOSEAlgNotAllowed) return `it must be signed with ${ALGORITHM}`;
  if (error instanceof errors.JWTClaimValidationFailed) return `its claim ${error.claim} is not the one expected here`;
  return 'it cannot be read as a token';
}

function refused(reason: string, cause?: unknown): AppError {
  return new AppError('UNAUTHENTICATED', `the token is not accepted: ${reason}`, { cause });
}
