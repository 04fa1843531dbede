/** Tokens over REST and gRPC: login, the next pair, the end. */
import { Body, Controller, Delete, Headers, HttpCode, Post } from '@nestjs/common';
import { GrpcMethod } from '@nestjs/microservices';
import { ApiBody, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { AppError, invalidArgument } from '../common/app-error.js';
import { currentPrincipal } from '../common/access.js';
import { Config } from '../common/config/config.js';
import { requestContext } from '../common/request-context.js';
import { ValidationPipe } from '../infra/transport/validation-pipe.js';
import { Authenticator } from './authenticator.js';
import { RefreshRequestDto, RevokeRequestDto, TokenPairDto, TokenRequestDto } from './auth.dto.js';
import { Needs } from '../infra/transport/permission.js';
import { type TokenPair, Tokens } from './tokens.js';

interface Done {
  readonly success: true;
  readonly message: string;
}

@ApiTags('auth')
@Controller('v1/auth')
export class AuthController {
  constructor(
    private readonly config: Config,
    private readonly authenticator: Authenticator,
    private readonly tokens: Tokens,
  ) {}

  @Needs('public')
  @Post('token')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Log in with an API key',
    description: 'Too many wrong secrets lock the key and the address out for a while (429).',
  })
  @ApiOkResponse({ type: TokenPairDto })
  token(@Body(new ValidationPipe(TokenRequestDto)) { api_key: key, secret, api_secret: other }: TokenRequestDto): Promise<TokenPair> {
    return this.#login(key, secret ?? other ?? '');
  }

  @Needs('public')
  @GrpcMethod('AuthService', 'GetToken')
  tokenByGrpc({ api_key: key, secret }: { api_key: string; secret: string }): Promise<TokenPair> {
    return this.#login(key, secret);
  }

  async #login(key: string, secret: string): Promise<TokenPair> {
    this.#assertEnabled();
    return this.tokens.issue(this.authenticator.login(key, secret, requestContext.getStore()?.peer ?? ''));
  }

  @Needs('public')
  @Post('refresh')
  @HttpCode(200)
  @ApiOperation({ summary: 'The next pair of tokens', description: 'A refresh token works once. Used again, it ends its whole login.' })
  @ApiOkResponse({ type: TokenPairDto })
  async refresh(@Body(new ValidationPipe(RefreshRequestDto)) { refresh_token: token }: RefreshRequestDto): Promise<TokenPair> {
    this.#assertEnabled();
    return this.tokens.refresh(token);
  }

  @Needs('public')
  @GrpcMethod('AuthService', 'RefreshToken')
  refreshByGrpc(request: RefreshRequestDto): Promise<TokenPair> {
    return this.refresh(request);
  }

  @Needs('read')
  @Delete('token')
  @ApiOperation({ summary: 'End a login', description: 'All its tokens count no more, at once and on every node.' })
  @ApiBody({ type: RevokeRequestDto, required: false })
  async revoke(
    @Body(new ValidationPipe(RevokeRequestDto)) { token }: RevokeRequestDto,
    @Headers('authorization') authorization?: string,
  ): Promise<Done> {
    const named = token ?? /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    if (named === undefined) throw invalidArgument('token is missing: which login is to end?', [{ field: 'token' }]);
    return this.#revoke(named);
  }

  @Needs('read')
  @GrpcMethod('AuthService', 'RevokeToken')
  revokeByGrpc({ token }: { token: string }): Promise<Done> {
    return this.#revoke(token);
  }

  async #revoke(token: string): Promise<Done> {
    this.#assertEnabled();
    const { id, role } = currentPrincipal();
    await this.tokens.revoke(token, role === 'admin' ? undefined : id);
    return { success: true, message: 'the login has ended; none of its tokens counts any more' };
  }

  #assertEnabled(): void {
    if (this.config.auth.mode === 'disabled')
      throw new AppError('INVALID_ARGUMENT', 'authentication is disabled on this server (auth.mode), so there are no tokens');
  }
}
