/** Counts what passed and what failed, and says so as it goes. */
const MS_PER_SECOND = 1_000;

export class Checks {
  #passed = 0;
  #failures = [];

  /**
   * @param {string} name what holds when it passes
   * @param {() => Promise<string | void>} body gives the figures to print
   * @returns {Promise<boolean>} whether it passed
   */
  async run(name, body) {
    const startedAt = performance.now();
    const seconds = () => `${((performance.now() - startedAt) / MS_PER_SECOND).toFixed(1)} s`;
    try {
      const figures = await body();
      this.#passed += 1;
      process.stdout.write(`ok      ${name}  (${[seconds(), figures].filter(Boolean).join('; ')})\n`);
      return true;
    } catch (error) {
      this.#failures.push(`${name}: ${error.message.split('\n')[0]}`);
      process.stdout.write(`FAILED  ${name}  (${seconds()})\n${error.stack}\n`);
      return false;
    }
  }

  /** Of a step that all later ones need: those are not run, and that is a failure. */
  async need(name, body) {
    if (!(await this.run(name, body))) throw new StoppedError(name);
  }

  /** The end of the log, where it is read first. */
  print() {
    for (const line of this.#failures) process.stdout.write(`failed: ${line}\n`);
    process.stdout.write(`${this.#passed} passed, ${this.#failures.length} failed\n`);
    if (this.#failures.length > 0 || this.#passed === 0) process.exitCode = 1;
  }
}

export class StoppedError extends Error {}

/** @throws Error that names both values when they differ */
export function expectEqual(actual, expected, what) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: expected ${right}, got ${left}`);
}

export function expectTrue(holds, what) {
  if (!holds) throw new Error(what);
}
