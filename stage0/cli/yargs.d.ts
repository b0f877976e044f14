/** The part of yargs that is used. */
declare module "yargs" {
  export interface Yargs {
    parserConfiguration(configuration: Record<string, boolean>): Yargs;
    help(enabled: boolean): Yargs;
    version(enabled: boolean): Yargs;
    detectLocale(enabled: boolean): Yargs;
    exitProcess(enabled: boolean): Yargs;
    fail(handler: (message: string | null, error: Error | undefined) => never): Yargs;

    string(names: readonly string[]): Yargs;
    boolean(names: readonly string[]): Yargs;
    conflicts(rules: Readonly<Record<string, readonly string[]>>): Yargs;
    parseSync(words: readonly string[]): Record<string, unknown>;

    scriptName(name: string): Yargs;
    usage(text: string): Yargs;
    command(name: string, description: string): Yargs;
    option(name: string, option: { describe: string; group: string }): Yargs;
    example(examples: readonly (readonly [string, string])[]): Yargs;
    epilogue(text: string): Yargs;
    usageConfiguration(configuration: Record<string, boolean>): Yargs;
    wrap(columns: number): Yargs;
    getHelp(): Promise<string>;
  }
  export default function yargs(words: readonly string[]): Yargs;
}
