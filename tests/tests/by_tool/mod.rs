//! Tests of one tool, with a local AWS.

mod alarms_set;
mod cluster_up;
mod img_push;
mod net_up;
mod scale_set;
mod svc_deploy;
