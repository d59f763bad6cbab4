/**
 * One turn of the event loop. Eager backends finish their promises at once, so that a long chain would let no timer, progress
 * display or Ctrl-C through.
 */
export const nextTurn = (): Promise<void> =>
  new Promise((resolve) => void (typeof setImmediate === 'function' ? setImmediate(resolve) : setTimeout(resolve, 0)));
