/** Up to where rows are durable and visible: written by the write path, read by whoever pins a table. */
export class VisibleLsn {
  value = 0;
}
