/** The source of option values that come from the manifest of the run that is resumed. */
export const manifestSource = 'manifest';

/** The source of option values that the file of the starting adapter has. */
export const adapterSource = 'adapter';

/** The source of option values that the guard of a run sets. */
export const guardSource = 'guard';

/** The source of option values that the kind of the model decides. */
export const modelSource = 'model';
