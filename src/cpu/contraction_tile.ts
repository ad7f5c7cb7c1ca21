/**
 * The inner loop of a contraction: one tile of rows by columns whose sums stay in registers while it reads
 * packed panels, and the finish, which hands the sums of a tile to the kernel's stores.
 *
 * @module
 */
import type { Contraction } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local } from "./assembler.ts";
import { allGuards, Position } from "./contraction_axes.ts";
import type { ContractionPlan } from "./contraction_plan.ts";
import { Emitter } from "./expression.ts";
import type { ScopeOptions } from "./expression_scopes.ts";
import { limit, loadBuffers, writeExact, writeTests } from "./pack.ts";
import { type Library, Vector } from "./vector.ts";

/** Inner points per turn of the loop: one vector of a row. */
const unrolled = 4;

/** Size of a tile, and how its operands lie in memory. */
export interface TileShape {
  readonly height: number;
  readonly width: number;
  /** Bytes between the rows of the left operand, if it is read where it lies; otherwise it is a panel. */
  readonly rowBytes: number | undefined;
  /** Bytes between inner points of the right operand; its columns are neighbours. */
  readonly rightInnerBytes: number;
  /** Bytes between the rows of the sums. */
  readonly sumBytes: number;
  /** Most products that are added up in registers before they are added to the sums in memory. */
  readonly chain: number;
}

/**
 * The function `(sums, left, right, count, more)`: adds `count` products per element to the tile at `sums`,
 * which counts as zero unless `more`.
 *
 * The engine checks the bounds of every access, which costs more than a shuffle. So values of the left
 * operand are read four at a time and spread from registers.
 */
export function writeTile(library: Library, shape: TileShape): FunctionBuilder {
  const { height, width, rowBytes, rightInnerBytes, sumBytes, chain } = shape;
  const f = library.module.func("tile", ["i32", "i32", "i32", "i32", "i32"], []);
  const [sums, left, right, count, more] = f.params as [Local, Local, Local, Local, Local];
  const vector = new Vector(f, library);
  const vectors = width / 4;
  const total = Array.from({ length: height * vectors }, () => f.local("v128"));
  const block = f.local("i32");
  const leftInnerBytes = rowBytes === undefined ? height * 4 : 4;
  const sumAt = (k: number): number => Math.floor(k / vectors) * sumBytes + 16 * (k % vectors);
  const spread = (four: Local, lane: number): Local =>
    f.get(four).get(four).shuffle(lane, lane, lane, lane).keep();

  /** Adds the products of inner point `k` after the pointers; `loadRow` gives four copies of a row's value. */
  const step = (k: number, loadRow: (row: number) => Local): void => {
    const loadColumn = (v: number): Local =>
      f.get(right).load("v128.load", k * rightInnerBytes + 16 * v).keep();
    const add = (row: number, v: number, x: Local, y: Local): void => {
      const sum = total[row * vectors + v]!;
      f.get(x);
      vector.multiplyAdd(() => f.get(y), () => f.get(sum));
      f.set(sum);
    };
    // The shorter side of the tile stays in registers while the longer one is read value by value.
    if (height < vectors) {
      const rows = Array.from({ length: height }, (_, row) => loadRow(row));
      for (let v = 0; v < vectors; v++) {
        const column = loadColumn(v);
        rows.forEach((row, r) => add(r, v, row, column));
      }
    } else {
      const columns = Array.from({ length: vectors }, (_, v) => loadColumn(v));
      for (let r = 0; r < height; r++) {
        const row = loadRow(r);
        columns.forEach((column, v) => add(r, v, row, column));
      }
    }
  };
  const advance = (by: number): void => {
    f.increase(left, by * leftInnerBytes).increase(right, by * rightInnerBytes).increase(block, -by);
  };
  const addBlock = (): void => {
    for (const sum of total) f.f32x4(0).set(sum);
    f.while(() => f.get(block).i32(unrolled).op("i32.ge_s"), () => {
      const load = (offset: number): Local => f.get(left).load("v128.load", offset).keep();
      if (rowBytes === undefined) {
        // The values of four inner points are one stream.
        let four: Local;
        for (let k = 0; k < unrolled; k++) {
          step(k, (row) => {
            const index = k * height + row;
            if (index % 4 === 0) four = load(4 * index);
            return spread(four, index % 4);
          });
        }
      } else {
        const rows = Array.from({ length: height }, (_, row) => load(row * rowBytes));
        for (let k = 0; k < unrolled; k++) step(k, (row) => spread(rows[row]!, k));
      }
      advance(unrolled);
    });
    f.while(() => f.get(block), () => {
      step(0, (row) => f.get(left).load("v128.load32_splat", row * (rowBytes ?? 4)).keep());
      advance(1);
    });
    f.get(more).if(() => {
      total.forEach((sum, k) => f.get(sums).load("v128.load", sumAt(k)).get(sum).op("f32x4.add").set(sum));
    });
    total.forEach((sum, k) => f.get(sums).get(sum).store("v128.store", sumAt(k)));
  };

  f.loop((again) => {
    f.get(count).i32(chain).get(count).i32(chain).op("i32.lt_s").op("select").set(block);
    f.get(count).get(block).op("i32.sub").set(count);
    addBlock();
    f.i32(1).set(more);
    f.get(count).branchIf(again);
  });
  return f;
}

/**
 * The function `(sums, totals, vectors, first, last)`: adds f32 sums, four to a vector, to their totals in float64,
 * which count as zero if it is the `first` time. The `last` time the totals become the sums instead.
 */
export function writeCarry(library: Library): FunctionBuilder {
  const f = library.module.func("carry", ["i32", "i32", "i32", "i32", "i32"], []);
  const [sums, totals, vectors, first, last] = f.params as [Local, Local, Local, Local, Local];
  const [low, high] = [f.local("v128"), f.local("v128")];
  f.while(() => f.get(vectors), () => {
    const sum = f.get(sums).load("v128.load").keep();
    f.get(sum).op("f64x2.promote_low_f32x4").set(low);
    f.get(sum).get(sum).shuffle(2, 3, 2, 3).op("f64x2.promote_low_f32x4").set(high);
    f.get(first).op("i32.eqz").if(() => {
      f.get(totals).load("v128.load").get(low).op("f64x2.add").set(low);
      f.get(totals).load("v128.load", 16).get(high).op("f64x2.add").set(high);
    });
    f.get(last).if(() => {
      f.get(sums).get(low).op("f32x4.demote_f64x2_zero").get(high).op("f32x4.demote_f64x2_zero");
      f.shuffle(0, 1, 4, 5).store("v128.store");
    }, () => {
      f.get(totals).get(low).store("v128.store").get(totals).get(high).store("v128.store", 16);
    });
    f.increase(sums, 16).increase(totals, 32).increase(vectors, -1);
  });
  return f;
}

/**
 * The function `(args, batch, rowStart, rowEnd, columnStart, columnEnd, sums)`: runs the stores for the rows
 * `rowStart ≤ row < rowEnd` and the columns up to `columnEnd`, if there are so many. Row after row, so that results
 * which are neighbours in memory are written together.
 */
export function writeFinish(library: Library, kernel: Contraction, plan: ContractionPlan): FunctionBuilder {
  const f = library.module.func("finish", ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], []);
  const [args, batchIndex, row, rowEnd, columnStart, columnEnd, sums] = f.params as Local[];
  const values = kernel.stores.map((store) => store.value);
  const emitter = new Emitter(new Vector(f, library), loadBuffers(f, args!, kernel), values);
  const batch = new Position(f, plan.storeBatch);
  const rows = new Position(f, plan.storeRows);
  const columns = new Position(f, plan.storeColumns);
  const [column, pointer, count, line] = Array.from({ length: 4 }, () => f.local("i32")) as Local[];
  const guards = allGuards(values);
  const isGuarded = guards.some(({ form }) => columns.stepOf(form) !== 0);

  const store = (options: ScopeOptions, offset = 0): void => {
    const local = f.get(pointer!).load("v128.load", offset).keep();
    emitter.scope({ ...options, accumulator: { local, lanes: true } }, () => {
      kernel.stores.forEach((store) => emitter.store(store));
    });
  };
  const advance = (by: Local | number): void => {
    f.get(pointer!).push(by).i32(2).op("i32.shl").op("i32.add").set(pointer!);
    f.increase(column!, by);
    columns.advance(by);
  };
  /** Two whole vectors at a time, as long as they lie in one line. */
  const wholeVectors = (): void => {
    f.while(() => f.get(line!).i32(8).op("i32.ge_s"), () => {
      const first = columns.copyLast();
      for (const plus of [0, 4]) store({ axes: columns.lanes(first, plus) }, 4 * plus);
      advance(8);
      f.increase(line!, -8);
    });
  };
  const upToFour = (): void => {
    f.get(line!).set(count!);
    limit(f, count!, () => f.i32(4));
    f.get(count!).i32(4).op("i32.eq");
    writeTests(emitter, guards, columns, 4);
    f.if(() => store({ axes: columns.lanes(columns.copyLast()) }), () => {
      const exact = writeExact(f, count!);
      store({ axes: columns.lanes(columns.copyLast()), exact });
    });
    advance(count!);
  };

  limit(f, columnEnd!, () => f.i32(plan.columns));
  batch.decode(batchIndex!);
  rows.decode(row!);
  emitter.scope({ axes: batch.values }, () => {
    f.while(() => f.get(row!).get(rowEnd!).op("i32.lt_s"), () => {
      f.get(columnStart!).set(column!).get(sums!).set(pointer!);
      columns.decode(column!);
      emitter.scope({ axes: rows.values, loop: true }, () => {
        f.while(() => f.get(column!).get(columnEnd!).op("i32.lt_s"), () => {
          emitter.scope({ axes: columns.values, loop: true }, () => {
            columns.remaining();
            f.set(line!);
            limit(f, line!, () => f.get(columnEnd!).get(column!).op("i32.sub"));
            if (isGuarded) upToFour();
            else f.get(line!).i32(8).op("i32.ge_s").if(wholeVectors, upToFour);
          });
        });
      });
      f.increase(sums!, 4 * plan.width * plan.strip).increase(row!, 1);
      rows.advance(1);
    });
  });
  return f;
}
