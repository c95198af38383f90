//! Pages and their tokens.
