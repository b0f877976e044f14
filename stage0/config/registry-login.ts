/** What rkt has for a registry; `origin` is what messages call the file or helper that it comes from. */
export type RegistryLogin =
  | { user: string; password: string; origin: string }
  /** OAuth2: it is exchanged for tokens. */
  | { identityToken: string; origin: string };
