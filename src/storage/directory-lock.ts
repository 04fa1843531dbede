/**
 * Keeps two servers off one data directory. The lock is a listening socket whose name comes from the directory: it goes with the process, however
 * that ends, so there is never a stale lock to remove by hand.
 */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { AppError, isSystemError } from '../common/app-error.js';

const SOCKET_NAME_BYTES_MAX = 100;

/** @throws AppError UNAVAILABLE when another server uses the directory */
export async function lockDirectory(directory: string): Promise<Server> {
  await mkdir(directory, { recursive: true });
  const name = socketName(realpathSync(directory));
  try {
    return await listen(name);
  } catch (error) {
    if (!isSystemError(error, 'EADDRINUSE')) throw error;
    if (await isAnswered(name)) throw inUse(directory);
    await rm(name, { force: true });
    return listen(name);
  }
}

/** In the directory itself, unless its path is longer than the name of a socket may be. */
function socketName(directory: string): string {
  const inside = path.join(directory, 'lock');
  if (Buffer.byteLength(inside) <= SOCKET_NAME_BYTES_MAX) return inside;
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 32);
  return path.join(tmpdir(), `miniodb-${hash}.lock`);
}

function listen(name: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', reject);
    server.listen(name, () => resolve(server.unref()));
  });
}

/** A socket that a dead process left behind refuses connections. */
function isAnswered(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(name);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function inUse(directory: string): AppError {
  return new AppError(
    'UNAVAILABLE',
    `another server uses the data directory ${directory}; stop it, or set data_dir (DATA_DIR) to another directory`,
  );
}
