/**
 * What the engine's reader of CSV passes over or says in words of its own, looked for by the byte: a space beside the quotes of a cell, which it
 * drops, and lines that end in different ways.
 */
import { createReadStream } from 'node:fs';
import { invalidArgument } from '../../common/app-error.js';

const READ_BYTES = 64 * 1_024;
const [NEWLINE, RETURN, SPACE, QUOTE] = [10, 13, 32, 34];

/** What may stand between cells; which of them, the first line tells: the first in this order that is in it outside of quotes. */
export const DELIMITERS = [',', ';', '\t', '|'] as const;
export type Delimiter = (typeof DELIMITERS)[number];

/** @param line names of columns */
export function delimiterIn(line: string): Delimiter {
  const bare = line.replace(/"(?:[^"]|"")*"/g, '');
  return DELIMITERS.find((delimiter) => bare.includes(delimiter)) ?? ',';
}

/** First lines that end in each way, counted from 1. */
export interface LineEnds {
  lf: number | undefined;
  crlf: number | undefined;
}

type Place = 'start' | 'spaces' | 'bare' | 'quoted' | 'after quotes';

/** @throws AppError INVALID_ARGUMENT for a space before or after the quotes of a cell */
export async function checkCsvText(csv: string, delimiter: Delimiter): Promise<LineEnds> {
  const between = delimiter.charCodeAt(0);
  const ends: LineEnds = { lf: undefined, crlf: undefined };
  let place: Place = 'start';
  let line = 1;
  let before = 0;
  for await (const chunk of createReadStream(csv, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    for (const byte of chunk) {
      if (byte === NEWLINE) {
        if (place !== 'quoted') ends[before === RETURN ? 'crlf' : 'lf'] ??= line;
        line += 1;
      }
      if ((byte === QUOTE && place === 'spaces') || (byte === SPACE && place === 'after quotes')) throw strayQuotes(line);
      place = placeAfter(byte, place, between);
      before = byte;
    }
  }
  return ends;
}

function placeAfter(byte: number, place: Place, between: number): Place {
  // Two quotes within quotes are one of the text: the cell seems to end at the first and goes on at the second.
  if (place === 'quoted') return byte === QUOTE ? 'after quotes' : 'quoted';
  if (byte === QUOTE) return place === 'bare' ? 'bare' : 'quoted';
  if (byte === between || byte === NEWLINE || byte === RETURN) return 'start';
  return byte === SPACE && place !== 'bare' ? 'spaces' : 'bare';
}

function strayQuotes(line: number): Error {
  return invalidArgument(
    `line ${line} of the CSV has a space beside the quotes of a cell; leave the space out, or put it inside of the quotes`,
  );
}

/** @throws AppError INVALID_ARGUMENT when both ways are there */
export function assertOneLineEnd({ lf, crlf }: LineEnds): void {
  if (lf !== undefined && crlf !== undefined)
    throw invalidArgument(
      `the lines of the CSV end in different ways: line ${lf} with LF, line ${crlf} with CR LF; give all of them the same line end`,
    );
}
