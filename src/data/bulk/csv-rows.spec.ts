import { describe, expect, it } from '@jest/globals';
import { csvOrigin } from './csv-rows.js';

describe('the line of a row', () => {
  it.each([
    [[], [2, 3, 4]],
    [[2], [3, 4, 5]],
    [[3], [2, 4, 5]],
    [
      [2, 3, 5],
      [4, 6, 7],
    ],
    [
      [4, 6],
      [2, 3, 5, 7],
    ],
  ])('with broken lines %j', (broken, lines) => {
    const originOf = csvOrigin(broken);
    expect(lines.map((_, index) => originOf(index + 1))).toEqual(lines);
  });
});
