//! From the document to the model: what Compose and `x-svc` say, in the terms of `model.rs`.

mod app;
mod container;
mod dependency;
mod forms;
mod one_service;
mod port;
mod publishing;
mod secret;
mod service;
mod size;
mod update;
mod volume;

pub use app::read;
