// Refuses to publish packages that still name the placeholder OWNER in place of who publishes them (RELEASING.md).
import { readdirSync, readFileSync } from 'node:fs';

const packages = new URL('../../packages/', import.meta.url);
const unfilled = readdirSync(packages).filter((name) =>
  readFileSync(new URL(`${name}/package.json`, packages), 'utf8').includes('github.com/OWNER/'),
);
if (unfilled.length > 0)
  throw new Error(
    `publishable: the package.json of ${unfilled.join(', ')} got the repository github.com/OWNER/alignprop, ` +
      `expected its true address. RELEASING.md says what to fill in before the first release.`,
  );
