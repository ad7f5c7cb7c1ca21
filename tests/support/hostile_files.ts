/**
 * Small files that once hung a reader, exhausted the memory, threw a raw error, or were read wrongly; each with the words
 * that refuse it, or the names of the arrays that it holds after all.
 */
import { crc32, deflateRawSync } from "node:zlib";
import {
  int32,
  join,
  latin1,
  laughs,
  legacyFile,
  little,
  nested,
  npyFile,
  npyHeader,
  safetensorsFile,
  storage,
  tensor,
  torchFile,
  unicode,
  zipFile,
} from "./weight_files.ts";

/** A file and how reading it must end. */
export interface Hostile {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** A part of the sentence. */
  readonly refused?: string;
  /** Names of the arrays. */
  readonly arrays?: readonly string[];
}

const tooLarge = "takes more than";
const tooDeep = "nested more than 500 deep";
const two = new Uint8Array(new Float32Array([3, 4]).buffer);

/** All of them; made when they are asked for, since some are large before they are compressed. */
export function hostileFiles(): Hostile[] {
  return [...numpy(), ...archives(), ...safetensors(), ...pickles(), ...calls(), ...tensors()];
}

function refused(name: string, bytes: Uint8Array, words: string): Hostile {
  return { name, bytes, refused: words };
}

function read(name: string, bytes: Uint8Array, ...arrays: string[]): Hostile {
  return { name, bytes, arrays };
}

function numpy(): Hostile[] {
  const npy = (name: string, shape: string, words: string): Hostile =>
    refused(name, npyFile(npyHeader(shape)), words);
  const key = (name: string, header: string, words: string): Hostile => refused(name, npyFile(header), words);
  return [
    npy("exponential header", `(${"1".repeat(60)}!)`, "its header is"),
    npy("exponential header with commas", `(${"1, ".repeat(40)}x)`, "its header is"),
    npy("20,000 axes", `(${"1,".repeat(20000)})`, "its header has 40056 bytes; at most 10000"),
    npy("65 axes", `(${"1,".repeat(65)})`, "at most 64 sizes"),
    npy("size beyond any number", `(${"9".repeat(400)},)`, "or one of them is too large"),
    npy("size beyond exact numbers", "(9007199254740993, 0)", "or one of them is too large"),
    npy("negative size", "(-1,)", "no tuple of at most 64 sizes"),
    npy("code as a shape", "(__import__('os').system('true'),)", "its header is"),
    npy("a number as a shape", "(1)", "no tuple of at most 64 sizes"),
    npy("more than there is", "(1000000000000,)", "needs 4000000000000 bytes but 4 follow"),
    key(
      "a record",
      "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
      "its elements are records",
    ),
    key(
      "a long type",
      `{'descr': '${"x".repeat(9000)}', 'fortran_order': False, 'shape': (1,), }`,
      "its type is x",
    ),
    key(
      "a type of control characters",
      "{'descr': '\x1b[31m\n\nboo', 'fortran_order': False, 'shape': (1,), }",
      "31m boo",
    ),
    key(
      "a key twice",
      "{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
      "its header is",
    ),
    key(
      "a key more",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
      "has the keys descr,fortran",
    ),
    refused(
      "a header without an end",
      npyFile(npyHeader("(1,)"), two, { version: 2, length: 2 ** 32 - 1 }),
      "ends after the file",
    ),
  ];
}

function archives(): Hostile[] {
  const zeros = npyFile(
    "{'descr': '|u1', 'fortran_order': False, 'shape': (67108864,), }\n",
    new Uint8Array(2 ** 26),
  );
  const packed = new Uint8Array(deflateRawSync(zeros));
  const large = { name: "a.npy", data: zeros, packed, checksum: crc32(zeros) };
  const one = npyFile(npyHeader("(1,)"));
  const member = { name: "a.npy", data: one };
  return [
    refused(
      "overlapping members",
      zipFile([large], { copies: 64 }),
      "overlap",
    ),
    refused(
      "20 members of 64 MiB",
      zipFile(Array.from({ length: 20 }, (_, k) => ({ ...large, name: `${k}.npy` }))),
      tooLarge,
    ),
    refused(
      "a member that claims less",
      zipFile([{ ...large, size: 132 }]),
      "unpacks to more than its 132 bytes",
    ),
    refused(
      "a member that claims more",
      zipFile([{ ...member, deflate: true, size: one.length + 9 }]),
      `should have ${one.length + 9}`,
    ),
    refused(
      "a member that claims the impossible",
      zipFile([{ ...member, deflate: true, size: 2 ** 32 - 2 }]),
      "which is impossible",
    ),
    refused(
      "a wrong checksum",
      zipFile([{ ...member, checksum: 1 }]),
      "a.npy is damaged: its checksum does not match",
    ),
    read("no checksum", zipFile([{ ...member, checksum: 0 }]), "a"),
    refused("an encrypted member", zipFile([{ ...member, flags: 1 }]), "a.npy is encrypted"),
    refused("an unknown method", zipFile([{ ...member, method: 12 }]), "method 12; 0 and 8 are read"),
    refused("a member twice", zipFile([member, member]), "it holds a.npy twice"),
    refused(
      "a member with control characters",
      zipFile([{ ...member, name: "a\x1b[31m\n.npy", method: 12 }]),
      "a\\u{1b}[31m .npy is",
    ),
    read("names that lead elsewhere", zipFile([{ ...member, name: "../../x.npy" }]), "../../x"),
    refused(
      "two main pickles",
      zipFile([
        { name: "evil/data.pkl", data: latin1("\x80\x02N.") },
        { name: "archive/data.pkl", data: latin1("\x80\x02N.") },
      ]),
      "it holds both evil/data.pkl and archive/data.pkl",
    ),
  ];
}

function safetensors(): Hostile[] {
  const deep = "[".repeat(100000) + "]".repeat(100000);
  const array = (fields: string): Uint8Array => safetensorsFile(`{"a":{${fields}}}`);
  const names = (count: number, value: string): string =>
    `{${Array.from({ length: count }, (_, k) => `"${k}":${value}`).join()}}`;
  return [
    refused("deep JSON", safetensorsFile(`{"a":${deep}}`), tooDeep),
    refused("a deep shape", array(`"dtype":"F32","shape":${deep},"data_offsets":[0,4]`), tooDeep),
    refused("deep metadata", safetensorsFile(`{"__metadata__":${deep}}`), tooDeep),
    refused(
      "a million axes",
      array(`"dtype":"F32","shape":[${"1,".repeat(999999)}1],"data_offsets":[0,4]`),
      "no list of sizes",
    ),
    refused(
      "a long name that is wrong",
      safetensorsFile(`{"${"a".repeat(5e6)}":5}`),
      "by something that is not an object",
    ),
    read(
      "a long name",
      safetensorsFile(`{"${"a".repeat(5e6)}":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`),
      "a".repeat(5e6),
    ),
    refused(
      "a name of control characters",
      safetensorsFile('{"a\\nb\\u001b[31mRED":{"dtype":"F31"}}'),
      "a b\\u{1b}[31mRED has dtype F31",
    ),
    refused("two million names", safetensorsFile(`{"__metadata__":${names(2e6, '""')}}`), tooLarge),
    refused(
      "400,000 arrays",
      safetensorsFile(names(4e5, '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'), new Uint8Array(0)),
      tooLarge,
    ),
    refused(
      "a field twice",
      array('"dtype":"I32","dtype":"F32","shape":[1],"data_offsets":[0,4]'),
      "names dtype twice",
    ),
    refused(
      "a field twice, escaped",
      array('"dtyp\\u0065":"I32","dtype":"F32","shape":[1],"data_offsets":[0,4]'),
      "names dtype twice",
    ),
    refused("metadata twice", safetensorsFile('{"__metadata__":{"a":"1","a":"2"}}'), "names a twice"),
    refused(
      "a list as a dtype",
      array('"dtype":["F32"],"shape":[1],"data_offsets":[0,4]'),
      "a has dtype [F32]",
    ),
    refused(
      "overflowing sizes",
      array(`"dtype":"F32","shape":[${2 ** 52},${2 ** 52}],"data_offsets":[0,4]`),
      "bytes of data",
    ),
    read(
      "sizes beside a 0",
      safetensorsFile(
        `{"a":{"dtype":"F32","shape":[${Array(25).fill(2 ** 53 - 1)},0],"data_offsets":[0,0]}}`,
        new Uint8Array(0),
      ),
      "a",
    ),
    read(
      "names of prototypes",
      safetensorsFile(
        '{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"constructor":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        two,
      ),
      "__proto__",
      "constructor",
    ),
  ];
}

function pickles(): Hostile[] {
  const deflated = (name: string, program: string, words: string): Hostile =>
    refused(name, torchFile(`\x80\x04${program}.`, { deflate: true }), words);
  const file = (name: string, program: string, words: string): Hostile =>
    refused(name, torchFile(`\x80\x04${program}.`, { storages: { 0: two } }), words);
  return [
    deflated("9 million Nones", "N".repeat(9e6), tooLarge),
    deflated("9 million copies", `]${"2".repeat(9e6)}`, tooLarge),
    deflated("3 million lists", "]".repeat(3e6), tooLarge),
    deflated("3 million dictionaries", "}".repeat(3e6), tooLarge),
    deflated("3 million marks", "(".repeat(3e6), tooLarge),
    deflated("3 million texts", `(${"V\\u0041\n".repeat(3e6)}l`, tooLarge),
    deflated("4 million floats", `(${"F1e5\n".repeat(4e6)}l`, tooLarge),
    deflated("2 million integers", `(${"L12345678901234567890L\n".repeat(2e6)}l`, tooLarge),
    deflated("3 million names", `(${"ctorch\nFloatStorage\n".repeat(3e6)}l`, tooLarge),
    deflated(
      "a million keys",
      `}(${Array.from({ length: 1e6 }, (_, k) => `${unicode(String(k))}N`).join("")}u`,
      tooLarge,
    ),
    deflated("3 million remembered values", `]${"\x94".repeat(3e6)}`, tooLarge),
    file(
      "an integer of 100 KB",
      `\x8b${String.fromCharCode(...little(100000, 4))}${"\x01".repeat(100000)}`,
      "at most 2048 are read",
    ),
    file("an integer of a million digits", `L${"9".repeat(1e6)}L\n`, "no integer of at most 4300 digits"),
    file("an integer that is none", `L${" 9".repeat(1e3)}L\n`, "no integer"),
    file("a float that is a name", "FtoString\n", '"toString" is no number'),
    file("a value kept under no number", "Npabc\n", '"abc" is no number of a value'),
    file("a long global", `c${"a".repeat(1e6)}\nb\n`, "which could execute code"),
    file(
      "a global of control characters",
      "cos\x1b[31m\x07\r\nsystem\0\n",
      "os\\u{1b}[31m\\u{7} .system\\u{0}",
    ),
    file("a global without a name", `\x8c\x01a${laughs(45)}\x93`, "something without a name"),
    file("a call of nothing", `${laughs(45)})R`, "it calls [a list, a list], which is no function"),
    file("a deep call", `${nested(1e5)})R`, "it calls [a list], which is no function"),
    file("a key that is a doubled list", `}${laughs(45)}Ns`, "a key of a dictionary is [a list, a list]"),
    file("a deep key", `}${nested(1e5)}Ns`, "a key of a dictionary is [a list]"),
    file("a deep list", nested(1e5), tooDeep),
    file("a list that contains itself", "]q\0h\0a", "contains itself"),
    file("a dictionary that contains itself", `}q\0${unicode("a")}h\0s`, "contains itself"),
    file(
      "two keys of one text",
      `}(K\x01K\x05${unicode("1")}K\x06u`,
      "two keys of a dictionary are written 1",
    ),
    { name: "doubled lists without arrays", bytes: torchFile(`\x80\x02${laughs(45)}.`), arrays: [] },
    file("doubled lists with an array", `${tensor()}q\0${"](h\0h\0eq\0".repeat(45)}`, "takes more than"),
    file(
      "a long list at many places",
      `](${tensor()}${"N".repeat(1e5)}eq\0](${"h\0".repeat(1e4)}e`,
      tooLarge,
    ),
    refused(
      "a doubled protocol",
      join("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", `\x80\x02${laughs(45)}.`),
      "its protocol is [a list, a list]; 1001 is read",
    ),
  ];
}

function calls(): Hostile[] {
  const again = (name: string, first: string, then: string): Hostile =>
    refused(name, torchFile(`\x80\x02](${first}${then.repeat(1e4)}e.`), tooLarge);
  const call = (name: string, args: string): Hostile =>
    refused(
      `a call of ${name} with ${args.length} bytes`,
      torchFile(`\x80\x02c${name.replace(/\.(?=\w+$)/, "\n")}\n${args}R.`),
      "with unusable arguments",
    );
  return [
    call("torch._utils._rebuild_parameter", ")"),
    call("torch._utils._rebuild_parameter_with_state", ")"),
    call("torch._utils._rebuild_parameter", "K\x05\x85"),
    call("torch._utils._rebuild_tensor_v2", ")"),
    call("torch._utils._rebuild_tensor_v3", ")"),
    call("torch._tensor._rebuild_from_type_v2", ")"),
    call("torch._tensor._rebuild_from_type_v2", "(ctorch._tensor\n_rebuild_from_type_v2\nN)t"),
    call("torch._tensor._rebuild_from_type_v2", "(ctorch\nSize\nN)t"),
    call("torch.Size", "K\x05\x85"),
    call("torch.device", `${laughs(45)}\x85`),
    call("torch.device", ")"),
    call("collections.OrderedDict", "K\x05\x85"),
    call("collections.OrderedDict", "]K\x05a\x85"),
    call("builtins.set", "K\x05\x85"),
    call("_codecs.encode", `${laughs(45)}\x85`),
    call("_codecs.encode", `${unicode("a")}${unicode("rot13")}\x86`),
    call("numpy.core.multiarray.scalar", ")"),
    again(
      "a long text encoded again and again",
      `${unicode("a".repeat(1e6))}q\0`,
      "c_codecs\nencode\nh\0\x85R",
    ),
    again(
      "a long list made a set again and again",
      `](${"K\x01".repeat(1e5)}eq\0`,
      "cbuiltins\nset\nh\0\x85R",
    ),
    again(
      "a long dictionary ordered again and again",
      `](${"NN\x86".repeat(1e5)}eq\0`,
      "ccollections\nOrderedDict\nh\0\x85R",
    ),
    again("a long tuple as a key again and again", `(${"N".repeat(1e5)}tq\0`, "}h\0Ns"),
    again(
      "long bytes as a key again and again",
      `B${String.fromCharCode(...little(1e6, 4))}${"a".repeat(1e6)}q\0`,
      "}h\0Ns",
    ),
    {
      name: "torch.Size without arguments",
      bytes: torchFile(`\x80\x02}${unicode("a")}ctorch\nSize\n)Rs.`),
      arrays: [],
    },
    refused(
      "a million arguments",
      torchFile(`\x80\x02cbuiltins\nset\n(${"N".repeat(1e6)}tR.`),
      "unusable arguments",
    ),
    refused(
      "a type of a prototype",
      torchFile(`\x80\x02cnumpy\ndtype\n${unicode("constructor")}\x85R.`),
      "NumPy's type constructor",
    ),
    refused(
      "a type that is a doubled list",
      torchFile(`\x80\x02cnumpy\ndtype\n${laughs(45)}\x85R.`),
      "NumPy's type [a list, a list]",
    ),
  ];
}

function tensors(): Hostile[] {
  const file = (name: string, program: string, words: string): Hostile =>
    refused(name, torchFile(`\x80\x02}${unicode("t")}${program}s.`, { storages: { 0: two } }), words);
  const repeated = tensor({ shape: `${int32(2 ** 26)}\x85`, stride: "K\0\x85" });
  const large = storage({ count: 2 ** 24 });
  const view = tensor({ of: large, shape: `${int32(2 ** 24)}\x85` });
  const list = (element: string, count: number): string => `]${`${element}a`.repeat(count)}`;
  return [
    file("one element, many times", list(repeated, 20), tooLarge),
    refused(
      "many views of one storage",
      torchFile(`\x80\x02${list(view, 60)}.`, { storages: { 0: new Uint8Array(2 ** 26) }, deflate: true }),
      tooLarge,
    ),
    file(
      "a million axes",
      tensor({ shape: `(${"K\x01".repeat(1e6)}t`, stride: `(${"K\x01".repeat(1e6)}t` }),
      "at most 64 axes",
    ),
    file(
      "a shape that is a doubled list",
      tensor({ shape: laughs(45) }),
      "a tensor has shape [a list, a list]",
    ),
    file("a deep shape", tensor({ shape: `${nested(1e5)}\x85` }), "a tensor has shape [a list]"),
    file("an offset that is a doubled list", tensor({ offset: laughs(45) }), "offset [a list, a list]"),
    file("an offset that is nothing", tensor({ offset: "N" }), "offset null"),
    file(
      "a storage of a doubled name",
      `(${unicode("storage")}ctorch\nFloatStorage\n${laughs(45)}NK\0tQ`,
      "which is no storage",
    ),
    file(
      "a storage of a doubled kind",
      `(${laughs(45)}ctorch\nFloatStorage\n${unicode("0")}NK\0tQ`,
      "which is no storage",
    ),
    file(
      "a storage beyond the file",
      tensor({ of: storage({ count: 2 ** 30 }) }),
      "has 8 bytes but should have 4294967296",
    ),
    file(
      "a storage outside of the archive",
      tensor({ of: storage({ key: "../version" }) }),
      "storage ../version is missing",
    ),
    refused(
      "a legacy list of doubled storages",
      legacyFile(`\x80\x02${tensor()}.`, `\x80\x02${laughs(45)}.`),
      "which no tensor names",
    ),
    {
      name: "30,000 models",
      bytes: torchFile(
        `\x80\x02${tensor()}q\0}(${
          Array.from({ length: 30000 }, (_, k) => `${unicode(`m${k}`)}}${unicode(`a.${k}`)}h\0s`).join("")
        }u.`,
        { storages: { 0: two } },
      ),
      arrays: Array.from({ length: 30000 }, (_, k) => `m${k}.a.${k}`),
    },
    {
      name: "a name in 100,000 wrappers",
      bytes: safetensorsFile(
        `{"${"module.".repeat(1e5)}a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`,
      ),
      arrays: [`${"module.".repeat(1e5)}a`],
    },
    {
      name: "a dictionary like an array",
      bytes: torchFile(
        `\x80\x02}(${unicode("dtype")}${unicode("f32")}${unicode("data")}C\x04abcd${
          unicode("shape")
        }K\x04\x85u.`,
      ),
      arrays: [],
    },
  ];
}
