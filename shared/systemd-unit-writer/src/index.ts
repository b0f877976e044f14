export { UnitError, type UnitPlace, type UnitRule } from "./error.ts";
export { escapeName, escapePath, unitName } from "./name.ts";
export { type EscapedValue, type UnitOption, type UnitValue, writeUnit } from "./unit.ts";
export {
  type ExecOptions,
  type ExecPrefix,
  environment,
  execLine,
  path,
  specifierEscape,
  unitNames,
  words,
} from "./value.ts";
