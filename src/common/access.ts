/**
 * Who a request comes from and what it may touch. Every route checks here, with the names of the tables it was asked for, before it looks at a table:
 * a caller who may not read a table learns neither that it exists nor anything in it.
 */
import { AppError } from './app-error.js';
import { requestContext } from './request-context.js';

export const ROLES = ['admin', 'writer', 'reader'] as const;
export type Role = (typeof ROLES)[number];
export const TABLE_ACCESS = ['read', 'write', 'read_write'] as const;
export type TableAccess = (typeof TABLE_ACCESS)[number];

/** What a principal may do with some tables. */
export interface Grant {
  /** Glob of names. */
  readonly tables: string;
  readonly access: TableAccess;
  /** SQL condition on the columns; only rows that fulfil it are there for the principal. Only with `access: read`. */
  readonly rows?: string | undefined;
}

/** A grant whose glob is ready for use. */
export interface TableGrant extends Grant {
  readonly fits: (table: string) => boolean;
}

export class Principal {
  /** Another text for other rights. */
  readonly policy: string;

  constructor(
    /** Key, or `system` where nobody has to say who they are. */
    readonly id: string,
    readonly role: Role,
    /** Undefined: every table, as far as the role goes. */
    readonly grants: readonly TableGrant[] | undefined,
  ) {
    this.policy = JSON.stringify([id, role, grants?.map(({ tables, access, rows }) => [tables, access, rows])]);
  }

  mayRead(table: string): boolean {
    return this.#readGrants(table)?.length !== 0;
  }

  mayWrite(table: string): boolean {
    if (this.role === 'reader') return false;
    return this.grants?.some(({ access, fits }) => access !== 'read' && fits(table)) ?? true;
  }

  /** Whoever writes a table, or reads all of it, may know how it stands. */
  mayDescribe(table: string): boolean {
    return this.mayWrite(table) || (this.mayRead(table) && this.rowsOf(table) === undefined);
  }

  /** @returns SQL condition that rows of a table must fulfil; undefined when all of them may be read */
  rowsOf(table: string): string | undefined {
    const conditions = this.#readGrants(table)?.map(({ rows }) => rows) ?? [];
    if (conditions.length === 0 || conditions.includes(undefined)) return undefined;
    // A condition that fails on a row does not hold for it; its error would show what the row has.
    return conditions.map((condition) => `TRY((${condition ?? ''}\n)::BOOLEAN)`).join(' OR ');
  }

  /** @returns undefined where there are no grants to ask */
  #readGrants(table: string): readonly TableGrant[] | undefined {
    return this.role === 'admin' ? undefined : this.grants?.filter(({ access, fits }) => access !== 'write' && fits(table));
  }
}

/** Stands for every caller of a server without authentication. */
export const SYSTEM = new Principal('system', 'admin', undefined);

/** The principal of the request being served. @throws AppError INTERNAL outside of a request whose principal is known */
export function currentPrincipal(): Principal {
  const principal = requestContext.getStore()?.principal;
  if (!principal) throw new AppError('INTERNAL', 'a request reached a table without an identified caller');
  return principal;
}

/** @throws AppError PERMISSION_DENIED */
export function assertMayRead(table: string, principal = currentPrincipal()): void {
  if (!principal.mayRead(table)) throw new AppError('PERMISSION_DENIED', `${principal.id} may not read table ${table}`);
}

/** Every row of it, and its figures. @throws AppError PERMISSION_DENIED */
export function assertMayReadAll(table: string, principal = currentPrincipal()): void {
  assertMayRead(table, principal);
  if (principal.rowsOf(table) !== undefined)
    throw new AppError('PERMISSION_DENIED', `${principal.id} may read only some rows of table ${table}, so table-wide figures are hidden`);
}

/** @throws AppError PERMISSION_DENIED */
export function assertMayWrite(table: string, principal = currentPrincipal()): void {
  if (!principal.mayWrite(table)) throw new AppError('PERMISSION_DENIED', `${principal.id} may not write to table ${table}`);
}
