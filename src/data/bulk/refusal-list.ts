/** Counts the rows of a bulk body that were refused, and keeps the first of them by line. */
import type { RecordRefusal } from '../write/record.js';

const LISTED_MAX = 100;

export class RefusalList {
  #first: RecordRefusal[] = [];
  #count = 0;

  copy(): RefusalList {
    const copy = new RefusalList();
    copy.#first = this.#first;
    copy.#count = this.#count;
    return copy;
  }

  get count(): number {
    return this.#count;
  }

  get first(): readonly RecordRefusal[] {
    return this.#first;
  }

  add(refusals: readonly RecordRefusal[]): void {
    this.#count += refusals.length;
    const lastLine = this.#first[LISTED_MAX - 1]?.line ?? Infinity;
    const listed = refusals.filter(({ line = 0 }) => line < lastLine);
    if (listed.length > 0) this.#first = [...this.#first, ...listed].sort((a, b) => (a.line ?? 0) - (b.line ?? 0)).slice(0, LISTED_MAX);
  }
}
