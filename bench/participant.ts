/**
 * The runner's side of a benchmark: processes that take part in it, which are started when they are first asked.
 *
 * @module
 */
import { lines, type Reply, type Request } from "./serve.ts";

/** How a participant is started. */
export interface Command {
  /** Name in the tables. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Variables of its environment beside those of this process; undefined takes one away. */
  readonly environment?: { readonly [name: string]: string | undefined };
}

/** A participant that gives no answer for so long is ended. */
const patience = 240_000;

/** A Deno program of this folder as a participant. */
export function denoCommand(
  name: string,
  program: { readonly path: string; readonly args?: readonly string[]; readonly config?: string },
): Command {
  const local = (path: string): string => new URL(path, import.meta.url).pathname;
  const config = program.config === undefined ? [] : ["--config", local(program.config)];
  const args = [
    "run",
    "-A",
    "--quiet",
    "--no-check",
    ...config,
    local(program.path),
    ...(program.args ?? []),
  ];
  return { name, program: Deno.execPath(), args };
}

/** A process that answers requests one after another. */
export class Participant {
  readonly name: string;
  readonly #command: Command;
  #child: Deno.ChildProcess | undefined;
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #answers: AsyncGenerator<string> | undefined;

  constructor(command: Command) {
    this.name = command.name;
    this.#command = command;
  }

  /** The same program in a process of its own, with more environment. */
  another(environment: Command["environment"] = {}): Participant {
    return new Participant({
      ...this.#command,
      environment: { ...this.#command.environment, ...environment },
    });
  }

  /** Asks, and waits for the answer. A process that has ended is an answer too. */
  async ask(request: Request): Promise<Reply> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      if (this.#child === undefined) this.#start();
      timer = setTimeout(() => this.#child?.kill("SIGKILL"), patience);
      await this.#writer!.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
      const { value, done } = await this.#answers!.next();
      if (!done) return JSON.parse(value);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        return { cannot: `${this.#command.program} is not installed` };
      }
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    } finally {
      clearTimeout(timer);
    }
    const status = await this.#child!.status;
    this.#child = undefined;
    const reason = status.signal === "SIGKILL" ? "no answer in time, or no memory" : `code ${status.code}`;
    return { cannot: `its process ended (${reason}); BENCH_ERRORS=1 shows what it wrote` };
  }

  /** Ends the process. */
  async close(): Promise<void> {
    if (this.#child === undefined) return;
    await this.#writer!.close().catch(() => {});
    const timer = setTimeout(() => this.#child?.kill("SIGKILL"), 2000);
    await this.#child.status;
    clearTimeout(timer);
    this.#child = undefined;
  }

  #start(): void {
    const { program, args, environment = {} } = this.#command;
    const merged = { XDG_RUNTIME_DIR: "/tmp", ...Deno.env.toObject(), ...environment };
    const env = Object.fromEntries(
      Object.entries(merged).filter(([, value]) => value !== undefined),
    ) as Record<
      string,
      string
    >;
    this.#child = new Deno.Command(program, {
      args: [...args],
      clearEnv: true,
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: Deno.env.get("BENCH_ERRORS") === "1" ? "inherit" : "null",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#answers = lines(this.#child.stdout);
  }
}
