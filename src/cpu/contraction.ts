/**
 * Contractions as WebAssembly: a packing phase for what several chunks share, the products, and where the
 * sum is cut into parts a phase that adds them (the schedule is in contraction_plan.ts).
 *
 * @module
 */
import type { Contraction } from "../compiler/kernel.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "./assembler.ts";
import {
  type Blocks,
  carriedBlocks,
  type ContractionPlan,
  type OperandPlan,
  planContraction,
} from "./contraction_plan.ts";
import { Position } from "./contraction_axes.ts";
import { writeCarry, writeFinish, writeTile } from "./contraction_tile.ts";
import { writePack } from "./pack.ts";
import { type Features, type GeneratedKernel, maximumPages } from "./protocol.ts";
import { Library } from "./vector.ts";

/** Generates a contraction. */
export function generateContraction(kernel: Contraction, features: Features): GeneratedKernel {
  const plan = planContraction(kernel);
  const module = new ModuleBuilder({ memory: { shared: true, maximumPages } });
  if (plan.batches * plan.rows * plan.columns === 0) {
    module.func("run", ["i32", "i32", "i32"], [], true);
    return { bytes: module.bytes(), phases: [0], scratchBytes: 0, workspaceBytes: 0 };
  }
  new Generator(kernel, plan, new Library(module, features)).write();
  const { phases, scratchBytes, workspaceBytes } = plan;
  return { bytes: module.bytes(), phases, scratchBytes, workspaceBytes };
}

/** A row panel height with the functions for it. */
interface Height {
  readonly height: number;
  readonly pack: FunctionBuilder | undefined;
  readonly tile: FunctionBuilder;
}

class Generator {
  readonly #kernel: Contraction;
  readonly #plan: ContractionPlan;
  readonly #library: Library;

  constructor(kernel: Contraction, plan: ContractionPlan, library: Library) {
    this.#kernel = kernel;
    this.#plan = plan;
    this.#library = library;
  }

  write(): void {
    const plan = this.#plan;
    const { left, right, height, tall, rowBlocks, width } = plan;
    const withHeight = (height: number): Height => ({
      height,
      pack: left.direct ? undefined : writePack(this.#library, this.#kernel, left, height),
      tile: writeTile(this.#library, {
        height,
        width,
        rowBytes: left.direct?.positionBytes,
        rightInnerBytes: right.direct?.innerBytes ?? 4 * width,
        sumBytes: 4 * width * plan.strip,
        chain: plan.chain,
      }),
    });
    const high = withHeight(height);
    const low = tall < rowBlocks.panels ? withHeight(height - 1) : high;
    const packRight = right.direct ? undefined : writePack(this.#library, this.#kernel, right, width);
    const packLeft = left.direct ? undefined : this.#writePackLeft(high, low);
    const finish = writeFinish(this.#library, this.#kernel, plan);
    const carry = plan.totals === undefined ? undefined : writeCarry(this.#library);
    const compute = this.#writeCompute({ high, low, packLeft, packRight, carry, finish });
    const add = plan.parts > 1 ? this.#writeAdd(finish) : undefined;
    const pack = left.chunks + right.chunks > 0 ? this.#writePackPhase(packLeft, packRight) : undefined;

    const phases = [pack, compute, add].filter((phase) => phase !== undefined);
    const f = this.#library.module.func("run", ["i32", "i32", "i32", "i32", "i32"], [], true);
    const [begin, end, args, phase, workspace] = f.params as [Local, Local, Local, Local, Local];
    const scratch = f.get(args).load(
      "i32.load",
      4 * (this.#kernel.inputs.length + this.#kernel.outputs.length),
    )
      .keep("i32");
    f.range(begin, begin, end, 1, () => {
      phases.forEach((callee, k) => {
        f.get(phase).i32(k).op("i32.eq").if(() => {
          f.get(begin).get(args).get(scratch).get(workspace).call(callee);
        });
      });
    });
  }

  /** One of the functions `(chunk, args, scratch, workspace)`. */
  #phase(name: string): { f: FunctionBuilder; chunk: Local; args: Local; scratch: Local; workspace: Local } {
    const f = this.#library.module.func(name, ["i32", "i32", "i32", "i32"], []);
    const [chunk, args, scratch, workspace] = f.params as [Local, Local, Local, Local];
    return { f, chunk, args, scratch, workspace };
  }

  /** The function `(args, batch, panelStart, panelEnd, innerStart, innerEnd, destination)` for both heights. */
  #writePackLeft(high: Height, low: Height): FunctionBuilder {
    const f = this.#library.module.func("packLeft", ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], []);
    const [args, batch, start, end, innerStart, innerEnd, destination] = f.params as [
      Local,
      Local,
      Local,
      Local,
      Local,
      Local,
      Local,
    ];
    const { tall } = this.#plan;
    const [row, middle, rowEnd] = [f.local("i32"), f.local("i32"), f.local("i32")];
    this.#rowOf(f, start).set(row);
    this.#rowOf(f, end).set(rowEnd);
    // Rows before the first panel of the lower height.
    f.get(rowEnd).set(middle);
    limitTo(f, middle, tall * high.height);
    const pack = (height: Height, from: Local, to: Local): void => {
      f.get(args).get(batch).get(from).get(to).get(innerStart).get(innerEnd).get(destination);
      f.call(height.pack!);
    };
    f.get(row).get(middle).op("i32.lt_s").if(() => {
      pack(high, row, middle);
      f.get(middle).get(row).op("i32.sub").get(innerEnd).get(innerStart).op("i32.sub").op("i32.mul");
      f.i32(2).op("i32.shl").get(destination).op("i32.add").set(destination);
      f.get(middle).set(row);
    });
    f.get(row).get(rowEnd).op("i32.lt_s").if(() => pack(low, row, rowEnd));
    return f;
  }

  /** Pushes the first row of a row panel. */
  #rowOf(f: FunctionBuilder, panel: Local): FunctionBuilder {
    const { height, tall, rowBlocks } = this.#plan;
    if (tall >= rowBlocks.panels) return f.get(panel).i32(height).op("i32.mul");
    f.get(panel).i32(height - 1).op("i32.mul");
    f.get(panel).i32(tall).get(panel).i32(tall).op("i32.lt_s").op("select");
    return f.op("i32.add");
  }

  #writePackPhase(
    packLeft: FunctionBuilder | undefined,
    packRight: FunctionBuilder | undefined,
  ): FunctionBuilder {
    const { f, chunk, args, scratch } = this.#phase("packShared");
    const { left, right, rowBlocks, columnBlocks, inner, rows, columns, width } = this.#plan;
    const [batch, first, end] = [f.local("i32"), f.local("i32"), f.local("i32")];
    const write = (operand: OperandPlan, panels: number, write: () => void): void => {
      const groups = Math.ceil(panels / operand.panelsPerChunk);
      f.get(chunk).i32(groups).op("i32.div_u").set(batch);
      f.get(chunk).i32(groups).op("i32.rem_u").i32(operand.panelsPerChunk).op("i32.mul").set(first);
      f.get(first).i32(operand.panelsPerChunk).op("i32.add").set(end);
      limitTo(f, end, panels);
      write();
    };
    const writeLeft = (): void =>
      write(left, rowBlocks.panels, () => {
        f.get(args).get(batch).get(first).get(end).i32(0).i32(inner);
        f.get(batch).i32(rows).op("i32.mul");
        this.#rowOf(f, first).op("i32.add").i32(inner * 4).op("i32.mul");
        f.get(scratch).op("i32.add").i32(left.offset).op("i32.add").call(packLeft!);
      });
    const writeRight = (): void =>
      write(right, columnBlocks.panels, () => {
        f.get(args).get(batch).get(first).i32(width).op("i32.mul");
        f.get(end).i32(width).op("i32.mul").set(end);
        limitTo(f, end, columns);
        f.get(end).i32(0).i32(inner);
        f.get(batch).i32(columnBlocks.panels).op("i32.mul").get(first).op("i32.add");
        f.i32(width * inner * 4).op("i32.mul");
        f.get(scratch).op("i32.add").i32(right.offset).op("i32.add").call(packRight!);
      });
    if (left.chunks === 0) writeRight();
    else if (right.chunks === 0) writeLeft();
    else {
      f.get(chunk).i32(left.chunks).op("i32.lt_s").if(writeLeft, () => {
        f.increase(chunk, -left.chunks);
        writeRight();
      });
    }
    return f;
  }

  /** Pushes the number of an operand's batch item, from that of the whole contraction. */
  #operandBatch(f: FunctionBuilder, batch: Local, operand: OperandPlan): void {
    if (operand.batches === this.#plan.batches) return void f.get(batch);
    f.i32(0);
    let [stride, ownStride] = [1, 1];
    for (const [axis, size] of [...this.#kernel.batch.entries()].reverse()) {
      if (operand.batchAxes.some((own) => own.axis === axis)) {
        f.get(batch).i32(stride).op("i32.div_u").i32(size).op("i32.rem_u").i32(ownStride).op("i32.mul");
        f.op("i32.add");
        ownStride *= size;
      }
      stride *= size;
    }
  }

  /** A local with the address of a direct operand's first element in a batch item. */
  #directStart(f: FunctionBuilder, args: Local, batchIndex: Local, { batch, direct }: OperandPlan): Local {
    if (!direct) return args;
    const { input, at } = direct.load;
    const position = new Position(f, batch);
    position.decode(batchIndex);
    f.get(args).load("i32.load", 4 * input).i32(4 * at.offset).op("i32.add");
    for (const [axis, { local }] of position.values) {
      f.get(local!).i32(4 * (at.coefficients[axis] ?? 0)).op("i32.mul").op("i32.add");
    }
    return f.keep("i32");
  }

  #writeCompute(
    functions: {
      high: Height;
      low: Height;
      packLeft: FunctionBuilder | undefined;
      packRight: FunctionBuilder | undefined;
      carry: FunctionBuilder | undefined;
      finish: FunctionBuilder;
    },
  ): FunctionBuilder {
    const { high, low, packLeft, packRight, carry, finish } = functions;
    const { f, chunk, args, scratch, workspace } = this.#phase("compute");
    const plan = this.#plan;
    const { left, right, rowBlocks, columnBlocks, parts, width, height, inner } = plan;
    const local = (): Local => f.local("i32");
    const digit = (size: number): Local => {
      const value = local();
      f.get(chunk).i32(size).op("i32.rem_u").set(value).get(chunk).i32(size).op("i32.div_u").set(chunk);
      return value;
    };
    const [columnStart, columnEnd] = blockBounds(f, digit(columnBlocks.blocks), columnBlocks);
    const [rowStart, rowEnd] = blockBounds(f, digit(rowBlocks.blocks), rowBlocks);
    const part = digit(parts);
    const batch = chunk;
    const [leftBatch, rightBatch] = [left, right].map((operand) => {
      this.#operandBatch(f, batch, operand);
      return f.keep("i32");
    }) as [Local, Local];

    const [k, partEnd, count, more, end] = [local(), local(), local(), local(), local()];
    const [strip, stripEnd, columnPanel, rowPanel, row] = [local(), local(), local(), local(), local()];
    const [leftAt, rightAt, sums] = [local(), local(), local()];
    f.get(part).i32(plan.partDepth).op("i32.mul").tee(k).i32(plan.partDepth).op("i32.add").set(partEnd);
    limitTo(f, partEnd, inner);
    const firstRow = this.#rowOf(f, rowStart).keep("i32");
    const lastRow = this.#rowOf(f, rowEnd).keep("i32");
    const stripBytes = plan.strip * width * 4;
    const [turn, isCarried, wasCarried] = [local(), local(), local()];
    /** Pushes the number of a row of a strip among those of the block. */
    const rowOfBlock = (): void => {
      f.get(strip).get(columnStart).op("i32.sub").i32(plan.strip).op("i32.div_u");
      f.get(lastRow).get(firstRow).op("i32.sub").op("i32.mul");
      f.get(row).get(firstRow).op("i32.sub").op("i32.add");
    };
    // Pushes the place of the sums of a row panel in a strip: a part's in scratch; else in the workspace, with a
    // place for every row of the block if they wait for more of the sum.
    const sumsAddress = (): void => {
      if (parts > 1) {
        f.get(part).i32(plan.batches).op("i32.mul").get(batch).op("i32.add");
        f.i32(rowBlocks.panels).op("i32.mul").get(rowPanel).op("i32.add");
        f.i32(columnBlocks.panels).op("i32.mul").get(strip).op("i32.add");
        f.i32(height * width * 4).op("i32.mul").get(scratch).op("i32.add");
      } else if (plan.depth < plan.partDepth) {
        rowOfBlock();
        f.i32(stripBytes).op("i32.mul").get(workspace).op("i32.add");
      } else f.get(workspace);
      f.i32(plan.tiles).op("i32.add");
    };
    const leftStart = this.#directStart(f, args, leftBatch, left);
    const rightStart = this.#directStart(f, args, rightBatch, right);
    const leftAddress = ({ height }: Height): void => {
      if (left.direct) {
        f.get(row).i32(left.direct.positionBytes).op("i32.mul");
        f.get(k).i32(left.direct.innerBytes).op("i32.mul").op("i32.add").get(leftStart);
      } else if (left.place === "shared") {
        f.get(leftBatch).i32(plan.rows).op("i32.mul").get(row).op("i32.add").i32(inner).op("i32.mul");
        f.get(k).i32(height).op("i32.mul").op("i32.add").i32(2).op("i32.shl").get(scratch);
      } else {
        f.get(row).get(firstRow).op("i32.sub").get(count).op("i32.mul").i32(2).op("i32.shl").get(workspace);
      }
      f.op("i32.add").i32(left.offset).op("i32.add");
    };
    const rightAddress = (): void => {
      if (right.direct) {
        f.get(columnPanel).i32(width * right.direct.positionBytes).op("i32.mul");
        f.get(k).i32(right.direct.innerBytes).op("i32.mul").op("i32.add").get(rightStart);
      } else if (right.place === "shared") {
        f.get(rightBatch).i32(columnBlocks.panels).op("i32.mul").get(columnPanel).op("i32.add");
        f.i32(inner).op("i32.mul").get(k).op("i32.add").i32(width * 4).op("i32.mul").get(scratch);
      } else {
        f.get(columnPanel).get(columnStart).op("i32.sub").get(count).op("i32.mul");
        f.i32(width * 4).op("i32.mul").get(workspace);
      }
      f.op("i32.add").i32(right.offset).op("i32.add");
    };
    /** The tiles of a row panel in a strip, and what becomes of their sums. */
    const rowOfTiles = (one: Height): void => {
      leftAddress(one);
      f.set(leftAt);
      sumsAddress();
      f.set(sums);
      f.range(columnPanel, strip, stripEnd, 1, () => {
        rightAddress();
        f.set(rightAt);
        f.get(columnPanel).get(strip).op("i32.sub").i32(width * 4).op("i32.mul").get(sums).op("i32.add");
        f.get(leftAt).get(rightAt).get(count).get(more).call(one.tile);
      });
      if (carry) {
        f.get(isCarried).if(() => {
          f.get(sums);
          rowOfBlock();
          f.i32(2 * stripBytes).op("i32.mul").get(workspace).op("i32.add").i32(plan.totals!).op("i32.add");
          f.i32(one.height * stripBytes / 16).get(wasCarried).op("i32.eqz");
          f.get(end).get(partEnd).op("i32.ge_s").call(carry);
        });
      }
      if (parts === 1) {
        f.get(end).get(partEnd).op("i32.ge_s").if(() => {
          f.get(args).get(batch).get(row).get(row).i32(one.height).op("i32.add");
          f.get(strip).i32(width).op("i32.mul").get(stripEnd).i32(width).op("i32.mul").get(sums).call(finish);
        });
      }
      f.increase(row, one.height);
    };

    // One turn at least, so that an empty sum is written as zeros.
    f.loop((again) => {
      f.get(partEnd).get(k).op("i32.sub").set(count);
      limitTo(f, count, plan.depth);
      f.get(k).get(count).op("i32.add").set(end);
      if (carry) {
        f.get(turn).i32(carriedBlocks).op("i32.rem_u").i32(carriedBlocks - 1).op("i32.eq");
        f.get(end).get(partEnd).op("i32.ge_s").op("i32.or").set(isCarried);
      }
      if (left.place === "own") {
        f.get(args).get(leftBatch).get(rowStart).get(rowEnd).get(k).get(end);
        f.get(workspace).i32(left.offset).op("i32.add").call(packLeft!);
      }
      if (right.place === "own") {
        f.get(args).get(rightBatch).get(columnStart).i32(width).op("i32.mul");
        const last = f.get(columnEnd).i32(width).op("i32.mul").keep("i32");
        limitTo(f, last, plan.columns);
        f.get(last).get(k).get(end).get(workspace).i32(right.offset).op("i32.add").call(packRight!);
      }
      f.range(strip, columnStart, columnEnd, plan.strip, () => {
        f.get(strip).i32(plan.strip).op("i32.add").set(stripEnd);
        f.get(stripEnd).get(columnEnd).get(stripEnd).get(columnEnd).op("i32.lt_s").op("select").set(stripEnd);
        f.get(firstRow).set(row);
        f.range(rowPanel, rowStart, rowEnd, 1, () => {
          if (high === low) return rowOfTiles(high);
          f.get(rowPanel).i32(plan.tall).op("i32.lt_s");
          f.if(() => rowOfTiles(high), () => rowOfTiles(low));
        });
      });
      if (carry) {
        f.get(isCarried).op("i32.eqz").set(more);
        f.get(wasCarried).get(isCarried).op("i32.or").set(wasCarried).increase(turn, 1);
      } else f.i32(1).set(more);
      f.get(end).tee(k).get(partEnd).op("i32.lt_s").branchIf(again);
    });
    return f;
  }

  /** Adds the parts of one tile in their order, in float64, and finishes it. */
  #writeAdd(finish: FunctionBuilder): FunctionBuilder {
    const { f, chunk, args, scratch, workspace } = this.#phase("add");
    const { batches, rowBlocks, columnBlocks, parts, width, height, tiles } = this.#plan;
    const tileBytes = height * width * 4;
    const partBytes = batches * rowBlocks.panels * columnBlocks.panels * tileBytes;
    const [source, part, batch, rowPanel, column, next] = Array.from({ length: 6 }, () => f.local("i32")) as [
      Local,
      Local,
      Local,
      Local,
      Local,
      Local,
    ];
    const total = Array.from({ length: tileBytes / 8 }, () => f.local("v128"));
    f.get(chunk).i32(tileBytes).op("i32.mul").get(scratch).op("i32.add").i32(tiles).op("i32.add").set(source);
    f.range(part, 0, parts, 1, () => {
      total.forEach((sum, k) => {
        f.get(source).load("v128.load64_zero", 8 * k).op("f64x2.promote_low_f32x4");
        f.get(sum).op("f64x2.add").set(sum);
      });
      f.increase(source, partBytes);
    });
    for (let k = 0; k < total.length; k += 2) {
      f.get(workspace);
      for (const sum of [total[k]!, total[k + 1]!]) f.get(sum).op("f32x4.demote_f64x2_zero");
      f.shuffle(0, 1, 4, 5).store("v128.store", 8 * k);
    }
    f.get(chunk).i32(columnBlocks.panels).op("i32.rem_u").i32(width).op("i32.mul").set(column);
    f.get(chunk).i32(columnBlocks.panels).op("i32.div_u").tee(batch).i32(rowBlocks.panels).op("i32.rem_u");
    f.set(rowPanel).get(batch).i32(rowBlocks.panels).op("i32.div_u").set(batch);
    f.get(rowPanel).i32(1).op("i32.add").set(next);
    f.get(args).get(batch);
    this.#rowOf(f, rowPanel);
    this.#rowOf(f, next).get(column).get(column).i32(width).op("i32.add").get(workspace).call(finish);
    return f;
  }
}

/** Locals with the first panel of a block and the one behind its last. */
function blockBounds(f: FunctionBuilder, block: Local, { panels, blocks }: Blocks): [Local, Local] {
  const start = f.get(block).i32(panels).op("i32.mul").i32(blocks).op("i32.div_u").keep("i32");
  f.get(block).i32(1).op("i32.add").i32(panels).op("i32.mul").i32(blocks).op("i32.div_u");
  return [start, f.keep("i32")];
}

/** Sets a local to the smaller of itself and a constant. */
function limitTo(f: FunctionBuilder, local: Local, bound: number): void {
  f.get(local).i32(bound).get(local).i32(bound).op("i32.lt_s").op("select").set(local);
}
