import { describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { Config } from './config.js';
import { fitToMachine, thisMachine } from './machine-limits.js';

const MIB = 1_024 * 1_024;

function fitted(memoryBytes: number, cores: number, change: (config: Config) => void = () => undefined): Config {
  const config = new Config();
  change(config);
  fitToMachine(config, { memoryBytes, cores });
  return config;
}

describe('limits by the machine', () => {
  it('leave room in a small container', () => {
    const { query, buffer } = fitted(512 * MIB, 1);
    expect(query).toMatchObject({ memory_bytes_max: 128 * MIB, threads: 1, concurrency_max: 2 });
    expect(buffer.bytes_max).toBe(64 * MIB);
  });

  it('grow with the machine up to a bound', () => {
    expect(fitted(8_192 * MIB, 2).query).toMatchObject({ memory_bytes_max: 2_048 * MIB, threads: 2, concurrency_max: 8 });
    const { query, buffer } = fitted(1_024 * 1_024 * MIB, 64);
    expect(query).toMatchObject({ memory_bytes_max: 4_096 * MIB, threads: 64, concurrency_max: 32 });
    expect(buffer.bytes_max).toBe(512 * MIB);
  });

  it('leave settings alone that were made', () => {
    const { query, buffer } = fitted(8_192 * MIB, 4, (config) => {
      config.query.memory_bytes_max = 300 * MIB;
      config.query.concurrency_max = 40;
      config.query.threads = 1;
      config.buffer.bytes_max = 5 * MIB;
    });
    expect(query).toMatchObject({ memory_bytes_max: 300 * MIB, threads: 1, concurrency_max: 40 });
    expect(buffer.bytes_max).toBe(5 * MIB);
  });

  it('are known here', () => {
    const { memoryBytes, cores } = thisMachine();
    expect(memoryBytes).toBeGreaterThan(64 * MIB);
    expect(cores).toBeGreaterThanOrEqual(1);
  });
});
