/** Tokens over REST and gRPC: login, the next pair, the end. */
import { Body, Controller, Delete, HttpCode, Post, Req } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { AppError, invalidArgument } from '../common/app-error.js';
import { currentPrincipal } from '../common/access.js';
import { Config } from '../config/config.js';
import { requestContext } from '../common/request-context.js';
import { ApiErrors, ApiPublicErrors, BODY_ERRORS } from '../api/api-errors.js';
import { DoneDto } from '../api/done.dto.js';
import { ValidationPipe } from '../api/validation-pipe.js';
import { Authenticator } from './authenticator.js';
import {
  REFRESH_REQUEST_EXAMPLES,
  RefreshRequestDto,
  REVOKE_REQUEST_EXAMPLES,
  RevokeRequestDto,
  TOKEN_REQUEST_EXAMPLES,
  TokenPairDto,
  TokenRequestDto,
} from './auth.dto.js';
import { Needs } from '../api/permission.js';
import { RateLimited } from '../api/rate-limited.js';
import { type TokenPair, Tokens } from './tokens.js';

@ApiTags('auth')
@Controller('v1/auth')
export class AuthController {
  constructor(
    private readonly config: Config,
    private readonly authenticator: Authenticator,
    private readonly tokens: Tokens,
  ) {}

  @Needs('public')
  @RateLimited('logins')
  @Post('token')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Log in with an API key',
    description: 'Too many wrong secrets in a row lock out the key and the address for a while (429).',
  })
  @ApiBody({ type: TokenRequestDto, examples: TOKEN_REQUEST_EXAMPLES })
  @ApiOkResponse({ type: TokenPairDto })
  @ApiPublicErrors(...BODY_ERRORS, 'UNAUTHENTICATED', 'RESOURCE_EXHAUSTED')
  token(@Body(new ValidationPipe(TokenRequestDto)) { api_key: key, secret, api_secret: other }: TokenRequestDto): Promise<TokenPair> {
    return this.#login(key, secret ?? other ?? '');
  }

  @Needs('public')
  @RateLimited('logins')
  @GrpcMethod('AuthService', 'GetToken')
  tokenByGrpc({ api_key: key, secret }: { api_key: string; secret: string }): Promise<TokenPair> {
    return this.#login(key, secret);
  }

  async #login(key: string, secret: string): Promise<TokenPair> {
    this.#assertEnabled();
    return this.tokens.issue(this.authenticator.login(key, secret, requestContext.getStore()?.peer ?? ''));
  }

  @Needs('public')
  @RateLimited('logins')
  @Post('refresh')
  @HttpCode(200)
  @ApiOperation({ summary: 'Get the next pair of tokens', description: 'A refresh token works once. Using it again ends the whole login.' })
  @ApiBody({ type: RefreshRequestDto, examples: REFRESH_REQUEST_EXAMPLES })
  @ApiOkResponse({ type: TokenPairDto })
  @ApiPublicErrors(...BODY_ERRORS, 'UNAUTHENTICATED', 'RESOURCE_EXHAUSTED')
  async refresh(@Body(new ValidationPipe(RefreshRequestDto)) { refresh_token: token }: RefreshRequestDto): Promise<TokenPair> {
    this.#assertEnabled();
    return this.tokens.refresh(token);
  }

  @Needs('public')
  @RateLimited('logins')
  @GrpcMethod('AuthService', 'RefreshToken')
  refreshByGrpc(request: RefreshRequestDto): Promise<TokenPair> {
    return this.refresh(request);
  }

  @Needs('read')
  @Delete('token')
  @ApiOperation({ summary: 'End a login', description: 'All its tokens stop working at once, on every node.' })
  @ApiBody({ type: RevokeRequestDto, required: false, examples: REVOKE_REQUEST_EXAMPLES })
  @ApiOkResponse({ type: DoneDto })
  @ApiErrors(...BODY_ERRORS)
  async revoke(
    @Body(new ValidationPipe(RevokeRequestDto)) { token }: RevokeRequestDto,
    @Req() { headers }: FastifyRequest,
  ): Promise<DoneDto> {
    const named = token ?? /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    if (named === undefined) throw invalidArgument('token is missing; send a token of the login to end', [{ field: 'token' }]);
    return this.#revoke(named);
  }

  @Needs('read')
  @GrpcMethod('AuthService', 'RevokeToken')
  revokeByGrpc({ token }: { token: string }): Promise<DoneDto> {
    return this.#revoke(token);
  }

  async #revoke(token: string): Promise<DoneDto> {
    this.#assertEnabled();
    const { id, role } = currentPrincipal();
    await this.tokens.revoke(token, role === 'admin' ? undefined : id);
    return { success: true, message: 'the login has ended; its tokens no longer work' };
  }

  #assertEnabled(): void {
    if (this.config.auth.mode === 'disabled')
      throw new AppError('INVALID_ARGUMENT', 'authentication is disabled on this server (auth.mode), so there are no tokens');
  }
}
