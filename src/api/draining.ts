/** The time between the signal to stop and the end: what was asked is answered, and a client that keeps its connection open must not hold the end up. */
import { Injectable } from '@nestjs/common';
import type { FastifyInstance } from 'fastify';

@Injectable()
export class Draining {
  #hasBegun = false;

  begin(): void {
    this.#hasBegun = true;
  }

  /** From `begin` on, every answer of the server closes its connection. */
  closeConnectionsOf(server: FastifyInstance): void {
    server.addHook('onSend', (_request, reply, payload, done) => {
      if (this.#hasBegun) void reply.header('connection', 'close');
      done(null, payload);
    });
  }
}
