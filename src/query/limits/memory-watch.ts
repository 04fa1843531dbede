/**
 * Keeps the process within its memory, where the engine does not count: values of rows, states of some aggregates, what is being planned.
 *
 * Calls that know what they will take ask before (`allow`). Everything else shows only once it is taken: the resident memory is looked at all the
 * time while queries run, and past the limit the one that has run longest is stopped, then the next.
 */
import { AppError } from '../../common/app-error.js';
import type { Logger } from '../../common/logger.js';
import type { RunningQueries } from './running-queries.js';

const LOOK_EVERY_MS = 20;
/** A query that is stopped gives its memory back within this, as a rule. */
const RELIEF_MS = 500;
/** What an idle process holds is nobody's fault; so much more any query may take. */
const ROOM_BYTES_MIN = 256 * 1_024 * 1_024;
const MIB = 1_024 * 1_024;

export class MemoryWatch {
  #lastBytes = process.memoryUsage.rss();
  #idleBytes = this.#lastBytes;
  #timer: NodeJS.Timeout | undefined;
  #stoppedMs = 0;

  constructor(
    private readonly bytesMax: number,
    private readonly running: RunningQueries,
    private readonly logger: Logger,
  ) {}

  start(): void {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** Bytes that may still be taken; negative when there are too many already. */
  get roomBytes(): number {
    return Math.max(this.bytesMax, this.#idleBytes + ROOM_BYTES_MIN) - this.#residentBytes();
  }

  /** What it was last where no file can be opened to ask the system. */
  #residentBytes(): number {
    try {
      this.#lastBytes = process.memoryUsage.rss();
    } catch (error) {
      this.logger.warn({ err: error }, 'the memory of the process cannot be read');
    }
    return this.#lastBytes;
  }

  #look(): void {
    const oldest = this.running.oldest;
    if (!oldest) {
      this.#idleBytes = this.#residentBytes();
      return;
    }
    if (this.roomBytes >= 0 || performance.now() - this.#stoppedMs < RELIEF_MS) return;
    this.#stoppedMs = performance.now();
    this.logger.warn({ query_id: oldest.id, rss_bytes: this.#lastBytes }, 'query stopped: the process has too little memory left');
    oldest.stop(outOfMemory());
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

export function outOfMemory(wantedBytes?: number): AppError {
  const wanted = wantedBytes === undefined ? '' : ` (values of ${Math.ceil(wantedBytes / MIB)} MiB at once)`;
  return new AppError(
    'RESOURCE_EXHAUSTED',
    `the query needs more memory than the process may have${wanted} (query.process_bytes_max); make shorter texts and lists, or read fewer rows at once`,
  );
}
