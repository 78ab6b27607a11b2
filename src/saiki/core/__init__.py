"""Ground floor: errors, ragged batches, activations, initialisers, generators, atomic files, the schema of a model folder."""
