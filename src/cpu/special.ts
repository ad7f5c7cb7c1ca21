/**
 * The kernels that are not folds: running sums, sorting and scattering.
 *
 * @module
 */
import type { Cumulative, Scatter, Sort } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local, Operand } from "./assembler.ts";
import { startKernel } from "./codegen_module.ts";
import type { Features, GeneratedKernel } from "./protocol.ts";

/** Elements that a chunk walks over, roughly. */
const chunkElements = 32768;

/** Items of equal length to a chunk. */
function itemsPerChunk(items: number, elementsOfItem: number): { size: number; chunks: number } {
  const size = Math.max(1, Math.floor(chunkElements / Math.max(1, elementsOfItem)));
  return { size, chunks: Math.ceil(items / size) };
}

/** Runs `body` for the items of the chunks begin … end − 1. */
function forItems(
  f: FunctionBuilder,
  begin: Local,
  end: Local,
  size: number,
  items: number,
  body: (item: Local) => void,
): void {
  const item = f.local("i32");
  const first = f.get(begin).i32(size).op("i32.mul").keep("i32");
  const last = minimum(f, f.get(end).i32(size).op("i32.mul").keep("i32"), items);
  f.range(item, first, last, 1, () => body(item));
}

function minimum(f: FunctionBuilder, a: Operand, b: Operand): Local {
  return f.push(a).push(b).push(a).push(b).op("i32.lt_s").op("select").keep("i32");
}

/** base + 4 · index. */
function elementAddress(f: FunctionBuilder, base: Local, index: () => void): Local {
  f.get(base);
  index();
  return f.i32(2).op("i32.shl").op("i32.add").keep("i32");
}

/**
 * Running sums: an item is one column, or two (f32, summed in float64) or four (integers) neighbouring
 * columns where their number allows.
 */
export function generateCumulative(kernel: Cumulative, features: Features): GeneratedKernel {
  const { outer, size, innerSize } = kernel;
  const isFloat = kernel.inputs[0] === "f32";
  const lanes = innerSize % (isFloat ? 2 : 4) === 0 ? (isFloat ? 2 : 4) : 1;
  const groups = innerSize / lanes;
  const plan = itemsPerChunk(outer * groups, size);
  const { module, vector, begin, end, addresses } = startKernel(features, 2);
  const { f } = vector;
  const load = lanes === 4 ? "v128.load" : lanes === 2 ? "v128.load64_zero" : "v128.load32_zero";
  forItems(f, begin, end, plan.size, outer * groups, (item) => {
    const start = (): void => {
      f.get(item).i32(groups).op("i32.div_u").i32(size * innerSize).op("i32.mul");
      f.get(item).i32(groups).op("i32.rem_u").i32(lanes).op("i32.mul").op("i32.add");
    };
    const from = elementAddress(f, addresses[0]!, start);
    const to = elementAddress(f, addresses[1]!, start);
    const [sum, value, k] = [f.local("v128"), f.local("v128"), f.local("i32")];
    f.i32x4(0).set(sum);
    f.range(k, 0, size, 1, () => {
      f.get(sum).get(from).load(load);
      if (isFloat) f.op("f64x2.promote_low_f32x4").op("f64x2.add").tee(sum).op("f32x4.demote_f64x2_zero");
      else f.op("i32x4.add").tee(sum);
      f.set(value).get(to).get(value);
      if (lanes === 4) f.store("v128.store");
      else f.loadLane(lanes === 2 ? "v128.store64_lane" : "v128.store32_lane", 0);
      f.increase(from, 4 * innerSize);
      f.increase(to, 4 * innerSize);
    });
  });
  return { bytes: module.bytes(), phases: [plan.chunks], scratchBytes: 0, workspaceBytes: 0 };
}

/**
 * Stable argsort: each element becomes a number of 64 bits, a key that sorts as the element does above its
 * index, and rows of those are merged bottom up in the workspace.
 */
export function generateSort(kernel: Sort, features: Features): GeneratedKernel {
  const { rows, size } = kernel;
  const plan = itemsPerChunk(rows, size * Math.ceil(Math.log2(size + 1)));
  const { module, vector, begin, end, workspace, addresses } = startKernel(features, 2);
  const { f } = vector;
  const chunks = size === 0 ? 0 : plan.chunks;
  forItems(f, begin, end, plan.size, rows, (row) => {
    const rowStart = (): void => void f.get(row).i32(size).op("i32.mul");
    const [from, to] = [
      elementAddress(f, addresses[0]!, rowStart),
      elementAddress(f, addresses[1]!, rowStart),
    ];
    const source = f.get(workspace).keep("i32");
    const target = f.get(workspace).i32(8 * size).op("i32.add").keep("i32");
    const k = f.local("i32");
    f.range(k, 0, size, 1, () => {
      f.get(source).get(k).i32(3).op("i32.shl").op("i32.add");
      f.get(from).get(k).i32(2).op("i32.shl").op("i32.add");
      sortKey(f, kernel);
      f.op("i64.extend_i32_u").i64(32n).op("i64.shl").get(k).op("i64.extend_i32_u").op("i64.or");
      f.load("i64.store");
    });
    const width = f.i32(8).keep("i32"); // in bytes, like the positions below
    f.while(() => f.get(width).i32(8 * size).op("i32.lt_u"), () => {
      mergePairs(f, source, target, 8 * size, width);
      f.get(width).i32(1).op("i32.shl").set(width);
      f.get(source).get(target).set(source).set(target);
    });
    f.range(k, 0, size, 1, () => {
      f.get(to).get(k).i32(2).op("i32.shl").op("i32.add");
      f.get(source).get(k).i32(3).op("i32.shl").op("i32.add").load("i64.load").op("i32.wrap_i64");
      f.load("i32.store");
    });
  });
  return { bytes: module.bytes(), phases: [chunks], scratchBytes: 0, workspaceBytes: 16 * size };
}

/** [address] -> a u32 that sorts as the element there. */
function sortKey(f: FunctionBuilder, { inputs: [dtype], descending }: Sort): void {
  if (dtype !== "f32") {
    f.load("i32.load");
    if (dtype === "i32") f.i32(-0x80000000).op("i32.xor");
    if (descending) f.i32(-1).op("i32.xor");
    return;
  }
  const x = f.load("f32.load").f32(0).op("f32.add").keep("f32"); // −0 becomes 0
  const bits = f.get(x).op("i32.reinterpret_f32").keep("i32");
  // Negative numbers sort backwards by their bits: flip all of them, and the sign alone of the others.
  f.get(bits).get(bits).i32(31).op("i32.shr_s").i32(-0x80000000).op("i32.or").op("i32.xor");
  if (descending) f.i32(-1).op("i32.xor");
  f.i32(-1).get(x).get(x).op("f32.eq").op("select"); // NaN last
}

/** Merges neighbouring sorted runs of `width` bytes of `source` into `target`. */
function mergePairs(f: FunctionBuilder, source: Local, target: Local, bytes: number, width: Local): void {
  const begin = f.i32(0).keep("i32");
  const entry = (position: Local): FunctionBuilder =>
    f.get(source).get(position).op("i32.add").load("i64.load");
  f.while(() => f.get(begin).i32(bytes).op("i32.lt_u"), () => {
    const middle = minimum(f, f.get(begin).get(width).op("i32.add").keep("i32"), bytes);
    const end = minimum(f, f.get(middle).get(width).op("i32.add").keep("i32"), bytes);
    const left = f.get(begin).keep("i32");
    const right = f.get(middle).keep("i32");
    f.range(begin, begin, end, 8, () => {
      f.get(target).get(begin).op("i32.add");
      // The left one, unless its run is finished or the right one (if any is left) is smaller.
      f.get(left).get(middle).op("i32.ge_u").if(() => f.i32(0), () => {
        f.get(right).get(end).op("i32.ge_u").if(() => f.i32(1), () => {
          entry(left);
          entry(right);
          f.op("i64.le_u");
        }, "i32");
      }, "i32");
      f.if(() => {
        entry(left);
        f.increase(left, 8);
      }, () => {
        entry(right);
        f.increase(right, 8);
      }, "i64");
      f.load("i64.store");
    });
  });
}

/**
 * Scatter: an item is a block of columns of one outer index, copied and then updated in the order of the
 * indices, so that no two threads touch one element and the order is always the same.
 */
export function generateScatter(kernel: Scatter, features: Features): GeneratedKernel {
  const { outer, size, count, innerSize, mode } = kernel;
  // Blocks of columns begin at cache lines.
  const wanted = Math.ceil(chunkElements / Math.max(1, size + count) / 16) * 16;
  const width = Math.min(innerSize, wanted);
  const blocks = innerSize === 0 ? 0 : Math.ceil(innerSize / width);
  const items = outer * blocks;
  const plan = itemsPerChunk(items, (size + count) * width);
  const { module, vector, begin, end, addresses } = startKernel(features, 4);
  const [source, indices, updates, target] = addresses;
  const { f } = vector;
  if (items > 0) {
    forItems(f, begin, end, plan.size, items, (item) => {
      const o = f.get(item).i32(blocks).op("i32.div_u").keep("i32");
      const first = f.get(item).i32(blocks).op("i32.rem_u").i32(width).op("i32.mul").keep("i32");
      const last = minimum(f, f.get(first).i32(width).op("i32.add").keep("i32"), innerSize);
      /** The number of element [o, row, column] of an array with `rows` rows. */
      const element = (rows: number, row: Operand, column: Local) => (): void => {
        f.get(o).i32(rows).op("i32.mul").push(row).op("i32.add").i32(innerSize).op("i32.mul").get(column).op(
          "i32.add",
        );
      };
      const [row, m, column] = [f.local("i32"), f.local("i32"), f.local("i32")];
      f.range(row, 0, size, 1, () => {
        const [to, from] = [target!, source!].map((base) =>
          elementAddress(f, base, element(size, row, first))
        );
        f.get(to!).get(from!).get(last).get(first).op("i32.sub").i32(2).op("i32.shl").copy();
      });
      f.range(m, 0, count, 1, () => {
        f.range(column, first, last, 1, () => {
          const index = f.get(elementAddress(f, indices!, element(count, m, column))).load("i32.load").keep(
            "i32",
          );
          f.get(index).i32(size).op("i32.lt_u").if(() => {
            const to = elementAddress(f, target!, element(size, index, column));
            const update = elementAddress(f, updates!, element(count, m, column));
            if (mode === "set") f.get(to).get(update).load("i32.load").load("i32.store");
            else if (kernel.inputs[0] === "f32") {
              f.get(to).get(to).load("f32.load").get(update).load("f32.load").op("f32.add").load("f32.store");
            } else {
              f.get(to).get(to).load("i32.load").get(update).load("i32.load").op("i32.add").load("i32.store");
            }
          });
        });
      });
    });
  }
  return { bytes: module.bytes(), phases: [plan.chunks], scratchBytes: 0, workspaceBytes: 0 };
}
