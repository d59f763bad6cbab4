/**
 * Finds registry addresses, which would pin packages to the registry of whoever ran `npm install` last.
 * @returns one message for each address in a package-lock.json
 */
export function findAddresses(lockfile: string): string[] {
  const { packages } = JSON.parse(lockfile) as { packages: Record<string, { resolved?: string }> };
  return Object.entries(packages)
    .filter(([, { resolved }]) => resolved !== undefined && /^\w[\w+]*:/.test(resolved))
    .map(
      ([path, { resolved }]) =>
        `package-lock.json: ${path} got the address ${resolved!}, expected none. ` +
        `Run npm install with the repository's .npmrc.`,
    );
}
