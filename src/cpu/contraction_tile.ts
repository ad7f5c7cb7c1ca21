/**
 * The inner loop of a contraction: one tile of rows by columns whose sums stay in registers while it reads
 * packed panels, and the finish, which hands the sums of a tile to the kernel's stores.
 *
 * @module
 */
import type { Contraction } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local } from "./assembler.ts";
import { guardsOf, Position } from "./contraction_axes.ts";
import type { ContractionPlan } from "./contraction_plan.ts";
import { Emitter } from "./expression.ts";
import { limit, loadBuffers, writeExact, writeTests } from "./pack.ts";
import { type Library, Vector } from "./vector.ts";

/** Inner points per turn of the loop. */
const unrolled = 4;

/**
 * The function `(sums, left, right, count, more)`: adds `count` products per element to the tile at `sums`
 * ([height][width] f32), which counts as zero unless `more`.
 */
export function writeTile(library: Library, height: number, width: number): FunctionBuilder {
  const f = library.module.func("tile", ["i32", "i32", "i32", "i32", "i32"], []);
  const [sums, left, right, count, more] = f.params as [Local, Local, Local, Local, Local];
  const vector = new Vector(f, library);
  const vectors = width / 4;
  const total = Array.from({ length: height * vectors }, () => f.local("v128"));
  const columns = Array.from({ length: vectors }, () => f.local("v128"));
  const row = f.local("v128");

  const step = (offset: number): void => {
    columns.forEach((column, v) => {
      f.get(right).load("v128.load", offset * width * 4 + 16 * v).set(column);
    });
    for (let r = 0; r < height; r++) {
      f.get(left).load("v128.load32_splat", (offset * height + r) * 4).set(row);
      columns.forEach((column, v) => {
        const sum = total[r * vectors + v]!;
        f.get(row);
        vector.multiplyAdd(() => f.get(column), () => f.get(sum));
        f.set(sum);
      });
    }
  };
  const steps = (size: number): void => {
    f.while(() => f.get(count).i32(size).op("i32.ge_s"), () => {
      for (let k = 0; k < size; k++) step(k);
      f.increase(left, size * height * 4).increase(right, size * width * 4).increase(count, -size);
    });
  };

  f.get(more).if(() => {
    total.forEach((sum, k) => f.get(sums).load("v128.load", 16 * k).set(sum));
  });
  steps(unrolled);
  steps(1);
  total.forEach((sum, k) => f.get(sums).get(sum).store("v128.store", 16 * k));
  return f;
}

/**
 * The function `(args, batch, rowStart, rowEnd, column, sums)`: runs the stores for the rows
 * `rowStart ≤ row < rowEnd` and up to a tile's width of columns from `column` on.
 */
export function writeFinish(library: Library, kernel: Contraction, plan: ContractionPlan): FunctionBuilder {
  const f = library.module.func("finish", ["i32", "i32", "i32", "i32", "i32", "i32"], []);
  const [args, batch, rowStart, rowEnd, column, sums] = f.params as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const values = kernel.stores.map((store) => store.value);
  const emitter = new Emitter(new Vector(f, library), loadBuffers(f, args, kernel), values);
  const positions = {
    batch: new Position(f, plan.storeBatch),
    rows: new Position(f, plan.storeRows),
    columns: new Position(f, plan.storeColumns),
  };
  const [end, count, pointer, row] = Array.from({ length: 4 }, () => f.local("i32")) as [
    Local,
    Local,
    Local,
    Local,
  ];
  const sum = f.local("v128");
  const accumulator = { local: sum, lanes: true };
  const store = (): void => kernel.stores.forEach((store) => emitter.store(store));

  positions.batch.decode(batch);
  f.get(column).i32(plan.width).op("i32.add").set(end);
  limit(f, end, () => f.i32(plan.columns));
  emitter.scope({ axes: positions.batch.values }, () => {
    f.while(() => f.get(column).get(end).op("i32.lt_s"), () => {
      positions.columns.decode(column);
      positions.columns.remaining();
      f.set(count);
      limit(f, count, () => f.get(end).get(column).op("i32.sub"));
      limit(f, count, () => f.i32(4));
      f.get(rowStart).set(row);
      positions.rows.decode(row);
      f.get(sums).set(pointer);
      emitter.scope({ axes: positions.columns.values, loop: true }, () => {
        f.while(() => f.get(row).get(rowEnd).op("i32.lt_s"), () => {
          f.get(pointer).load("v128.load").set(sum);
          emitter.scope({ axes: positions.rows.values, loop: true }, () => {
            f.get(count).i32(4).op("i32.eq");
            writeTests(emitter, guardsOf(values), positions.columns);
            f.if(
              () => emitter.scope({ axes: positions.columns.lanes(), accumulator }, store),
              () => {
                const exact = writeExact(f, count);
                emitter.scope({ axes: positions.columns.lanes(), accumulator, exact }, store);
              },
            );
          });
          f.increase(pointer, plan.width * 4).increase(row, 1);
          positions.rows.advance(1);
        });
      });
      f.get(count).i32(2).op("i32.shl").get(sums).op("i32.add").set(sums);
      f.increase(column, count);
    });
  });
  return f;
}
