/** The command that continues the run in a folder, quoted for a shell. */
export const resumeCommand = (folder: string): string =>
  `alignprop resume ${/^[\w@%+=:,./-]+$/.test(folder) ? folder : JSON.stringify(folder)}`;
