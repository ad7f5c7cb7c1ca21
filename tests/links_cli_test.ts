// The adapter in links/cli behaves as the documentation of @std/cli says.
import { parseArgs } from "@std/cli";
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

Deno.test("parseArgs() reads long options, values and words", () => {
  assertEquals(parseArgs(["--foo", "--bar=baz", "./quux.txt"]), { foo: true, bar: "baz", _: ["./quux.txt"] });
  assertEquals(parseArgs(["--host", "localhost", "--port", "555"]), { host: "localhost", port: 555, _: [] });
  assertEquals(parseArgs(["--a", "1", "--a", "2"]), { a: 2, _: [] });
  assertEquals(parseArgs(["--foo=a=b\nc"]), { foo: "a=b\nc", _: [] });
  assertEquals(parseArgs(["--foo", "-5"]), { foo: true, 5: true, _: [] });
  assertEquals(parseArgs(["--foo=-5"]), { foo: -5, _: [] });
});

Deno.test("parseArgs() reads short options and groups", () => {
  assertEquals(parseArgs(["-cats", "meow"]), { c: true, a: true, t: true, s: "meow", _: [] });
  assertEquals(parseArgs(["-h", "localhost", "-fp", "555", "script.js"]), {
    h: "localhost",
    f: true,
    p: 555,
    _: ["script.js"],
  });
  assertEquals(parseArgs(["-n123", "-b=5", "-f=abc=def", "-I/foo/bar"]), {
    n: 123,
    b: 5,
    f: "abc=def",
    I: "/foo/bar",
    _: [],
  });
  assertEquals(parseArgs(["-123", "456"]), { 1: true, 2: true, 3: 456, _: [] });
  assertEquals(parseArgs(["-n", "-"]), { n: "-", _: [] });
  assertEquals(parseArgs(["-f-", "-"]), { f: "-", _: ["-"] });
});

Deno.test("parseArgs() makes numbers of what looks like one", () => {
  assertEquals(parseArgs(["-x", "1234", "-y", "5.67", "-z", "1e7", "-w", "10f", "--hex", "0xff", "789"]), {
    x: 1234,
    y: 5.67,
    z: 1e7,
    w: "10f",
    hex: 255,
    _: [789],
  });
  assertEquals(parseArgs(["-x", "\t"]).x, "\t");
  assertEquals(parseArgs(["--x=Infinity"]).x, "Infinity");
});

Deno.test("parseArgs() keeps the values of string options as text", () => {
  const parsed = parseArgs(["--id", "007", "--empty", "--", "8"], { string: ["id", "empty", "absent", "_"] });
  assertEquals(parsed, { id: "007", empty: "", _: ["8"] });
  const id: string | undefined = parsed.id;
  assertEquals(id, "007");
  assertEquals(parseArgs(["-art"], { string: ["a", "t"] }), { a: "", r: true, t: "", _: [] });
});

Deno.test("parseArgs() gives boolean options no value but true and false", () => {
  const options = { boolean: ["t", "verbose"] as const, default: { verbose: true } };
  assertEquals(parseArgs(["--verbose", "false", "moo", "-t", "true"], options), {
    verbose: false,
    t: true,
    _: ["moo"],
  });
  assertEquals(parseArgs(["moo"], options), { verbose: true, t: false, _: ["moo"] });
  assertEquals(parseArgs(["-t", "123"], options), { verbose: true, t: true, _: [123] });
  assertEquals(parseArgs(["--verbose=false", "--t=yes"], options), { verbose: false, t: true, _: [] });
  const t: boolean = parseArgs([], options).t;
  assertStrictEquals(t, false);
});

Deno.test("parseArgs() with boolean true reads every bare long option as a flag", () => {
  assertEquals(parseArgs(["moo", "--honk", "cow", "-p", "55", "--tacos=good"], { boolean: true }), {
    honk: true,
    tacos: "good",
    p: 55,
    _: ["moo", "cow"],
  });
});

Deno.test("parseArgs() sets all aliases", () => {
  assertEquals(parseArgs(["-f", "11", "--zoom", "55"], { alias: { z: ["zm", "zoom"] } }), {
    f: 11,
    z: 55,
    zm: 55,
    zoom: 55,
    _: [],
  });
  assertEquals(parseArgs(["-h", "derp"], { boolean: "herp", alias: { h: "herp" } }), {
    h: true,
    herp: true,
    _: ["derp"],
  });
  assertEquals(parseArgs(["--str", "000123"], { string: "s", alias: { s: "str" } }), {
    s: "000123",
    str: "000123",
    _: [],
  });
  assertThrows(
    () => parseArgs([], { alias: { a: undefined as unknown as string } }),
    TypeError,
    "Alias value must be defined",
  );
});

Deno.test("parseArgs() negates only what is negatable", () => {
  const options = { boolean: ["foo"], negatable: ["foo"] } as const;
  assertEquals(parseArgs(["--foo", "--no-foo"], options).foo, false);
  assertEquals(parseArgs(["--no-foo", "--foo"], options).foo, true);
  assertEquals(parseArgs(["--no-moo"]), { "no-moo": true, _: [] });
});

Deno.test("parseArgs() collects repeated options", () => {
  const options = { string: ["str", "lst"], boolean: ["bool"], collect: ["lst", "bool", "any"] } as const;
  const parsed = parseArgs(["--lst", "a", "--lst", "b", "--bool", "--any", "1", "--any", "2"], options);
  assertEquals(parsed, { lst: ["a", "b"], bool: [true], any: [1, 2], _: [] });
  const list: string[] = parsed.lst;
  assertEquals(list.length, 2);
  assertEquals(parseArgs([], options), { lst: [], bool: [], _: [] } as unknown as typeof parsed);
  assertEquals(
    parseArgs(["--foo", "1", "-f", "2", "--no-foo"], {
      string: ["foo"],
      collect: ["foo"],
      negatable: ["foo"],
      alias: { foo: "f" },
    }),
    { foo: false, f: false, _: [] },
  );
});

Deno.test("parseArgs() nests dotted names and fills defaults", () => {
  const nested: unknown = parseArgs(["--foo.bar", "3", "--foo.quux.oO"], { default: { "foo.baz": 4 } });
  assertEquals(nested, {
    foo: { bar: 3, quux: { oO: true }, baz: 4 },
    _: [],
  });
  assertEquals(parseArgs([], { boolean: "maybe", default: { maybe: null } }).maybe, null);
  assertEquals(parseArgs(["--toString", "--valueOf", "foo"]) as unknown, {
    toString: true,
    valueOf: "foo",
    _: [],
  });
});

Deno.test("parseArgs() reports unknown arguments and drops them on false", () => {
  const seen: unknown[] = [];
  const parsed = parseArgs(["--honk", "--tacos=good", "cow", "-p", "55"], {
    boolean: "honk",
    unknown: (arg, key, value) => {
      seen.push([arg, key, value]);
      return false;
    },
  });
  assertEquals(parsed, { honk: true, _: [] });
  assertEquals(seen, [["--tacos=good", "tacos", "good"], ["cow", undefined, undefined], ["-p", "p", "55"]]);
});

Deno.test("parseArgs() stops early and treats what follows the double dash", () => {
  assertEquals(parseArgs(["--aaa", "bbb", "ccc", "--ddd"], { stopEarly: true }), {
    aaa: "bbb",
    _: ["ccc", "--ddd"],
  });
  assertEquals(parseArgs(["-a", "--", "b", "--c"]), { a: true, _: ["b", "--c"] });
  const parsed = parseArgs(["--name", "John", "before", "--", "after"], { "--": true });
  assertEquals(parsed, { name: "John", _: ["before"], "--": ["after"] });
  const rest: string[] = parsed["--"];
  assertEquals(rest, ["after"]);
});
