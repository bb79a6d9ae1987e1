//! scale-set has no tests of its own here. Its changes by hand are in `pipe::drift::scale_set`, its
//! unmanaged resources in `pipe::unmanaged`, and its bad settings in `offline`.
