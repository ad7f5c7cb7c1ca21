/**
 * How a contraction is cut up. Everything follows from the kernel alone, so that sums are always taken in
 * the same order.
 *
 * The output is covered by register tiles of a few rows by a few vectors of columns; the operands are packed
 * into panels of the same heights and widths, [panel][inner][position], which the inner loop reads in order.
 * The inner axes are cut into blocks that fit the first-level cache, rows and columns into blocks that fit
 * the second. A chunk is one block of rows by one of columns of one batch item. Where the output is small
 * and the sum long (gradients of weights), the sum is cut into parts that are added in a last phase.
 *
 * @module
 */
import { type Contraction, type Expr, points } from "../compiler/kernel.ts";
import { dependsOn, formsOf, guardsOf, join, type JoinedAxis, loadsOf } from "./contraction_axes.ts";
import { aligned } from "./protocol.ts";

/** An operand: what it depends on, and where its panels are made. */
export interface OperandPlan {
  readonly value: Expr;
  /** The batch axes that it depends on, as they are and joined, and their points. */
  readonly batchAxes: readonly JoinedAxis[];
  readonly batch: readonly JoinedAxis[];
  readonly batches: number;
  /** Its row or column axes. */
  readonly across: readonly JoinedAxis[];
  readonly inner: readonly JoinedAxis[];
  /** Four values that are neighbours in memory lie along the inner axes. */
  readonly alongInner: boolean;
  /** Read where it lies; packed once, by a phase of its own, into scratch; or by every chunk into its workspace. */
  readonly place: "direct" | "shared" | "own";
  /** If direct: its load, and the bytes from one position and from one inner point to the next. */
  readonly direct: DirectOperand | undefined;
  /** Panels that one chunk of the packing phase makes, and the number of such chunks. */
  readonly panelsPerChunk: number;
  readonly chunks: number;
  /** Offset of the panels in scratch or workspace. */
  readonly offset: number;
}

/** An operand that is one load without guards, of one axis across and one inner axis. */
export interface DirectOperand {
  readonly load: Expr & { readonly kind: "load" };
  readonly positionBytes: number;
  readonly innerBytes: number;
}

/** Rows or columns with their operand. */
interface Side {
  readonly axes: readonly JoinedAxis[];
  readonly value: Expr;
}

/** A partition of panels into blocks of nearly equal size. */
export interface Blocks {
  readonly panels: number;
  readonly blocks: number;
}

/** The schedule of a contraction. Rows and columns may be those of the kernel, or exchanged. */
export interface ContractionPlan {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** Rows of a tile: the first `tall` row panels have `height` rows, the others one less. */
  readonly height: number;
  readonly tall: number;
  /** Columns of a tile, a multiple of 4. */
  readonly width: number;
  readonly rowBlocks: Blocks;
  readonly columnBlocks: Blocks;
  /** Parts of the sum, inner points of a part, and of a block within a part. */
  readonly parts: number;
  readonly partDepth: number;
  readonly depth: number;
  readonly left: OperandPlan;
  readonly right: OperandPlan;
  /** Axes as the stores see them. */
  readonly storeBatch: readonly JoinedAxis[];
  readonly storeRows: readonly JoinedAxis[];
  readonly storeColumns: readonly JoinedAxis[];
  /** Offset of the unfinished tiles: in scratch if there are several parts, else in the workspace. */
  readonly tiles: number;
  readonly phases: readonly number[];
  readonly scratchBytes: number;
  readonly workspaceBytes: number;
}

const innerBlock = 512;
const secondLevelBytes = 256 * 1024;
const sharedLimitBytes = 64 * 1024 * 1024;
/** Chunks wanted at least, so that many threads have work. */
const wantedChunks = 24;
/** Products of a chunk below which cutting gains nothing. */
const smallestChunk = 2 ** 18;
/** Vectors of columns per tile for each height, so that sums, columns and one row value fit 16 registers. */
const vectorsPerHeight = [0, 8, 4, 3, 2, 2];

/** Decides the schedule. */
export function planContraction(kernel: Contraction): ContractionPlan {
  const number = numberAxes(kernel);
  const storeForms = formsOf([], kernel.stores);
  const sides = {
    rows: { axes: number.rows, value: kernel.left },
    columns: { axes: number.columns, value: kernel.right },
  };
  if (prefersExchange(kernel, number)) [sides.rows, sides.columns] = [sides.columns, sides.rows];
  const [batches, inner] = [points(kernel.batch), points(kernel.inner)];
  const [rows, columns] = [sides.rows, sides.columns].map((side) => product(side.axes)) as [number, number];

  const leftDirect = directOperand(sides.rows, number.inner);
  const rightDirect = directOperand(sides.columns, number.inner);
  // Rows a multiple of the page size apart hinder each other in the cache.
  const aliased = leftDirect !== undefined && rows > 1 && leftDirect.positionBytes % 4096 === 0;
  const readsLeft = leftDirect?.innerBytes === 4 && columns <= (aliased ? 16 : 192);
  const rowPanels = Math.ceil(rows / (readsLeft ? 4 : 5));
  const height = Math.ceil(rows / Math.max(rowPanels, 1));
  const tall = rows - rowPanels * (height - 1);
  const width = 4 * Math.min(vectorsPerHeight[height]!, Math.ceil(columns / 4));
  const columnPanels = width === 0 ? 0 : Math.ceil(columns / width);

  const innerBlocks = inner <= 1.25 * innerBlock ? 1 : Math.ceil(inner / innerBlock);
  const firstDepth = Math.ceil(inner / innerBlocks);
  const panelsIn = (size: number): number =>
    Math.max(1, Math.floor(secondLevelBytes / (firstDepth * size * 4)));
  let rowBlocks = blocks(rowPanels, Math.ceil(rowPanels / panelsIn(height)));
  let columnBlocks = blocks(columnPanels, Math.ceil(columnPanels / panelsIn(width)));
  const tilesAtOnce = (): number => batches * rowBlocks.blocks * columnBlocks.blocks;
  let parts = 1;
  if (tilesAtOnce() > 0 && tilesAtOnce() < wantedChunks / 2 && inner >= 4 * innerBlock) {
    parts = Math.min(Math.ceil(wantedChunks / tilesAtOnce()), Math.floor(inner / innerBlock));
  }
  const partDepth = Math.ceil(inner / parts);
  const depth = Math.ceil(
    partDepth / (partDepth <= 1.25 * innerBlock ? 1 : Math.ceil(partDepth / innerBlock)),
  );
  while (tilesAtOnce() > 0 && tilesAtOnce() * parts < wantedChunks) {
    const size = (rows / rowBlocks.blocks) * (columns / columnBlocks.blocks) * partDepth;
    const [down, over] = [rowBlocks, columnBlocks].map(({ panels, blocks }) => Math.floor(panels / blocks));
    if (size < 2 * smallestChunk || Math.max(down!, over!) < 4) break;
    if (over! * width >= down! * height) columnBlocks = blocks(columnPanels, columnBlocks.blocks * 2);
    else rowBlocks = blocks(rowPanels, rowBlocks.blocks * 2);
  }

  let [scratchBytes, workspaceBytes] = [0, 0];
  const inScratch = (bytes: number): number => (scratchBytes += aligned(bytes)) - aligned(bytes);
  const inWorkspace = (bytes: number): number => (workspaceBytes += aligned(bytes)) - aligned(bytes);
  const operand = (
    direct: DirectOperand | undefined,
    side: Side,
    size: number,
    own: Blocks,
    other: Blocks,
  ): OperandPlan => {
    const forms = formsOf([side.value]);
    const batch = number.batch.filter(({ axis }) => dependsOn(forms, axis));
    const depends = product(batch);
    const bytes = depends * own.panels * size * inner * 4;
    const across = join(side.axes, forms);
    const innerAxes = join(number.inner, forms);
    const reused = other.blocks > 1 || depends < batches;
    const place = direct ? "direct" : reused && bytes <= sharedLimitBytes ? "shared" : "own";
    const panelsPerChunk = Math.max(1, Math.round(16384 / Math.max(1, inner * size)));
    const chunks = place === "shared" ? depends * Math.ceil(own.panels / panelsPerChunk) : 0;
    // A whole panel is written even where only some of its columns exist.
    const blockBytes = (Math.ceil(own.panels / own.blocks) * size * depth + size) * 4;
    const offset = place === "direct" ? 0 : place === "shared" ? inScratch(bytes) : inWorkspace(blockBytes);
    const alongInner = prefersInner(side.value, across, innerAxes);
    return {
      value: side.value,
      batchAxes: batch,
      batch: join(batch, forms),
      batches: depends,
      across,
      inner: innerAxes,
      alongInner,
      place,
      direct,
      panelsPerChunk,
      chunks,
      offset,
    };
  };
  // Packing gains nothing where every value is used once or twice.
  const readsRight = rightDirect?.positionBytes === 4 && rowPanels <= 2;
  const left = operand(readsLeft ? leftDirect : undefined, sides.rows, height, rowBlocks, columnBlocks);
  const right = operand(readsRight ? rightDirect : undefined, sides.columns, width, columnBlocks, rowBlocks);

  const tileBytes = height * width * 4;
  const allTiles = batches * rowPanels * columnPanels;
  const blockTiles = Math.ceil(rowPanels / rowBlocks.blocks) * Math.ceil(columnPanels / columnBlocks.blocks);
  const tiles = parts > 1
    ? inScratch(parts * allTiles * tileBytes)
    : inWorkspace((depth < partDepth ? blockTiles : 1) * tileBytes);
  // Where parts are added, one tile is put together in the workspace.
  if (parts > 1) workspaceBytes = Math.max(workspaceBytes, aligned(tileBytes));
  const computing = tilesAtOnce() * parts;
  return {
    batches,
    rows,
    columns,
    inner,
    height,
    tall,
    width,
    rowBlocks,
    columnBlocks,
    parts,
    partDepth,
    depth,
    left,
    right,
    storeBatch: join(number.batch, storeForms),
    storeRows: join(sides.rows.axes, storeForms),
    storeColumns: join(sides.columns.axes, storeForms),
    tiles,
    phases: [
      ...(left.chunks + right.chunks > 0 ? [left.chunks + right.chunks] : []),
      computing,
      ...(parts > 1 ? [allTiles] : []),
    ],
    scratchBytes,
    workspaceBytes,
  };
}

/** The axes of each group under their numbers in affine forms. */
function numberAxes(kernel: Contraction): Record<"batch" | "rows" | "columns" | "inner", JoinedAxis[]> {
  let next = 0;
  const group = (sizes: readonly number[]): JoinedAxis[] => sizes.map((size) => ({ axis: next++, size }));
  return {
    batch: group(kernel.batch),
    rows: group(kernel.rows),
    columns: group(kernel.columns),
    inner: group(kernel.inner),
  };
}

/** Whether the roles of rows and columns are better exchanged: vectors run along columns. */
function prefersExchange(kernel: Contraction, number: ReturnType<typeof numberAxes>): boolean {
  const [rows, columns] = [product(number.rows), product(number.columns)];
  if (columns < 4 && rows >= 2 * columns) return true;
  if (rows < 4) return false;
  const contiguous = (axes: readonly JoinedAxis[]): number => {
    const last = axes.findLast(({ size }) => size !== 1);
    return last ? kernel.stores.filter(({ at }) => at.coefficients[last.axis] === 1).length : 0;
  };
  return contiguous(number.rows) > contiguous(number.columns);
}

function directOperand({ value, axes }: Side, innerAxes: readonly JoinedAxis[]): DirectOperand | undefined {
  if (value.kind !== "load" || value.dtype !== "f32" || value.guards.length > 0) return undefined;
  const forms = formsOf([value]);
  const [across, inner] = [join(axes, forms), join(innerAxes, forms)];
  if (across.length > 1 || inner.length > 1) return undefined;
  const bytes = ([axis]: readonly JoinedAxis[]): number =>
    4 * (axis ? value.at.coefficients[axis.axis] ?? 0 : 0);
  const [positionBytes, innerBytes] = [bytes(across), bytes(inner)];
  return positionBytes < 0 || innerBytes < 0 ? undefined : { load: value, positionBytes, innerBytes };
}

/** Whether more loads are contiguous along the inner axes than across. */
function prefersInner(value: Expr, across: readonly JoinedAxis[], inner: readonly JoinedAxis[]): boolean {
  const badness = (axes: readonly JoinedAxis[]): number => {
    const last = axes.at(-1);
    if (!last) return Infinity;
    const strided = loadsOf([value]).filter(({ at }) => ![0, 1].includes(at.coefficients[last.axis] ?? 0));
    const guarded = guardsOf([value]).filter(({ form }) => (form.coefficients[last.axis] ?? 0) !== 0);
    // Short axes and guards along the lanes leave few whole vectors.
    return strided.length * 8 + guarded.length + (last.size < 4 ? 16 : 0);
  };
  return badness(inner) < badness(across);
}

function blocks(panels: number, count: number): Blocks {
  return { panels, blocks: Math.min(Math.max(count, 1), Math.max(panels, 1)) };
}

function product(axes: readonly JoinedAxis[]): number {
  return points(axes.map(({ size }) => size));
}
