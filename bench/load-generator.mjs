/**
 * Closed-loop HTTP load: each of N kept-alive connections sends its next request when the last one is answered. On bare sockets with
 * requests as ready bytes, because on two cores an HTTP client library would take as much CPU as the server it measures.
 */
import { once } from 'node:events';
import net from 'node:net';

const HEAD_END = Buffer.from('\r\n\r\n');

/**
 * @param {object} load
 * @param {string} load.url of the server
 * @param {number} load.connections
 * @param {number} load.seconds
 * @param {() => Buffer} load.nextRequest complete bytes of one request
 * @returns {Promise<{answered: number, seconds: number, latenciesMs: number[], refused: number, firstRefusal: string | undefined, statuses: Map<number, number>}>}
 * `statuses` has the number of answers of each status
 */
export async function runLoad({ url, connections, seconds, nextRequest }) {
  const { hostname, port } = new URL(url);
  const result = { answered: 0, seconds: 0, latenciesMs: [], refused: 0, firstRefusal: undefined, statuses: new Map() };
  const startedAt = performance.now();
  const stopAt = startedAt + seconds * 1_000;
  await Promise.all(
    Array.from({ length: connections }, () => runConnection(net.connect(Number(port), hostname), stopAt, nextRequest, result)),
  );
  result.seconds = (performance.now() - startedAt) / 1_000;
  return result;
}

async function runConnection(socket, stopAt, nextRequest, result) {
  socket.setNoDelay(true);
  await once(socket, 'connect');
  await new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    let sentAt = 0;
    const send = () => {
      sentAt = performance.now();
      socket.write(nextRequest());
    };
    socket.on('data', (bytes) => {
      received = received.length === 0 ? bytes : Buffer.concat([received, bytes]);
      if (!isComplete(received)) return;
      count(received, sentAt, result);
      received = Buffer.alloc(0);
      if (performance.now() < stopAt) send();
      else resolve();
    });
    socket.once('error', reject).once('close', () => reject(new Error('the server closed a connection')));
    send();
  });
  socket.destroy();
}

function isComplete(received) {
  const headEnd = received.indexOf(HEAD_END);
  if (headEnd < 0) return false;
  const [, length] = /\r\ncontent-length: (\d+)/i.exec(received.latin1Slice(0, headEnd)) ?? [];
  if (length === undefined) throw new Error('the load generator reads only answers with a Content-Length');
  return received.length >= headEnd + HEAD_END.length + Number(length);
}

function count(received, sentAt, result) {
  result.latenciesMs.push(performance.now() - sentAt);
  const status = Number(received.latin1Slice(9, 12));
  result.statuses.set(status, (result.statuses.get(status) ?? 0) + 1);
  if (status >= 200 && status < 300) result.answered += 1;
  else {
    result.refused += 1;
    result.firstRefusal ??= received.toString();
  }
}
