/**
 * Tells who follows a table that its log has a new version. A hint only: whoever misses it finds the version by looking at the log.
 * With one node it is an event in the process; several nodes publish it through Redis.
 */
export interface Commit {
  readonly tableId: string;
  readonly version: number;
}

export interface CommitNotifier {
  publish(commit: Commit): void;
  /** @returns a function that ends the subscription */
  subscribe(listener: (commit: Commit) => void): () => void;

  /** As `subscribe`, for commits of other nodes only. */
  subscribeForeign(listener: (commit: Commit) => void): () => void;
}

export class LocalCommitNotifier implements CommitNotifier {
  readonly #listeners = new Set<(commit: Commit) => void>();

  publish(commit: Commit): void {
    for (const listener of this.#listeners) listener(commit);
  }

  subscribe(listener: (commit: Commit) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A node that is alone hears of none. */
  subscribeForeign(): () => void {
    return () => undefined;
  }
}
