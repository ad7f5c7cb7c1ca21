/** The package as others use it: as a dependency, over HTTP as JSR serves it, and in a notebook. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const root = new URL("..", import.meta.url);
const consumer = new URL("./consumer/", import.meta.url);

interface PackageFile {
  readonly imports: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string>>;
  readonly publish: { readonly exclude: readonly string[] };
}

const packageFile = JSON.parse(Deno.readTextFileSync(new URL("deno.json", root))) as PackageFile;

async function deno(
  args: readonly string[],
  cwd: string | URL,
): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", ...args],
    cwd,
    env: { NO_COLOR: "1" },
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out: out!, err: err! };
}

/** What `consumer/main.ts` must print. */
function assertConsumed({ code, out, err }: { code: number; out: string; err: string }): void {
  assertEquals(code, 0, err);
  assertEquals(JSON.parse(out), {
    gradient: [2, 4, 6],
    product: 11,
    names: ["layers.0.bias"],
    bias: [1, 2],
    pixels: 2 * 3 * 33 * 33,
    dims: [32, 64, 160, 256],
    png: true,
  });
}

/**
 * Serves the package as JSR does: published files only, their bare imports rewritten to what `deno.json` says. The two
 * packages of JSR's own, which may be out of reach, come from `links`.
 */
function servePackage(): { origin: string; requested: Set<string>; close: () => Promise<void> } {
  const requested = new Set<string>();
  const excluded = packageFile.publish.exclude.map((folder) => `/${folder}/`);
  const server = Deno.serve({ port: 0, hostname: "localhost", onListen: () => {} }, async (request) => {
    const { pathname, origin } = new URL(request.url);
    requested.add(pathname);
    if (excluded.some((folder) => pathname.startsWith(folder))) {
      return new Response("not found", { status: 404 });
    }
    let text: string;
    try {
      text = await Deno.readTextFile(new URL(`.${pathname}`, root));
    } catch {
      return new Response("not found", { status: 404 });
    }
    const body = text.replace(
      /(from\s+|import\(|import\s+)"([@\w][^"]*)"/g,
      (whole, before: string, name: string) => {
        if (name.startsWith("node:")) return whole;
        const target = name.startsWith("@std/")
          ? `${origin}/links/${name.slice("@std/".length)}/mod.ts`
          : packageFile.imports[name];
        return `${before}"${target ?? `unresolved:${name}`}"`;
      },
    );
    return new Response(body, { headers: { "content-type": "text/typescript" } });
  });
  return { origin: `http://localhost:${server.addr.port}`, requested, close: () => server.shutdown() };
}

Deno.test("a project imports the package as a dependency, and runs its programs", async () => {
  assertConsumed(await deno(["main.ts"], consumer));
  for (const program of ["train", "evaluate", "predict"]) {
    const { code, out, err } = await deno([`jsr:@allspark/tensor/${program}`, "--help"], consumer);
    assertEquals(code, 0, err);
    assertMatch(out, /Usage: deno run -A \w+\.ts/);
  }
});

Deno.test("the package works over HTTP as JSR serves it, with its workers", async () => {
  const { origin, requested, close } = servePackage();
  const folder = await Deno.makeTempDir();
  try {
    const imports = Object.fromEntries(
      Object.entries(packageFile.exports).map(([entry, file]) =>
        [`@allspark/tensor${entry.slice(1)}`, `${origin}${file.slice(1)}`] as const
      ),
    );
    const config = { imports, allowScripts: { deny: ["npm:sharp"] }, lock: false };
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify(config));
    await Deno.copyFile(new URL("main.ts", consumer), `${folder}/main.ts`);
    assertConsumed(await deno(["main.ts"], folder));
    assert(
      requested.has("/src/data/worker.ts") && requested.has("/src/cpu/worker.ts"),
      "the workers came over HTTP",
    );

    const tiny =
      "--method supervised --variant 8,16,40,64:1,1,1,1 --embedding 16 --image-size 48x40 --crop 33 --batch 1 " +
      "--steps 2 --labeled-scenes 2 --unlabeled-scenes 2 --val-scenes 1 --workers 1 --device cpu";
    const trained = await deno([`${origin}/train.ts`, ...tiny.split(" ")], folder);
    assertEquals(trained.code, 0, trained.err);
    assertMatch(trained.out.trimEnd().split("\n").at(-1)!, /^mIoU \d+\.\d\d$/);
  } finally {
    await close();
    await Deno.remove(folder, { recursive: true });
  }
});

/** A Python that has what runs notebooks, or undefined. */
async function notebookPython(): Promise<string | undefined> {
  for (const python of ["/usr/bin/python3", "python3"]) {
    try {
      const { success } = await new Deno.Command(python, {
        args: ["-c", "import nbclient, nbformat, jupyter_client"],
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
}

const python = await notebookPython();
if (python === undefined) {
  console.log(
    "The notebook is not run: install jupyter-nbconvert, jupyter-client, python3-nbclient and python3-nbconvert (Debian)",
  );
}

Deno.test({
  name: "the notebook in examples runs on Deno's kernel and shows its tensors",
  ignore: python === undefined,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      // The kernel's description goes into a home of its own, not into the user's.
      const env = {
        JUPYTER_DATA_DIR: folder,
        NO_COLOR: "1",
        XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? folder,
      };
      await Deno.mkdir(`${folder}/kernels/deno`, { recursive: true });
      const argv = [Deno.execPath(), "jupyter", "--kernel", "--conn", "{connection_file}"];
      const kernel = { argv, display_name: "Deno", language: "typescript" };
      await Deno.writeTextFile(`${folder}/kernels/deno/kernel.json`, JSON.stringify(kernel));
      const { code, stdout, stderr } = await new Deno.Command(python!, {
        args: [new URL("./support/run_notebook.py", import.meta.url).pathname, "gradient.ipynb"],
        cwd: new URL("examples/", root),
        env,
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const text = new TextDecoder().decode(stdout);
      assertStringIncludes(text, "Tensor f32[5]");
      assertStringIncludes(text, "image/svg+xml");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
