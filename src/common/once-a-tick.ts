/**
 * Lets all callers within one tick share one reading. The metrics of a scrape are collected within one tick, so they share it; another scrape, even one
 * that starts while this one is under way, gets a reading of its own, which is never older than its request.
 */
export function onceATick<T>(read: () => T): () => T {
  let kept: { readonly value: T } | undefined;
  return () => {
    if (!kept) {
      kept = { value: read() };
      queueMicrotask(() => (kept = undefined));
    }
    return kept.value;
  };
}
