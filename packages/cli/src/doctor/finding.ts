/** The result of a check of `alignprop doctor`. */
export interface Finding {
  /** The subject, such as `cache`. */
  readonly name: string;
  /** `note` is worth knowing; `problem` breaks, or slows down, what the commands do by default. */
  readonly status: 'ok' | 'note' | 'problem';
  /** A line. Has no secrets. */
  readonly text: string;
  /** The command, or the change of a setting, that mends it here. */
  readonly fix?: string;
  /** More values for --json. */
  readonly values?: Readonly<Record<string, unknown>>;
}
