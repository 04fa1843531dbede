/** `GET /metrics`, the text that Prometheus reads. */
import { Controller, Get, Header } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { ApiErrors } from '../api/api-errors.js';
import { Needs } from '../api/permission.js';
import { MetricsText } from './metrics-text.js';

const ANSWER = { description: 'Text format 0.0.4', content: { 'text/plain': { schema: { type: 'string' } } } } as const;

@ApiTags('monitoring')
@Controller('metrics')
@Needs('admin')
export class MetricsController {
  constructor(private readonly metrics: MetricsText) {}

  // Clients made from the OpenAPI document know the operation by this name.
  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  @ApiOperation({ operationId: 'HealthController_prometheus', summary: 'Prometheus metrics' })
  @ApiOkResponse(ANSWER)
  @ApiErrors()
  prometheus(): Promise<string> {
    return this.metrics.read();
  }
}
