/** Hands batches from the engine's reader to a slower consumer: one waits in it, no more. */
export class BatchChannel {
  #batch: string[] | undefined;
  #isClosed = false;
  #wake: () => void = () => undefined;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  async put(batch: string[]): Promise<void> {
    while (this.#batch && !this.#isClosed) await this.#change();
    this.#batch = batch;
    this.#wake();
  }

  async *take(): AsyncIterable<string[]> {
    for (;;) {
      const batch = this.#batch;
      if (batch) {
        this.#batch = undefined;
        this.#wake();
        yield batch;
      } else if (this.#isClosed) return;
      else await this.#change();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  #change(): Promise<void> {
    const before = this.#wake;
    return new Promise((resolve) => {
      this.#wake = () => {
        before();
        resolve();
      };
    });
  }
}
