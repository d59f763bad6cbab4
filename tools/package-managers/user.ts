import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { delimiter, join } from 'node:path';

/** A home folder and a project in it. */
export interface User {
  readonly project: string;
  /** Runs a command line in the project. Returns its exit code and all that it prints. */
  run(command: string, env?: NodeJS.ProcessEnv): Promise<{ readonly code: number | null; readonly output: string }>;
}

/** An address at which nothing answers. */
const nowhere = 'http://127.0.0.1:9';

/**
 * Creates an empty home with a project, whose package managers find our packages in a registry.
 * @param programs command lines by the names under which the user has them
 */
export function createUser(home: string, registry: string, programs: Readonly<Record<string, string>>): User {
  const [project, global, own] = [join(home, 'project'), join(home, 'global'), join(home, 'programs')];
  for (const path of [project, own, join(global, 'bin')]) mkdirSync(path, { recursive: true });
  for (const [name, command] of Object.entries(programs))
    writeFileSync(join(own, name), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  writeFileSync(
    join(home, '.npmrc'),
    `@alignprop:registry=${registry}\nfund=false\naudit=false\nupdate-notifier=false`,
  );
  writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }');
  // `npm run` hands its own settings on, and the programs of this repository.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const paths = (process.env.PATH ?? '').split(delimiter).filter((path) => !path.includes('node_modules'));
  const settings = {
    HOME: home,
    NODE_OPTIONS: '',
    npm_config_prefix: global,
    npm_config_cache: join(home, '../cache'),
    PNPM_HOME: global,
    PATH: [own, join(global, 'bin'), ...paths].join(delimiter),
    // The install script of onnxruntime-node downloads through global-agent.
    GLOBAL_AGENT_HTTPS_PROXY: nowhere,
    GLOBAL_AGENT_HTTP_PROXY: nowhere,
  };
  return {
    project,
    async run(command, env) {
      console.log(`$ ${command}`);
      const options = { cwd: project, shell: true, env: { ...inherited, ...settings, ...env } };
      const child = spawn(command, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
      const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
      return { code: child.exitCode, output: `${stdout}\n${stderr}` };
    },
  };
}
