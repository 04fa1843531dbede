import { expect, it } from '@jest/globals';
import { counted } from './counted.js';

it.each([
  [0, '0 rows'],
  [1, '1 row'],
  [2, '2 rows'],
])('%i takes its noun as "%s"', (count, text) => {
  expect(counted(count, 'row')).toBe(text);
});
