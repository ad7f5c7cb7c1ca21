/**
 * What the three programs have in common: their frame, which turns errors into sentences, and the choice of the
 * device.
 *
 * @module
 */
import { DataError, reason } from "../data/errors.ts";
import { describeDevice, device, setDevice } from "../device.ts";
import { DeviceError } from "../errors.ts";
import { FileFormatError } from "../io/array.ts";
import { WriteError } from "./checkpoint_files.ts";
import type { DeviceChoice } from "./config.ts";
import { LossError } from "./loop.ts";
import { type Given, OptionError, type OptionTable, readOptions } from "./options.ts";
import { FolderInUseError } from "./run_lock.ts";
import { stderr, stdout } from "./terminal.ts";

/** Errors whose message is all that a user needs: what is wrong is not in the program. */
const plainErrors = [
  OptionError,
  DataError,
  FileFormatError,
  LossError,
  WriteError,
  FolderInUseError,
  DeviceError,
];

/**
 * Runs a program: reads its options, shows its help, and ends the process with 0, with 2 after an error that the user
 * can mend (its sentence on standard error), or with 1 after any other.
 *
 * @param table The program's options.
 * @param program Its help, and what it does with the options; the number is the exit status.
 * @param args The command line.
 */
export async function runProgram<T>(
  table: OptionTable<T>,
  { help, run }: { help: () => string; run: (values: Partial<T>) => Promise<number> },
  args: string[],
): Promise<never> {
  // Without it the Vulkan loader writes to standard error when an adapter is asked for.
  if (Deno.env.get("XDG_RUNTIME_DIR") === undefined) {
    Deno.env.set("XDG_RUNTIME_DIR", Deno.env.get("TMPDIR") ?? "/tmp");
  }
  try {
    const given: Given<T> = readOptions(table, args);
    if (given.help) stdout.print(help());
    Deno.exit(given.help ? 0 : await run(given.values));
  } catch (error) {
    const sentence = sentenceOf(error);
    stderr.print(sentence ?? Deno.inspect(error));
    Deno.exit(sentence === undefined ? 1 : 2);
  }
}

/** The sentence of an error that the user can mend; undefined of any other. */
export function sentenceOf(error: unknown): string | undefined {
  if (plainErrors.some((kind) => error instanceof kind)) return (error as Error).message;
  if (!(error instanceof Error)) return undefined;
  // What the system says by itself: "Is a directory (os error 21): readfile '/tmp'".
  const own = error.message.match(/\(os error \d+\)(?:[:,] \w+ '(.*?)'(?: -> '(.*)')?)?$/s);
  if (own !== null) {
    const paths = own.slice(1).filter((path) => path !== undefined);
    return `Cannot use ${paths.join(" and ") || "a file"}: ${reason(error)}`;
  }
  if (/^Cannot allocate |allocation failed$/.test(error.message)) {
    return `${error.message}; a smaller --batch or --crop needs less memory`;
  }
  const isRefusal = Object.values(Deno.errors).some((kind) => error instanceof kind);
  return isRefusal ? error.message : undefined;
}

/**
 * Chooses the device and says in one line which it is and why.
 *
 * @param choice What the configuration says.
 * @throws {OptionError} If there is no such device here.
 */
export async function chooseDevice(choice: DeviceChoice): Promise<string> {
  try {
    await setDevice(choice);
  } catch (error) {
    // That there is no such device here is for the user to mend, not for the program.
    if (!(error instanceof Error) || !error.message.startsWith("Cannot use ")) throw error;
    throw new OptionError([error.message]);
  }
  const name = device()!;
  const environment = Deno.env.get("ALLSPARK_DEVICE");
  const why = choice !== "auto"
    ? `--device ${choice}`
    : environment !== undefined && environment !== "auto"
    ? `ALLSPARK_DEVICE=${environment}`
    : name === "webgpu"
    ? "a GPU was found"
    : "no GPU was found";
  return `Device: ${name}, ${await describeDevice()} (${why})`;
}
