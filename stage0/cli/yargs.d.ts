/** The part of yargs that rkt uses: the layout of help. */
declare module "yargs" {
  export interface Yargs {
    parserConfiguration(configuration: Record<string, boolean>): Yargs;
    help(enabled: boolean): Yargs;
    version(enabled: boolean): Yargs;
    detectLocale(enabled: boolean): Yargs;

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
