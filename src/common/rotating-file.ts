/**
 * A log file of bounded size: when it is full it becomes FILE.1, what was FILE.1 becomes FILE.2, and the oldest goes. A disk that is full costs
 * lines of the log and nothing else: they are dropped and counted, because a log that holds up or ends what it tells of is worse than a gap in it.
 */
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { isSystemError, messageOf } from './app-error.js';

/** How long a line may wait for its block to be full. */
const FLUSH_EVERY_MS = 1_000;

export interface RotatingFileOptions {
  readonly file: string;
  /** Size at which the file is exchanged. */
  readonly bytesMax: number;
  /** Full files that are kept besides the one that is written. */
  readonly filesKept: number;
  /** Lines are written in blocks of so many bytes, and at least once a second; 0: at once, so that what was logged before a crash is there. */
  readonly blockBytes: number;
}

export class RotatingFile {
  #descriptor: number;
  #bytes: number;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #lost = 0;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: RotatingFileOptions) {
    mkdirSync(path.dirname(path.resolve(options.file)), { recursive: true });
    this.#descriptor = openSync(options.file, 'a');
    this.#bytes = fstatSync(this.#descriptor).size;
    if (options.blockBytes > 0) this.#timer = setInterval(() => this.flush(), FLUSH_EVERY_MS).unref();
  }

  /** Lines that the disk did not take. */
  get linesLost(): number {
    return this.#lost;
  }

  /** @param line with its end */
  write(line: string): void {
    this.#waiting.push(line);
    this.#waitingBytes += Buffer.byteLength(line);
    if (this.#waitingBytes >= this.options.blockBytes) this.flush();
  }

  /** Writes what waits. */
  flush(): void {
    const lines = this.#waiting;
    if (lines.length === 0) return;
    const block = Buffer.from(lines.join(''));
    this.#waiting = [];
    this.#waitingBytes = 0;
    try {
      if (this.#bytes > 0 && this.#bytes + block.length > this.options.bytesMax) this.#rotate();
      for (let at = 0; at < block.length;) at += writeSync(this.#descriptor, block, at);
      this.#bytes += block.length;
    } catch (error) {
      if (this.#lost === 0) process.stderr.write(`${this.options.file} cannot be written (${messageOf(error)}); lines are being lost\n`);
      this.#lost += lines.length;
    }
  }

  #rotate(): void {
    const { file, filesKept } = this.options;
    const name = (number: number): string => (number === 0 ? file : `${file}.${number}`);
    rmSync(name(filesKept), { force: true });
    for (let number = filesKept - 1; number >= 0; number -= 1) renameIfThere(name(number), name(number + 1));
    const next = openSync(file, 'a');
    closeSync(this.#descriptor);
    this.#descriptor = next;
    this.#bytes = fstatSync(next).size;
  }

  close(): void {
    clearInterval(this.#timer);
    this.flush();
    closeSync(this.#descriptor);
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
}
