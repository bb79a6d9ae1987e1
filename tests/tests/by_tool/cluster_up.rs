//! cluster-up has no tests of its own here. Its changes by hand are in `pipe::drift::cluster_up`,
//! its unmanaged resources in `pipe::unmanaged`, and its bad settings in `offline`.
