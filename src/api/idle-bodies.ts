/**
 * Closes connections whose request body has stopped arriving: one that stalls, or trickles in a few bytes at a time, holds a place that others need. A
 * slow line is fine: each period of `server.body_idle_seconds` only has to bring as many bytes as even a poor line can carry.
 */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { MS_PER_SECOND } from '../common/clock.js';
import type { Logger } from '../common/logger.js';

const LOOK_EVERY_MS = 1_000;
/** Below it a body of the smallest size that takes several packets would take minutes. */
const BYTES_PER_SECOND_MIN = 32;

/** How far a body had come, and when. */
interface Mark {
  readonly requestId: string;
  readonly peer: string;
  bytes: number;
  sinceMs: number;
}

export function cutIdleBodies(server: FastifyInstance, idleSeconds: number, logger: Logger): void {
  const open = new Map<IncomingMessage, Mark>();
  server.addHook('onRequest', ({ raw, id, ip }, reply, done) => {
    if (hasBody(raw)) {
      open.set(raw, { requestId: id, peer: ip, bytes: raw.socket.bytesRead, sinceMs: performance.now() });
      reply.raw.once('close', () => open.delete(raw));
    }
    done();
  });
  const look = (): void => {
    for (const [request, mark] of open) {
      if (request.complete) open.delete(request);
      else if (isIdle(request, mark, idleSeconds)) {
        logger.warn(
          { request_id: mark.requestId, peer: mark.peer },
          `connection closed: less than ${idleSeconds * BYTES_PER_SECOND_MIN} bytes of a body came within ${idleSeconds} s (server.body_idle_seconds)`,
        );
        request.socket.destroy();
      }
    }
  };
  const timer = setInterval(look, Math.min(LOOK_EVERY_MS, (idleSeconds * MS_PER_SECOND) / 2)).unref();
  server.addHook('onClose', (_instance, done) => {
    clearInterval(timer);
    done();
  });
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function isIdle({ socket, readableLength }: IncomingMessage, mark: Mark, idleSeconds: number): boolean {
  const nowMs = performance.now();
  // What has come and is not taken yet waits for us, not for the client.
  if (readableLength > 0 || socket.bytesRead - mark.bytes >= idleSeconds * BYTES_PER_SECOND_MIN) {
    mark.bytes = socket.bytesRead;
    mark.sinceMs = nowMs;
  }
  return nowMs - mark.sinceMs >= idleSeconds * MS_PER_SECOND;
}
