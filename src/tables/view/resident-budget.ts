/** Memory for the rows of small files that stay in the engine, all tables together. Past it, the table that was read longest ago gives way. */

/** A table that is being read does not give way to another. */
const IDLE_MS = 60_000;

/** Who has resident rows. */
export interface ResidentOwner {
  readonly lastReadMs: number;
  giveUp: () => void;
}

export class ResidentBudget {
  readonly #bytes = new Map<ResidentOwner, number>();
  #used = 0;

  /** @param bytesMax 0: none are kept */
  constructor(readonly bytesMax: number) {}

  add(owner: ResidentOwner, bytes: number): void {
    const held = (this.#bytes.get(owner) ?? 0) + bytes;
    if (held > 0) this.#bytes.set(owner, held);
    else this.#bytes.delete(owner);
    this.#used += bytes;
  }

  /** True when more rows may be loaded. The last load may have gone past the bound, by what one load brings at most. */
  hasRoom(owner: ResidentOwner): boolean {
    while (this.#used >= this.bytesMax) {
      const idle = this.#idlest(owner);
      if (!idle) return false;
      idle.giveUp();
    }
    return true;
  }

  #idlest(asking: ResidentOwner): ResidentOwner | undefined {
    const others = [...this.#bytes.keys()].filter((owner) => owner !== asking && asking.lastReadMs - owner.lastReadMs > IDLE_MS);
    return others.reduce<ResidentOwner | undefined>(
      (idlest, owner) => (idlest && idlest.lastReadMs <= owner.lastReadMs ? idlest : owner),
      undefined,
    );
  }
}
