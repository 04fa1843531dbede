/** What every answer to a change has. */
import { ApiProperty } from '@nestjs/swagger';

export class DoneDto {
  @ApiProperty({ enum: [true], type: Boolean }) success: true;
  @ApiProperty({ description: 'What was done, in words' }) message: string;
}
