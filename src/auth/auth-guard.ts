/** Stands before every route of REST and gRPC: who is it, and may such a principal use such a route? Which tables it may touch is asked in the route. */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Principal, SYSTEM } from '../common/access.js';
import { AppError } from '../common/app-error.js';
import type { AuthConfig } from '../common/config/config.js';
import { requestContext } from '../common/request-context.js';
import { metadataOf } from '../infra/transport/grpc-server.js';
import type { Authenticator, Credentials } from './authenticator.js';
import { credentialsIn } from './service-guard.js';
import { type Permission, PERMISSION } from '../infra/transport/permission.js';

/** Where the need of a route depends on the configuration. */
const METRICS_ROUTE = '/metrics';

export class AuthGuard implements CanActivate {
  readonly #reflector = new Reflector();
  readonly #permissions = new Map<unknown, Permission>();

  constructor(
    private readonly config: AuthConfig,
    private readonly authenticator: Authenticator,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const permission = this.#permissionOf(context);
    const store = requestContext.getStore();
    if (permission === 'public') return true;
    const principal = await this.#authenticate(context, store?.peer ?? '');
    // Known before it is refused: the audit log says who it was.
    if (store) store.principal = principal;
    assertAllows(principal, permission);
    return true;
  }

  #permissionOf(context: ExecutionContext): Permission {
    const handler = context.getHandler();
    const known = this.#permissions.get(handler);
    if (known) return known;
    const permission = this.#reflector.getAllAndOverride<Permission | undefined>(PERMISSION, [handler, context.getClass()]);
    if (permission === undefined) throw new AppError('INTERNAL', `the route ${handler.name} does not say who may use it`);
    this.#permissions.set(handler, permission);
    return permission;
  }

  async #authenticate(context: ExecutionContext, peer: string): Promise<Principal> {
    if (context.getType() !== 'http') return this.authenticator.principalOf(credentialsIn(metadataOf(context.getArgs())), peer);
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    if (request.routeOptions.url === METRICS_ROUTE && this.config.open_metrics) return SYSTEM;
    try {
      return await this.authenticator.principalOf(headerCredentials(request), peer);
    } catch (error) {
      if (error instanceof AppError && error.code === 'UNAUTHENTICATED')
        void http.getResponse<FastifyReply>().header('www-authenticate', 'Bearer realm="MinIODB"');
      throw error;
    }
  }
}

/** @throws AppError PERMISSION_DENIED */
function assertAllows({ id, role }: Principal, permission: Permission): void {
  const isAllowed = role === 'admin' || permission === 'read' || (permission === 'write' && role === 'writer');
  if (!isAllowed)
    throw new AppError('PERMISSION_DENIED', `${id} is a ${role}; this needs ${permission === 'admin' ? 'an admin' : 'a writer'}`);
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
