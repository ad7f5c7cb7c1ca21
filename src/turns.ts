/**
 * Turns of the event loop. A read of results that are there already comes back without one, so that a program which
 * does nothing but await tensors would stop its own timers, signals and servers, and the finalisers that free tensors.
 *
 * @module
 */
import { setImmediate } from "node:timers";

/** Milliseconds without a turn after which the next read gives one; a turn takes about 0.01 ms. */
const patience = 4;

let lastTurn = performance.now();

/** Lets everything else run that waits for the event loop. */
export async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
  lastTurn = performance.now();
}

/** A turn, if the last was long ago; undefined if it was not. */
export function turnIfDue(): Promise<void> | undefined {
  return performance.now() - lastTurn < patience ? undefined : turn();
}

const ballastBytes = 256 * 2 ** 20;
const mostBallast = 24;

/** Tells when an object was found to be garbage. */
const garbage = new FinalizationRegistry<() => void>((tell) => tell());

/** Has the garbage collector work until it has found what became garbage now, and `isEnough` holds. */
async function collection(isEnough: () => boolean): Promise<void> {
  let isFound = false;
  garbage.register({}, () => isFound = true);
  const ballast: ArrayBuffer[] = [];
  for (let k = 0; k < mostBallast && !(isFound && isEnough()); k++) {
    try {
      ballast.push(new ArrayBuffer(ballastBytes));
    } catch (error) {
      // Where addresses are short, the collector knows.
      if (!(error instanceof RangeError)) throw error;
    }
    await turn();
  }
}

/**
 * Has the garbage collector look for tensors that nobody can reach, and lets their finalisers run. It knows nothing of the
 * memory of devices, but of array buffers, whose pages cost nothing until they are touched: some that are held for a moment
 * bring it to work.
 *
 * @param liveBytes What tensors hold now. When that becomes less, those that nobody can reach have been found; until then
 * the collector may have looked at young objects alone.
 */
export async function collectGarbage(liveBytes: () => number): Promise<void> {
  const before = liveBytes();
  await collection(() => liveBytes() < before);
  // The first collection may have begun when some of what is garbage now was not.
  await collection(() => true);
}
