/**
 * Compiled programs, kept for the next graph of the same form.
 *
 * A graph is first compiled with its constants written in. When another one comes that differs from it in constants
 * alone (a learning rate that changes, the number of a step), those that differ become inputs of a second program,
 * which serves all graphs that differ in no others: numbers compile at most twice.
 *
 * @module
 */
import { arrangeOperands } from "./compiler/arrange.ts";
import type { Backend, Executable } from "./compiler/backend.ts";
import { fuse } from "./compiler/fuse.ts";
import { type Kernel, kernelKey, type Program } from "./compiler/kernel.ts";
import { plan } from "./compiler/plan.ts";
import { printProgram } from "./compiler/print.ts";
import { computedAgain, computedOnce } from "./compiler/recompute.ts";
import { mergeRows } from "./compiler/rows.ts";
import { splitReductions } from "./compiler/split.ts";
import { debugLevel } from "./debug.ts";
import type { DType } from "./dtype.ts";
import { type Graph, printGraph, withConstantsAsInputs } from "./graph.ts";
import { Recent } from "./recent.ts";

/** Progress of a compilation: kernels done, kernels in all. */
export type CompileProgress = (done: number, total: number) => void;

let compileProgress: CompileProgress | undefined;

/** Calls `listener` while programs are compiled (undefined: no more). The first call of a large step takes seconds. */
export function onCompile(listener: CompileProgress | undefined): void {
  compileProgress = listener;
}

/** The passes of the compiler, one after another. */
export function lower(graph: Graph, backend: Pick<Backend, "packsOperands" | "reductions">): Program {
  const once = computedOnce(graph);
  const buffers = once.graph.nodes.length;
  const fused = fuse(once.graph, { packsOperands: backend.packsOperands });
  const merged = mergeRows(fused, new Set(once.graph.outputs), backend.reductions);
  const arranged = arrangeOperands(computedAgain(graph, once, merged), buffers);
  return plan(once.graph, splitReductions(arranged, backend.reductions, buffers));
}

/** A program for a graph. */
export interface Prepared {
  readonly executable: Executable;
  /** What the inputs that follow those of the graph are to hold: constants that vary. */
  readonly scalars: readonly { readonly value: number; readonly dtype: DType }[];
}

/** A program for the graphs of one form in which some constants have certain values, and the others any. */
interface Variant {
  readonly executable: Executable;
  readonly launches: number;
  /** Values of all constants of the graph that it was compiled for. */
  readonly values: readonly number[];
  /** Numbers of the constants that are inputs. */
  readonly varying: readonly number[];
}

/** The programs of a form: the first with all constants written in, the second with those that were seen to vary. */
interface Variants {
  readonly first: Variant;
  second?: Variant | undefined;
}

/** Programs that are kept: this many, with this many launches together. */
const mostPrograms = 256;
const mostLaunches = 50_000;

/** The programs of a device, the one that was used last at the end. */
class Programs {
  readonly #byForm = new Recent<string, Variants>(mostPrograms, ({ first, second }) => {
    this.#drop(first);
    this.#drop(second);
  });
  #launches = 0;

  constructor(readonly backend: Backend) {}

  prepare(graph: Graph): Prepared {
    const { form, constants } = graph;
    const values = constants.map(({ value }) => value);
    let variants = this.#byForm.get(form);
    if (variants?.first.executable.failure ?? variants?.second?.executable.failure) {
      // Whoever asks again has it tried again.
      this.#byForm.drop(form);
      variants = undefined;
    }
    let fitting = variants &&
      [variants.first, variants.second].find((variant) =>
        variant !== undefined && differing(variant, values).every((k) => variant.varying.includes(k))
      );
    if (fitting === undefined) {
      const varying = variants === undefined ? [] : seenToVary(variants, values);
      fitting = this.#compile(graph, values, varying);
      if (variants === undefined) variants = { first: fitting };
      else {
        this.#drop(variants.second);
        variants.second = fitting;
      }
    }
    this.#byForm.set(form, variants!);
    // What is asked for now is never dropped.
    while (this.#launches > mostLaunches && this.#byForm.size > 1) this.#byForm.dropOldest();
    return {
      executable: fitting.executable,
      scalars: fitting.varying.map((k) => ({
        value: values[k]!,
        dtype: graph.nodes[constants[k]!.place]!.dtype,
      })),
    };
  }

  #compile(graph: Graph, values: readonly number[], varying: readonly number[]): Variant {
    const { executable, launches } = compile(
      varying.length === 0 ? graph : withConstantsAsInputs(graph, varying),
      this.backend,
    );
    this.#launches += launches;
    return { executable, launches, values, varying };
  }

  #drop(variant: Variant | undefined): void {
    if (variant === undefined) return;
    this.#launches -= variant.launches;
    variant.executable.release();
  }
}

/** Numbers of the constants that have another value in a program. */
function differing(variant: Variant, values: readonly number[]): number[] {
  return values.flatMap((value, k) => Object.is(value, variant.values[k]) ? [] : [k]);
}

/** Numbers of the constants that differ from those of earlier graphs of the form, or did so before. */
function seenToVary({ first, second }: Variants, values: readonly number[]): number[] {
  return [...new Set([...differing(first, values), ...second?.varying ?? []])].sort((a, b) => a - b);
}

const programs = new WeakMap<Backend, Programs>();

/** A program for a graph on a device, compiled unless there is one that fits. */
export function prepare(graph: Graph, backend: Backend): Prepared {
  let own = programs.get(backend);
  if (own === undefined) programs.set(backend, own = new Programs(backend));
  return own.prepare(graph);
}

/** Compiles a graph for a device. */
function compile(graph: Graph, backend: Backend): { executable: Executable; launches: number } {
  const program = lower(graph, backend);
  const level = debugLevel();
  if (level >= 3) console.error(printGraph(graph));
  if (level >= 1) console.error(printProgram(program));
  if (level >= 4) {
    console.error(distinctKernels(program).map((kernel) => backend.describe(kernel)).join("\n\n"));
  }
  const executable = backend.compile(program, compileProgress);
  return {
    executable: level >= 2 ? timed(executable, backend) : executable,
    launches: program.launches.length,
  };
}

function distinctKernels(program: Program): Kernel[] {
  return [...new Map(program.launches.map(({ kernel }) => [kernelKey(kernel), kernel])).values()];
}

/** An executable that prints the time of every launch. */
function timed(executable: Executable, backend: Backend): Executable {
  return {
    get failure() {
      return executable.failure;
    },
    run(inputs, outputs) {
      executable.run(inputs, outputs);
      backend.profile(executable, inputs, outputs).then((times) => {
        const total = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
        const rows = times.map(({ label, milliseconds }) =>
          `${milliseconds.toFixed(3).padStart(10)} ms  ${label}`
        );
        console.error(`${rows.join("\n")}\n${total.toFixed(3).padStart(10)} ms  in ${times.length} kernels`);
      });
    },
    release: () => executable.release(),
  };
}
