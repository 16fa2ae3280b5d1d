// Message ids as the relay dialect writes them.

/** The id of a long-poll answer as `time:tag`. */
export function idOf(answer) {
  const seconds = Date.parse(answer.header('Last-Modified')) / 1000;
  if (!Number.isInteger(seconds)) throw new Error(`no usable Last-Modified: ${answer.header('Last-Modified')}`);
  return `${seconds}:${answer.header('Etag')}`;
}

/** The headers that ask for what follows this answer. */
export const after = (answer) => ({
  'If-Modified-Since': answer.header('Last-Modified'),
  'If-None-Match': answer.header('Etag'),
});

export const httpDate = (seconds) => new Date(seconds * 1000).toUTCString();

/** The two headers for a joined id. */
export function ifHeaders(id) {
  const colon = id.indexOf(':');
  return { 'If-Modified-Since': httpDate(Number(id.slice(0, colon))), 'If-None-Match': id.slice(colon + 1) };
}

/** Compares two ids of one channel. */
export function idOrder(a, b) {
  const [at, ag] = a.split(':').map(Number);
  const [bt, bg] = b.split(':').map(Number);
  return at - bt || ag - bg;
}
