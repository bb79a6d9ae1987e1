//! alarms-set has no tests of its own here. Its changes by hand are in `pipe::drift::alarms_set`,
//! its unmanaged resources in `pipe::unmanaged`, and its bad settings in `offline`.
