/** What browsers are told of the answers: which pages may read them, and what they may do as pages. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';
import helmet from 'helmet';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
/** Headers of answers that scripts of other origins may see. */
const SHOWN_HEADERS = ['X-Request-Id', 'X-Query-Id', 'Retry-After', 'Allow'];
/** How long browsers remember what is allowed. */
const REMEMBERED_SECONDS = 600;

export function setSecurityHeaders(server: FastifyInstance, headers: Readonly<Record<string, string>>): void {
  server.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers);
    done();
  });
}

/** Helmet's headers are the same for every answer, so they are asked for once: asking each time costs as much as storing a record. */
export function securityHeaders(isSecure: boolean): Record<string, string> {
  const headers: Record<string, string> = {};
  const response = {
    setHeader: (name: string, value: string) => void (headers[name.toLowerCase()] = value),
    removeHeader: () => undefined,
  };
  const setHeaders = helmet({
    // Without TLS a browser must not be sent to https.
    contentSecurityPolicy: { directives: { upgradeInsecureRequests: isSecure ? [] : null } },
    strictTransportSecurity: isSecure,
  });
  setHeaders({} as IncomingMessage, response as unknown as ServerResponse, (error) => {
    if (error !== undefined) throw error as Error;
  });
  return headers;
}

export function allowOrigins(server: FastifyInstance, origins: readonly string[]): void {
  void server.register(cors, {
    origin: origins.includes('*') ? '*' : [...origins],
    methods: METHODS,
    exposedHeaders: SHOWN_HEADERS,
    maxAge: REMEMBERED_SECONDS,
  });
}
