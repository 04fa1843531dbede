/** Puts the server together: REST and gRPC over the same module, Swagger UI, draining at the end. */
import { createServer, type Server } from 'node:net';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import { AppModule } from './app.module.js';
import { AuthGuard } from './auth/auth-guard.js';
import { Authenticator } from './auth/authenticator.js';
import { guardServices } from './auth/service-guard.js';
import { Heartbeat } from './cluster/heartbeat.js';
import { MS_PER_SECOND } from './common/clock.js';
import type { Config } from './config/config.js';
import { isLoopback } from './config/load-config.js';
import type { Logger } from './common/logger.js';
import { VERSION } from './common/version.js';
import { Draining } from './api/draining.js';
import { RequestWatch } from './api/request-watch.js';
import { cutGrpcCalls, grpcListeners, grpcOptions, grpcRequestHook, setGrpcServing } from './api/grpc-server.js';
import { httpAdapter } from './api/http-server.js';
import { NestLogger } from './api/nest-logger.js';
import { registerProtobufValues } from './api/protobuf-values.js';
import { readTls } from './api/tls.js';

export interface RunningApplication {
  readonly restUrl: string;
  readonly grpcAddress: string;
  close(): Promise<void>;
}

export async function startApplication(config: Config, logger: Logger): Promise<RunningApplication> {
  registerProtobufValues();
  const { host, rest_port: restPort, grpc_port: grpcPort, cors_origins: corsOrigins, body_idle_seconds: bodyIdleSeconds } = config.server;
  const tls = readTls(config.tls);
  if (!tls && config.auth.mode !== 'disabled' && !isLoopback(host))
    logger.warn(
      'credentials are sent over the network in clear text: set tls.cert_file and tls.key_file, or terminate TLS in front of this server',
    );
  const { body_bytes_max: bodyBytesMax, json_depth_max: jsonDepthMax } = config.limits;
  const adapter = httpAdapter({ bodyBytesMax, jsonDepthMax, tls, corsOrigins, bodyIdleSeconds, logger });
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(config, logger), adapter, {
    logger: new NestLogger(logger),
    bodyParser: false,
    abortOnError: false,
  });
  const interceptors = config.server.grpc_services === 'guarded' ? [guardServices(app.get(Authenticator))] : [];
  const options = grpcOptions({ host, port: grpcPort || (await freePort(host)), messageBytesMax: bodyBytesMax, tls, interceptors });
  const grpc = app.connectMicroservice<MicroserviceOptions>(options, { inheritAppConfig: true, deferInitialization: true });
  const watch = app.get(RequestWatch);
  grpc.registerPreRequestHook((context, next) => grpcRequestHook(context, () => watch.watchCall(context, next)));
  // The application calls the hooks of all modules; without this the microservice in it would call them again, and every timer would run twice.
  (grpc as unknown as { setIsInitHookCalled(isCalled: boolean): void }).setIsInitHookCalled(true);
  // After the hooks that watch: what is refused is recorded as well.
  app.get(AuthGuard).guardHeads(adapter.getInstance<FastifyInstance>());
  serveOpenApi(app);
  const draining = app.get(Draining);
  draining.closeConnectionsOf(adapter.getInstance<FastifyInstance>());
  await app.startAllMicroservices();
  await app.listen(restPort, host);
  for (const door of [adapter.getInstance<FastifyInstance>().server, ...grpcListeners()])
    boundConnections(door, config.server.connections_max, logger);
  setGrpcServing(true);
  const restUrl = await app.getUrl();
  await app.get(Heartbeat).start(restUrl);
  return {
    restUrl,
    grpcAddress: options.options.url ?? '',
    close: async () => {
      draining.begin();
      setGrpcServing(false);
      // Calls that stream for as long as their client likes are cut when the others have had their time.
      const cut = setTimeout(
        () => {
          cutGrpcCalls();
          adapter.getInstance<FastifyInstance>().server.closeAllConnections();
        },
        (config.server.shutdown_seconds * MS_PER_SECOND) / 2,
      );
      await app.close().finally(() => clearTimeout(cut));
    },
  };
}

const API_DESCRIPTION = `Records in, SQL out: a light OLAP server on open files.

A failure has the body ErrorDto and the HTTP status named in it. An unknown path is 404 NOT_FOUND, a method that a path does not allow is
405 METHOD_NOT_ALLOWED with \`Allow\`. Answers with 429 and 503 say in \`Retry-After\` how many seconds to wait before trying again. Every answer has an
\`X-Request-Id\`: the one sent with the request, or a new one; the server's log contains it. Unknown fields are refused; a null counts as a missing field,
except where stated otherwise. A server with \`auth.mode: disabled\` asks for no credentials.`;

/** Each connection holds a descriptor, which files need, too. */
function boundConnections(door: Server, connectionsMax: number, logger: Logger): void {
  door.maxConnections = connectionsMax;
  let toldMs = 0;
  door.on('drop', () => {
    if (Date.now() - toldMs < MS_PER_SECOND) return;
    toldMs = Date.now();
    logger.warn(
      `connections are closed as they come: there are ${connectionsMax} (server.connections_max, or what the limit of open files leaves)`,
    );
  });
}

function serveOpenApi(app: NestFastifyApplication): void {
  const description = new DocumentBuilder()
    .setTitle('MinIODB')
    .setDescription(API_DESCRIPTION)
    .setVersion(VERSION)
    .setLicense('BSD-3-Clause', 'https://opensource.org/license/bsd-3-clause')
    .addBearerAuth(
      { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token from POST /v1/auth/token' },
      'token',
    )
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'The name of an API key; with X-API-Secret' }, 'key')
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Secret', description: 'The secret of the API key' }, 'secret')
    .addSecurityRequirements({ token: [] })
    .addSecurityRequirements({ key: [], secret: [] })
    .build();
  SwaggerModule.setup('api-docs', app, () => withOpenOperations(SwaggerModule.createDocument(app, description)), {
    jsonDocumentUrl: 'api-docs-json',
  });
}

/** What everybody may use needs no credentials: the operations that refuse nobody. */
function withOpenOperations(document: OpenAPIObject): OpenAPIObject {
  for (const item of Object.values(document.paths))
    for (const operation of [item.get, item.post, item.put, item.patch, item.delete])
      if (operation && !('403' in operation.responses)) operation.security = [];
  return document;
}

/** gRPC cannot tell which port it got, so a free one is found beforehand. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, host, () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
