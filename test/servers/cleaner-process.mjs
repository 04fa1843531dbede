/**
 * Waits for the end of the process that started it and then ends that process's servers and removes their folders. The end shows as the
 * end of standard input, whatever its cause: a normal exit, Ctrl-C, SIGKILL, a crash. Without anything to clean it just ends, too.
 *
 * Standard input: one JSON object per line, {"process": PID} or {"directory": PATH}, and the same with "done": true when it is gone.
 */
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const processes = new Set();
const directories = new Set();

// They are meant for the tests; what they start goes when they have gone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => undefined);

for await (const line of createInterface({ input: process.stdin })) {
  const { process: pid, directory, done } = JSON.parse(line);
  const [known, one] = pid === undefined ? [directories, directory] : [processes, pid];
  if (done) known.delete(one);
  else known.add(one);
}
for (const pid of processes) kill(pid);
// A killed process may still be writing for a moment, hence the retries.
for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
