/** Stands before every route of REST and gRPC: who is it, and may such a principal use such a route? Which tables it may touch is asked in the route. */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Principal, SYSTEM } from '../common/access.js';
import { AppError } from '../common/app-error.js';
import type { AuthConfig } from '../config/config.js';
import { requestContext } from '../common/request-context.js';
import { metadataOf } from '../api/grpc-server.js';
import { hasSmallBody, SMALL_BODY_BYTES_MAX } from '../api/http-server.js';
import type { Authenticator, Credentials } from './authenticator.js';
import { credentialsIn } from './service-guard.js';
import { type Permission, permissionOf } from '../api/permission.js';

/** Where the need of a route depends on the configuration. */
const METRICS_ROUTE = '/metrics';

export class AuthGuard implements CanActivate {
  constructor(
    private readonly config: AuthConfig,
    private readonly authenticator: Authenticator,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const handler = context.getHandler();
    const permission = permissionOf(handler);
    if (permission === undefined) throw new AppError('INTERNAL', `the route ${handler.name} does not say who may use it`);
    await this.#admit(permission, (peer) => this.#authenticate(context, peer));
    return true;
  }

  /** REST is asked before a large body is read: to read and parse many megabytes for everybody would keep all others waiting. */
  guardHeads(server: FastifyInstance): void {
    if (this.config.mode === 'disabled') return;
    const permissions = new Map<string, Permission>();
    server.addHook('onRoute', (route) => {
      const permission = permissionOf(route.handler);
      if (permission === 'public') route.bodyLimit = SMALL_BODY_BYTES_MAX;
      else if (permission) for (const method of [route.method].flat()) permissions.set(`${method} ${route.url}`, permission);
    });
    server.addHook('onRequest', async (request, reply) => {
      const permission = permissions.get(`${request.method} ${request.routeOptions.url}`);
      if (permission && !hasSmallBody(request)) await this.#admit(permission, (peer) => this.#authenticateHttp(request, reply, peer));
    });
  }

  async #admit(permission: Permission, authenticate: (peer: string) => Promise<Principal>): Promise<void> {
    if (permission === 'public') return;
    const store = requestContext.getStore();
    const principal = store?.principal ?? (await authenticate(store?.peer ?? ''));
    // Known before it is refused: the audit log says who it was.
    if (store) store.principal = principal;
    assertAllows(principal, permission);
  }

  async #authenticate(context: ExecutionContext, peer: string): Promise<Principal> {
    if (context.getType() !== 'http') return this.authenticator.principalOf(credentialsIn(metadataOf(context.getArgs())), peer);
    const http = context.switchToHttp();
    return this.#authenticateHttp(http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>(), peer);
  }

  async #authenticateHttp(request: FastifyRequest, reply: FastifyReply, peer: string): Promise<Principal> {
    if (request.routeOptions.url === METRICS_ROUTE && this.config.open_metrics) return SYSTEM;
    try {
      return await this.authenticator.principalOf(headerCredentials(request), peer);
    } catch (error) {
      if (error instanceof AppError && error.code === 'UNAUTHENTICATED') void reply.header('www-authenticate', 'Bearer realm="MinIODB"');
      throw error;
    }
  }
}

/** @throws AppError PERMISSION_DENIED */
function assertAllows({ id, role }: Principal, permission: Permission): void {
  const isAllowed = role === 'admin' || permission === 'read' || (permission === 'write' && role === 'writer');
  if (!isAllowed)
    throw new AppError(
      'PERMISSION_DENIED',
      `${id} has the role ${role}; this needs the role ${permission === 'admin' ? 'admin' : 'writer'}`,
    );
}

function headerCredentials({ headers }: FastifyRequest): Credentials {
  return {
    authorization: headers.authorization,
    'x-api-key': single(headers['x-api-key']),
    'x-api-secret': single(headers['x-api-secret']),
  };
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
