/**
 * What the main thread and the workers of the cpu device agree on: the shape of a generated kernel and the
 * layout of the shared memory through which programs are handed over.
 *
 * A worker that sits in `Atomics.wait` receives no message, so everything goes through shared memory: a
 * program is a descriptor of `i32` words, every run of it is a record of words, and records form a linked
 * list that the workers follow. All addresses are byte addresses in the one shared memory, stored as the 32
 * bits of an unsigned number.
 *
 * @module
 */

/** What the engine can do beyond WebAssembly SIMD. */
export interface Features {
  /** Fused multiply-add of four floats (`f32x4.relaxed_madd`). */
  readonly relaxedSimd: boolean;
}

/**
 * A kernel as WebAssembly. The module imports the shared memory as `env.memory` and exports
 *
 *     run(begin: i32, end: i32, args: i32, phase: i32, workspace: i32)
 *
 * which does the chunks `begin ≤ chunk < end` of one phase. `args` is the address of i32 words: the addresses
 * of the inputs, of the outputs, and of `scratchBytes` of memory shared by all threads of the launch.
 * `workspace` is the address of `workspaceBytes` of the calling thread's own memory. Both are aligned to 64
 * bytes and their content is undefined at the start of a launch. A kernel of one phase may leave out the last
 * two parameters.
 */
export interface GeneratedKernel {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Chunks of each phase (at least one phase); every thread has finished a phase before the next one begins. */
  readonly phases: readonly number[];
  readonly scratchBytes: number;
  readonly workspaceBytes: number;
}

/** The exported function of a kernel. */
export type RunKernel = (begin: number, end: number, args: number, phase: number, workspace: number) => void;

/** What a new thread gets. */
export interface ThreadData {
  readonly memory: WebAssembly.Memory;
  /** Its number, from 0. */
  readonly thread: number;
  readonly threads: number;
}

/** Pages of 64 KiB that a 32-bit WebAssembly memory can have. */
export const maximumPages = 65536;

/** Alignment of everything in shared memory: one cache line. */
export const alignment = 64;

/** Kernels may read (and ignore) up to this many bytes before the start and behind the end of a buffer. */
export const slackBytes = 1024;

/** Turns of a waiting loop before a thread sleeps (longer than a launch, shorter than a scheduler's slice). */
export const spinTurns = 20_000;

/** Words of the control block at the start of memory; each has a cache line of its own. */
export const control = {
  /** Number of finished runs. The main thread awaits it, */
  completed: 16,
  /** and is woken when this many are finished. */
  wanted: 24,
  /** Number of barriers passed. */
  generation: 32,
  /** Threads that have reached the present barrier. */
  arrived: 48,
  /** Threads asleep at the present barrier. */
  sleeping: 64,
  /** What the engine said of the first failure that the main thread has not taken yet: 0, or 1 while it is written, or 2. */
  failure: 80,
  /** The first record: it runs nothing, its `next` leads to the first run. */
  firstRecord: 352,
  /** How many chunks of each thread's share of the present phase are taken: a cache line for each thread. */
  taken: 512,
} as const;

/** Most threads of a device. */
export const mostThreads = 256;
/** Words of a cache line. */
export const lineWords = 16;

/** Words of the failure, from `control.failure`: state, number of the run, launch, bytes of the message, message. */
export const failure = { run: 1, launch: 2, length: 3, message: 4, maximumBytes: 1024 } as const;

/** First byte of memory that the allocator hands out. */
export const heapStart = 4 * (control.taken + lineWords * mostThreads);

/** Words of a run's record. */
export const record = {
  /** Address of the next record, 0 while there is none. Threads sleep on it. */
  next: 0,
  /** Address of the program. */
  program: 1,
  /** Number of the run, counted from 1. */
  number: 2,
  /** One of `task`. */
  task: 3,
  /** Address of one f64 (milliseconds) per launch and one more, 0 = not wanted. */
  times: 4,
  /** Address of the threads' workspaces. */
  workspaces: 5,
  /** Number of a launch that failed, counted from 1; 0 while none has. */
  failed: 6,
  /** The argument words of all launches. */
  args: 7,
} as const;

/**
 * What a record asks for: to run a program, to compile its kernels, or to forget kernels, whose count and numbers stand in the
 * place of arguments.
 */
export const task = { run: 0, compile: 1, forget: 2 } as const;

/**
 * Words of a program: the number of launches, the bytes of one thread's workspace, then for every launch
 * kernel number, address and length of its bytes, offset of its argument words in the record, number of
 * phases, and the chunks of each phase.
 */
export const program = { launches: 0, workspaceBytes: 1, first: 2 } as const;

/** Rounds a number of bytes up to the alignment. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}
