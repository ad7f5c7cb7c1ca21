// Finding the weights of a model in what training programs save.
import { assertEquals, assertThrows } from "@std/assert";
import { type ArrayEntry, FileFormatError, findStateDict, type WeightTree } from "../src/io/mod.ts";

const w: ArrayEntry = { shape: [1], dtype: "f32", data: Float32Array.of(1) };
const v: ArrayEntry = { shape: [1], dtype: "f32", data: Float32Array.of(2) };
const counter: ArrayEntry = { shape: [], dtype: "i64", data: BigInt64Array.of(5n) };

function names(tree: WeightTree, key?: string): string[] {
  return [...findStateDict(tree, key === undefined ? {} : { key }).keys()];
}

Deno.test("findStateDict() removes what wrappers add to names", () => {
  const wrapped: WeightTree[] = [
    { "module.a.b": w, "module.c": w },
    { "module.module.a.b": w, "module.module.c": w },
    { "_orig_mod.a.b": w, "_orig_mod.c": w },
    { "module._orig_mod.a.b": w, "module._orig_mod.c": w },
    { "_orig_mod.module.a.b": w, "_orig_mod.module.c": w },
    { "_orig_mod._orig_mod.a.b": w, "_orig_mod.c": w },
    { "a._orig_mod.b": w, c: w },
    { "_fsdp_wrapped_module.a._fsdp_wrapped_module.b": w, "_fsdp_wrapped_module.c": w },
    { "a._checkpoint_wrapped_module.b": w, c: w },
    { "_forward_module.module.a.b": w, "_forward_module.module.c": w },
    { n_averaged: counter, "module.a.b": w, "module.c": w },
    { "module.n_averaged": counter, "module.module.a.b": w, "module.module.c": w },
    { model: { "module._orig_mod.a.b": w, "module._orig_mod.c": w }, epoch: 3 },
  ];
  for (const tree of wrapped) assertEquals(names(tree), ["a.b", "c"]);
});

Deno.test("findStateDict() leaves names alone that only look wrapped", () => {
  const plain: [WeightTree, string[]][] = [
    [{ "module.a": w, b: w }, ["module.a", "b"]],
    [{ "my_orig_mod.a": w }, ["my_orig_mod.a"]],
    [{ "a._orig_mod": w }, ["a._orig_mod"]],
    [{ "modules.a": w }, ["modules.a"]],
  ];
  for (const [tree, expected] of plain) assertEquals(names(tree), expected);
  assertThrows(
    () => names({ "a.b": w, "_orig_mod.a.b": w }),
    FileFormatError,
    "two arrays are named a.b, one as _orig_mod.a.b",
  );
});

Deno.test("findStateDict() asks which of several models is meant", () => {
  const student = { "module.a.weight": w, "module.a.bias": w };
  const teacher = { "a.weight": v, "a.bias": v, "head.last": v };
  const optimizer = { state: { 0: { exp_avg: w } } };
  for (const tree of [{ student, teacher }, { epoch: 3, student, teacher, optimizer }]) {
    assertThrows(
      () => names(tree),
      FileFormatError,
      "Cannot choose the weights: student and teacher both hold a model; the key of one of them is required",
    );
    assertEquals(names(tree, "student"), ["a.weight", "a.bias"]);
    assertEquals(findStateDict(tree, { key: "teacher" }).get("a.bias"), v);
  }
  const inside = { teacher: { state_dict: teacher }, student: { state_dict: student } };
  assertThrows(() => names(inside), FileFormatError, "teacher and student both hold a model");
  assertEquals(names({ nets: inside }, "nets.teacher"), Object.keys(teacher));
  assertEquals(names({ "nets.teacher": teacher, student }, "nets.teacher"), Object.keys(teacher));
  assertThrows(
    () => names({ student, teacher }, "ema"),
    FileFormatError,
    "Cannot find the weights under ema: the file has student, teacher",
  );
  for (const key of ["toString", "__proto__", "student.constructor", ""]) {
    assertThrows(() => names({ student, teacher }, key), FileFormatError, "Cannot find the weights under");
  }
});

Deno.test("findStateDict() passes over optimisers and schedules, and does not ask where nothing is to choose", () => {
  const model = { "a.weight": w };
  const trees: [WeightTree, string[]][] = [
    [{ mine: model, optimizer: { state: { 0: { m: w } } }, lr_scheduler: { last: { x: w } } }, ["a.weight"]],
    [{ model, model_ema: { "a.weight": v } }, ["a.weight"]],
    [{ netG: { "g.weight": w }, netD: { "d.weight": w } }, ["netG.g.weight", "netD.d.weight"]],
    [{ layer1: { weight: w, bias: w }, layer2: { weight: w, bias: w } }, [
      "layer1.weight",
      "layer1.bias",
      "layer2.weight",
      "layer2.bias",
    ]],
    [{ layer1: { attn: { q: w } }, layer2: { attn: { q: w } } }, ["layer1.attn.q", "layer2.attn.q"]],
    [{ optimizer: { a: w } }, ["optimizer.a"]],
  ];
  for (const [tree, expected] of trees) assertEquals(names(tree), expected);
});
