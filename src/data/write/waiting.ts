/** A write on its way from its arrival to its acknowledgement. */
import type { DataFile } from '../../delta/snapshot.js';
import type { Column } from '../../delta/table-schema.js';
import type { Addressed } from './apply.js';
import type { Idempotency } from './idempotency.js';
import type { WriteAnswer, WriteCommand } from './write-command.js';

/** Files on the local disk, kept there for a command. */
export interface HeldFiles {
  readonly paths: ReadonlySet<string>;
  readonly mayHold: (file: DataFile) => boolean;
  readonly release: () => void;
}

/** What the writer loop gets. */
export interface Submission {
  readonly command: WriteCommand;
  readonly idempotency: Idempotency | undefined;
  /** Columns that were found to stay as they are. */
  readonly fixed: ReadonlySet<string>;
  readonly held: HeldFiles | undefined;
}

/**
 * How a command leaves the writer loop: stored, or not before something else is done. What is wrong with a command is thrown; these are steps on the
 * way of a right one.
 */
export type Outcome =
  | { readonly kind: 'stored'; readonly answer: WriteAnswer }
  /** Stored BIGINT columns have to become DOUBLE first. */
  | { readonly kind: 'widen'; readonly columns: readonly string[] }
  /** The table's log has to have these columns first. */
  | { readonly kind: 'declare'; readonly columns: readonly Column[] }
  /** The table got other files since the command's were fetched. */
  | { readonly kind: 'fetch' }
  /** The table is being dropped, here or on another node. */
  | { readonly kind: 'leaving' }
  /** Other writes brought columns since the rows were encoded. */
  | { readonly kind: 'outdated' };

/** A command that is encoded and has its LSNs. */
export interface Prepared extends Addressed {
  readonly answer: WriteAnswer;
}

export interface Waiting extends Submission {
  readonly bytes: number;
  /** By the clock that only goes forward. */
  readonly arrivedMs: number;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}
