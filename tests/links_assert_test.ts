// The adapter in links/assert behaves as the documentation of @std/assert says; against JSR the same tests
// would check the real package.
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertGreater,
  assertGreaterOrEqual,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";

/** Runs an assertion that must fail, without using the assertions under test, and returns its message. */
function failureOf(assertion: () => unknown): string {
  try {
    assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("The assertion passed but should have failed");
}

async function rejectionOf(assertion: () => Promise<unknown>): Promise<string> {
  try {
    await assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("The assertion passed but should have failed");
}

function mustContain(text: string, part: string): void {
  if (!text.includes(part)) throw new Error(`"${text}" does not contain "${part}"`);
}

Deno.test("assert() accepts truthy values and fails with the message otherwise", () => {
  assert("text");
  mustContain(failureOf(() => assert(0, "zero is falsy")), "zero is falsy");
});

Deno.test("assertEquals() treats 0 as -0, NaN as NaN, and a null prototype as plain", () => {
  assertEquals([0, NaN], [-0, NaN]);
  assertEquals(Object.assign(Object.create(null), { a: 1 }), { a: 1 });
  assertEquals(new Float32Array([0, NaN]), new Float32Array([-0, NaN]));
});

Deno.test("assertEquals() compares nested values, maps, sets, dates and patterns", () => {
  assertEquals(
    { a: [1, { b: new Map([["k", new Set([1, 2])]]) }], d: new Date(5), r: /x/g },
    { a: [1, { b: new Map([["k", new Set([2, 1])]]) }], d: new Date(5), r: /x/g },
  );
  assertEquals(new Map([[{ x: 1 }, true]]), new Map([[{ x: 1 }, true]]));
  assertEquals(new Set([new Set([1])]), new Set([new Set([1])]));
  const left: Record<string, unknown> = {};
  left.self = left;
  const right: Record<string, unknown> = {};
  right.self = right;
  assertEquals(left, right);
});

Deno.test("assertEquals() sees every kind of difference", () => {
  class Point {
    constructor(readonly x: number) {}
  }
  const pairs: [unknown, unknown][] = [
    [1, 2],
    [1, "1"],
    [null, undefined],
    [[1, 2], [1, 2, 3]],
    [{ a: undefined }, {}],
    [{ a: undefined, b: undefined }, { a: undefined, c: undefined }],
    [{ a: { b: 1 } }, { a: { b: 2 } }],
    [new Point(1), { x: 1 }],
    [new Float32Array([1, 2]), new Float32Array([1, 3])],
    [new Float32Array([1]), new Float64Array([1])],
    [new Uint8Array([1]).buffer, new Uint8Array([2]).buffer],
    [new Map([["a", 1]]), new Map([["a", 2]])],
    [new Map([["a", 1]]), new Map([["b", 1]])],
    [new Set([1]), new Set([2])],
    [new Date(1), new Date(2)],
    [/a/, /a/g],
    [{ [Symbol.for("s")]: 1 }, { [Symbol.for("s")]: 2 }],
    [1n, 2n],
  ];
  for (const [left, right] of pairs) {
    mustContain(failureOf(() => assertEquals(left, right, "because")), "Values are not equal: because");
    assertNotEquals(left, right);
  }
  failureOf(() => assertNotEquals({ a: [1] }, { a: [1] }));
});

Deno.test("assertStrictEquals() needs the same object", () => {
  const value = {};
  assertStrictEquals(value, value);
  assertStrictEquals(NaN, NaN);
  mustContain(failureOf(() => assertStrictEquals({}, {})), "not reference-equal");
  mustContain(failureOf(() => assertStrictEquals(0, -0)), "not strictly equal");
});

Deno.test("assertAlmostEquals() has the documented default tolerance", () => {
  assertAlmostEquals(1.000000001e-8, 1.000000002e-8);
  assertAlmostEquals(0.01, 0.02, 0.1);
  assertAlmostEquals(0.1 + 0.2, 0.3, 1e-16);
  assertAlmostEquals(Infinity, Infinity);
  failureOf(() => assertAlmostEquals(0.01, 0.02));
  failureOf(() => assertAlmostEquals(1e-8, 1e-9));
  failureOf(() => assertAlmostEquals(0.1 + 0.2, 0.3, 1e-17));
  mustContain(failureOf(() => assertAlmostEquals(NaN, 1)), "NaN");
});

Deno.test("assertExists() refuses null and undefined only", () => {
  assertExists(0);
  assertExists("");
  mustContain(failureOf(() => assertExists(undefined)), "undefined");
  mustContain(failureOf(() => assertExists(null)), "null");
});

Deno.test("assertGreater() and its kin compare and say what they expected", () => {
  assertGreater(2, 1);
  assertGreaterOrEqual(2, 2);
  assertLess(1, 2);
  assertLessOrEqual(2, 2);
  mustContain(failureOf(() => assertGreater(1, 1)), "Expect 1 > 1");
  mustContain(failureOf(() => assertGreaterOrEqual(1, 2)), "Expect 1 >= 2");
  mustContain(failureOf(() => assertLess(1, 1)), "Expect 1 < 1");
  mustContain(failureOf(() => assertLessOrEqual(2, 1)), "Expect 2 <= 1");
  mustContain(failureOf(() => assertLess(1, NaN)), "NaN");
});

Deno.test("assertStringIncludes() and assertMatch() look into text", () => {
  assertStringIncludes("hello", "ell");
  assertMatch("hello", /l+/);
  mustContain(failureOf(() => assertStringIncludes("hello", "xyz")), 'to contain: "xyz"');
  mustContain(failureOf(() => assertMatch("hello", /x/)), 'to match: "/x/"');
});

Deno.test("assertThrows() checks class and message and returns the error", () => {
  const throwing = () => {
    throw new TypeError("hello world!");
  };
  const error = assertThrows(throwing, TypeError, "world");
  assertEquals(error.message, "hello world!");
  assertThrows(throwing);
  assertThrows(throwing, Error);
  assertEquals(
    assertThrows(() => {
      throw "text";
    }),
    "text",
  );
  mustContain(failureOf(() => assertThrows(() => {})), "Expected function to throw.");
  mustContain(failureOf(() => assertThrows(() => {}, "why")), "Expected function to throw: why");
  mustContain(
    failureOf(() => assertThrows(throwing, RangeError)),
    'instance of "RangeError", but was "TypeError"',
  );
  mustContain(failureOf(() => assertThrows(throwing, TypeError, "moon")), 'include "moon"');
  mustContain(
    failureOf(() =>
      assertThrows(() => {
        throw "text";
      }, TypeError)
    ),
    "A non-Error object was thrown",
  );
});

Deno.test("assertRejects() checks rejections, and a synchronous throw is none", async () => {
  const rejecting = () => Promise.reject(new TypeError("hello world!"));
  const error = await assertRejects(rejecting, TypeError, "hello");
  assertEquals(error.message, "hello world!");
  await assertRejects(rejecting);
  mustContain(
    await rejectionOf(() => assertRejects(() => Promise.resolve(1))),
    "Expected function to reject",
  );
  mustContain(await rejectionOf(() => assertRejects(rejecting, RangeError)), 'was "TypeError"');
  mustContain(await rejectionOf(() => assertRejects(rejecting, TypeError, "moon")), "moon");
  const throwing = () => {
    throw new TypeError("hello world!");
  };
  mustContain(await rejectionOf(() => assertRejects(throwing)), "throws when expected to reject");
});
