//! From the document to the model: what Compose and `x-svc` say, in the terms of `model.rs`.

mod app;
mod balancer;
mod calls;
mod capability;
mod connect;
mod container;
mod dependency;
mod forms;
mod health_check;
mod job;
mod key;
mod limit;
mod logging;
mod machine;
mod managed;
mod named;
mod network;
mod one_service;
mod publishing;
mod secret;
mod service;
mod size;
mod tasks;
mod update;
mod volume;

pub use app::read;
pub use named::read as named;
