//! From the model to AWS: one file a resource, each with how it is found, created, updated and deleted.

pub mod access_point;
mod action;
mod arn;
pub mod by_hand;
mod by_hand_service;
mod by_hand_task;
mod call;
pub mod container_definition;
mod deployment;
mod ecs_tag;
pub mod endpoint;
pub mod execution_policy;
pub mod found_service;
mod job;
mod job_image;
mod job_service;
pub mod kept;
pub mod kept_ports;
mod listener;
pub mod load_balancer;
pub mod log_group;
mod order;
pub mod parameter;
pub mod role;
mod rule;
pub mod schedule;
mod schedule_group;
mod schedule_request;
mod scheduler_policy;
mod secret;
mod secret_file;
mod service;
mod service_diff;
pub mod service_request;
mod tag;
pub mod target_group;
pub mod task;
pub mod task_definition;
mod task_definition_diff;
pub mod task_definition_request;
mod task_log;
mod task_request;
pub mod traffic_shift;
mod volume;

#[cfg(test)]
mod samples;
