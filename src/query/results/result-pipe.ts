/**
 * A pipe between the engine, which encodes a whole result with COPY, and a client that reads it as fast as it likes. The engine writes into a named
 * pipe and stops when it is full, so memory stays flat however large the result; the event loop only passes bytes on.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { PassThrough, type Readable } from 'node:stream';
import { promisify } from 'node:util';
import type { ScratchFiles } from '../../storage/scratch-files.js';

const run = promisify(execFile);
const DRAIN_BYTES = 65_536;

export interface ResultPipe {
  /** Where the engine writes. */
  readonly path: string;
  /** What the client reads. */
  readonly output: Readable;
  /** Everything is written: pass on what is left, and end. */
  finish(): void;
  /**
   * The client sees the end of the connection instead of the end of the result. What the engine still writes is read and dropped, so that it is not
   * held up and meets its interrupt.
   */
  break(error: Error): void;
  /** Gives the pipe back. Only when the engine is done with it: it would wait for a reader, or make a file of that name. */
  close(): Promise<void>;
}

export async function openResultPipe(scratch: ScratchFiles): Promise<ResultPipe> {
  const path = scratch.path('pipe');
  await run('mkfifo', [path]);
  // Open for reading and writing: a reader alone would block here until the engine comes. So the end of data is never signalled; `finish` is told.
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd: descriptor, readable: true, writable: false });
  const output = new PassThrough();
  socket.pipe(output, { end: false });
  socket.on('error', (error) => output.destroy(error));
  // It may break before anybody reads it; a reader is told all the same.
  output.on('error', () => undefined);
  return {
    path,
    output,
    finish: () => {
      socket.unpipe(output);
      socket.pause();
      for (const rest of [socket.read() as Buffer | null, ...drain(path)]) if (rest) output.write(rest);
      output.end();
    },
    break: (error) => {
      socket.unpipe(output);
      socket.resume();
      output.destroy(error);
    },
    close: async () => {
      socket.destroy();
      await scratch.remove(path);
    },
  };
}

/** What the pipe still holds once nobody writes any more: at most what the kernel keeps for a pipe. */
function* drain(path: string): Iterable<Buffer> {
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    for (;;) {
      const buffer = Buffer.alloc(DRAIN_BYTES);
      let bytes: number;
      try {
        bytes = readSync(descriptor, buffer);
      } catch {
        return; // EAGAIN: empty
      }
      if (bytes === 0) return;
      yield buffer.subarray(0, bytes);
    }
  } finally {
    closeSync(descriptor);
  }
}
