/** JSON calls over one kept-alive connection, so that a query's time is not a connection's. */
import { createWriteStream } from 'node:fs';
import http from 'node:http';
import { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

/** @returns the answer's text; throws with it unless the status is a success */
export async function callText(url, method, path, body, moreHeaders = {}) {
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const headers = {
    ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }),
    ...moreHeaders,
  };
  const request = http.request(url + path, { method, headers, agent });
  const answered = responseOf(request);
  request.end(bytes);
  return successOf(await answered, `${method} ${path}`);
}

/** Streams a body of newline-delimited JSON. */
export function postLines(url, path, body, length) {
  return postBody(url, path, body, length, 'application/x-ndjson');
}

export async function postBody(url, path, body, length, mediaType) {
  const request = http.request(url + path, {
    method: 'POST',
    headers: { 'content-type': mediaType, 'content-length': length },
    agent,
  });
  const answered = responseOf(request);
  const [response] = await Promise.all([answered, pipeline(body, request)]);
  return successOf(response, `POST ${path}`);
}

/** The whole result of a statement in a format, to a file, or read and forgotten. */
export async function download(url, mediaType, sql, file) {
  const body = Buffer.from(JSON.stringify({ sql }));
  const headers = { 'content-type': 'application/json', 'content-length': body.length, accept: mediaType };
  const request = http.request(`${url}/v1/query`, { method: 'POST', headers, agent });
  const answered = responseOf(request);
  request.end(body);
  const response = await answered;
  if (response.statusCode !== 200) await successOf(response, 'POST /v1/query');
  await pipeline(response, file === undefined ? new Writable({ write: (_chunk, _encoding, done) => done() }) : createWriteStream(file));
}

function responseOf(request) {
  return new Promise((resolve, reject) => request.once('response', resolve).once('error', reject));
}

async function successOf(response, what) {
  const answer = await text(response);
  if (response.statusCode >= 200 && response.statusCode < 300) return answer;
  throw new Error(`${what} answered ${response.statusCode}: ${answer}`);
}
