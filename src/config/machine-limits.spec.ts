import { describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { Config } from './config.js';
import { fitToMachine, thisMachine } from './machine-limits.js';
import { assertEnoughOpenFiles } from './open-files.js';

const MIB = 1_024 * 1_024;

function fitted(memoryBytes: number, cores: number, change: (config: Config) => void = () => undefined, openFilesMax = 1_048_576): Config {
  const config = new Config();
  change(config);
  fitToMachine(config, { memoryBytes, cores, openFilesMax });
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

  it.each([
    [768, 128],
    [1_024, 256],
    [4_096, 1_536],
    [65_536, 10_000],
    [Infinity, 10_000],
  ])('of %d open files leave each door %d connections', (openFiles, connections) => {
    expect(fitted(8_192 * MIB, 2, undefined, openFiles).server.connections_max).toBe(connections);
  });

  it('leave fewer connections alone', () => {
    expect(fitted(8_192 * MIB, 2, (config) => (config.server.connections_max = 5), 1_024).server.connections_max).toBe(5);
  });

  it('name too few open files', () => {
    expect(() => assertEnoughOpenFiles(600)).toThrow(/limit of open files is 600 \(ulimit -n\).*at least 768/);
    expect(() => assertEnoughOpenFiles(768)).not.toThrow();
  });

  it('are known here', () => {
    const { memoryBytes, cores, openFilesMax } = thisMachine();
    expect(openFilesMax).toBeGreaterThan(256);
    expect(memoryBytes).toBeGreaterThan(64 * MIB);
    expect(cores).toBeGreaterThanOrEqual(1);
  });
});
