/** Everything the demo prints. Colours and a moving bar only where a person watches. */
import { styleText } from 'node:util';

const NUMBER = /^-?\d+(\.\d+)?$/;
const isWatched = process.stdout.isTTY && !process.env.NO_COLOR;

export class Screen {
  #Table;
  #progress;

  /** @param Table cli-table3 @param progress cli-progress */
  constructor(Table, progress) {
    this.#Table = Table;
    this.#progress = progress;
  }

  say(line) {
    process.stdout.write(`${line}\n`);
  }

  title(line) {
    this.say(`\n${styled('bold', line)}`);
  }

  integer(value) {
    return Math.round(value).toLocaleString('en');
  }

  verdict(isGood, line, detail) {
    this.say(`${styled(isGood ? 'green' : 'red', line)}  ${styled('gray', `(${detail})`)}`);
  }

  /** Numbers stand at the right, as in any table of figures. */
  table({ columns, rows }) {
    const style = { head: isWatched ? ['cyan'] : [], border: isWatched ? ['gray'] : [], compact: true };
    const formats = columns.map((column) => formatFor(rows.map((row) => row[column])));
    const table = new this.#Table({
      head: columns.map((column) => column.replaceAll('_', ' ')),
      colAligns: formats.map(({ align }) => align),
      style,
    });
    for (const row of rows) table.push(columns.map((column, index) => formats[index].print(row[column])));
    this.say(table.toString());
  }

  /** A bar over `total` rows; without a terminal only its end is printed. */
  progressBar(label, total) {
    const name = label.padEnd(18);
    const format = `${name}{bar} {percentage}% | {value}/{total} rows | {speed} rows/s`;
    const bar = isWatched
      ? new this.#progress.SingleBar({ format, hideCursor: true, clearOnComplete: true }, this.#progress.Presets.shades_classic)
      : undefined;
    bar?.start(total, 0, { speed: '-' });
    const startedAt = performance.now();
    return {
      update: (rows) => bar?.update(Math.round(rows), { speed: this.integer((rows / (performance.now() - startedAt)) * 1_000) }),
      finish: (summary) => {
        bar?.update(total);
        bar?.stop();
        this.say(`${name}${this.integer(total).padStart(11)} rows  ${summary}`);
      },
    };
  }
}

/** Within a column all numbers have as many decimals, and thousands are separated as soon as one has five digits. */
function formatFor(values) {
  const present = values.filter((value) => value !== null);
  const orNothing = (print) => (value) => (value === null ? '' : print(value));
  if (!present.every((value) => NUMBER.test(value))) return { align: 'left', print: orNothing(String) };
  const decimals = Math.max(0, ...present.map((value) => String(value).split('.')[1]?.length ?? 0));
  const useGrouping = present.some((value) => Math.abs(value) >= 10_000);
  const style = { minimumFractionDigits: decimals, maximumFractionDigits: decimals, useGrouping };
  return { align: 'right', print: orNothing((value) => Number(value).toLocaleString('en', style)) };
}

function styled(style, text) {
  return isWatched ? styleText(style, text) : text;
}
